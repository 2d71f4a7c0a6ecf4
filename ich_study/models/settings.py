"""What a parameter `backbone` of a notebook holds: a network, its options and its first weights."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from ich_study.errors import ParameterError
from ich_study.inputs.settings import Settings, one_of

TRAINED = ("all", "head")
KINDS_OF_WEIGHTS = ("hub", "package", "file", "run")


def weights_kind(weights: str) -> tuple[str, str]:
    """Kind and place of first weights.

    >>> weights_kind("package:efficientnet-lite0"), weights_kind("hub")
    (('package', 'efficientnet-lite0'), ('hub', ''))

    Raises ParameterError where it is none of KINDS_OF_WEIGHTS.
    """
    kind, _, place = weights.partition(":")
    if kind not in KINDS_OF_WEIGHTS or (kind == "hub") == bool(place):
        raise ParameterError(
            f"weights are {weights!r}; expected hub, package:NAME, file:PATH or run:FOLDER"
        )
    return kind, place


def check_hash(weights: str | None, sha256: str | None) -> None:
    """Raise ParameterError where a hash is given and nothing that could have it."""
    if sha256 is not None and (weights is None or weights_kind(weights)[0] not in ("file", "run")):
        raise ParameterError(
            f"weights_sha256 is the hash of a file or a run, and weights are {weights!r}"
        )


def _known_kind(weights: str) -> str:
    try:
        weights_kind(weights)
    except ParameterError:
        raise ValueError("hub, package:NAME, file:PATH or run:FOLDER") from None
    return weights


Weights = Annotated[str, AfterValidator(_known_kind)]


class BackboneSettings(Settings):
    """A timm network. Its options and weights belong to its name: whoever names a network gives
    them too, or takes the network as timm has it, with random weights."""

    named_by: ClassVar[str | None] = "name"

    name: str = Field(description="timm's name of the network")
    options: dict[str, Any] = Field({}, description="keyword arguments of the timm network")
    weights: Weights | None = Field(
        None,
        description="first weights: null for random ones, `hub` for timm's published ones, `run:`"
        " and its folder, `file:` and its path, or `package:` and a name of `sources.PACKAGES`",
    )
    trained: Annotated[str, one_of(TRAINED)] = Field(
        "all", description="what learns: all weights, or those of the head"
    )
    weights_sha256: str | None = Field(None, description="hash that a file or run must have")

    def check(self) -> None:
        """A hash is for a file or a run."""
        check_hash(self.weights, self.weights_sha256)

    def arguments(self) -> dict[str, Any]:
        """Arguments of `create_backbone`."""
        return dict(self)
