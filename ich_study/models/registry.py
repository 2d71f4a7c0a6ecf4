"""Every network of the study: described in its checkpoint, rebuilt from there, loaded strictly.

A class of networks registers under a name. A checkpoint holds that name and what the class rebuilds
a network from, and nothing else is needed to have it back. Methods register their own networks, so
this module knows none of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import nn

from ich_study.errors import ParameterError, WeightsError
from ich_study.inputs.preprocessing import Preprocessing, preprocessing_from
from ich_study.models.weights import load_weights, read_metadata, verify_file


class Network(ABC):
    """A network and what rebuilds it."""

    kind: ClassVar[str]
    model: nn.Module

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """What `rebuild` takes, JSON-able."""

    @classmethod
    @abstractmethod
    def rebuild(cls, arguments: Mapping[str, Any]) -> Self:
        """The network with these `arguments`, with random weights."""

    def describe(self) -> dict[str, Any]:
        """What a checkpoint says: kind, the module that registers it, and `arguments`."""
        return {"kind": self.kind, "module": _KINDS[self.kind].__module__, **self.arguments()}


Kind = TypeVar("Kind", bound=Network)
_KINDS: dict[str, type[Network]] = {}


def register(kind: str) -> Callable[[type[Kind]], type[Kind]]:
    """Decorator of a class of networks: checkpoints name it `kind`. A name is given once."""

    def registered(network: type[Kind]) -> type[Kind]:
        known = _KINDS.setdefault(kind, network)
        if (known.__module__, known.__qualname__) != (network.__module__, network.__qualname__):
            raise ValueError(f"{known} is registered as {kind!r} already; {network} needs a name")
        network.kind = kind
        return network

    return registered


def rebuild(description: Mapping[str, Any], source: str = "the description") -> Network:
    """The network of `Network.describe`, with random weights.

    Raises WeightsError, naming `source`, where nothing is registered under its kind, or where the
    description is not complete.
    """
    arguments = dict(description)
    kind, module = arguments.pop("kind", None), arguments.pop("module", None)
    if kind is None:
        raise WeightsError(
            f"{source} describes no network of this study; it holds {sorted(arguments)}"
        )
    if kind not in _KINDS:
        raise WeightsError(
            f"{source} describes a network {kind!r}, which nobody has registered; import {module}"
            f" first, known are {', '.join(sorted(_KINDS)) or 'none'}"
        )
    try:
        return _KINDS[kind].rebuild(arguments)
    except (KeyError, TypeError, ParameterError) as error:
        raise WeightsError(
            f"{source}: the description of its network {kind!r} is not complete or not valid"
            f" ({error!r}); it holds {sorted(arguments)}"
        ) from error


@dataclass(frozen=True)
class Checkpoint(Generic[Kind]):
    """A network with its trained weights, in evaluation mode, and all its file says of it."""

    network: Kind = field(repr=False)
    metadata: dict[str, Any] = field(repr=False)
    path: Path
    sha256: str

    @property
    def model(self) -> nn.Module:
        """The network's module."""
        return self.network.model

    @property
    def preprocessing(self) -> Preprocessing:
        """HU to what the network takes; WeightsError where the file does not say."""
        if "preprocessing" not in self.metadata:
            raise WeightsError(f"{self.path} does not say how its network's input is made")
        return preprocessing_from(self.metadata["preprocessing"])


def load(
    path: Path, device: torch.device, expected: type[Kind], sha256: str | None = None
) -> Checkpoint[Kind]:
    """A trained network in evaluation mode on `device`, its weights loaded strictly.

    Raises WeightsError where the file is absent, of another SHA-256, not of an `expected` network,
    or does not fit its own description.
    """
    metadata = read_metadata(path)
    network = rebuild(metadata.get("architecture", {}), str(path))
    if not isinstance(network, expected):
        raise WeightsError(
            f"{path} holds a network {network.kind!r}; expected one of {expected.kind!r}"
        )
    load_weights(path, network.model, sha256)
    network.model.to(device).eval()
    return Checkpoint(network, metadata, path, verify_file(path))
