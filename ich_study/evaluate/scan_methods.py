"""A scan of one's own before a trained method: what the method is given, and what it says of it.

A room of `methods` has a module `scan` with two functions: `recipes_of_run(folder, parameters,
every)`, which says what a finished run of its notebook trained and at which thresholds that works,
as pairs of a checkpoint and a recipe, and `open_method(path, recipe, device)`. `new_scan` asks them
by the room's name and knows no method. A run gives the method that its paper stands for; with
`every`, all that the paper compares, supervised networks among them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from ich_study.ct.brain_mask import brain_mask
from ich_study.errors import WeightsError
from ich_study.evaluate.heat import ArrayHeat, Heat
from ich_study.hashing import pixel_hash
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.schema import LABELS

RECIPE_KEY = "scan"
"""Entry of a checkpoint's metadata that holds a recipe."""


@dataclass(frozen=True)
class ScanRecipe:
    """How a trained network becomes masks of a scan.

    room: of `ich_study.methods`. name, variant: as in result tables. classes: of its heat.
    thresholds: by class, the heat from which a pixel is marked. gates: by class, the probability
    from which a slice is marked at all; 0 asks nothing. source: where thresholds come from, as in
    result tables. options: what the room needs beside.
    """

    room: str
    name: str
    variant: str
    classes: tuple[str, ...]
    thresholds: tuple[float, ...]
    gates: tuple[float, ...]
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Lists of a JSON file become tuples; WeightsError unless there is one number a class."""
        for name in ("classes", "thresholds", "gates"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not len(self.classes) == len(self.thresholds) == len(self.gates):
            raise WeightsError(
                f"{self.name}: {len(self.thresholds)} thresholds and {len(self.gates)} gates for"
                f" the classes {', '.join(self.classes)}; expected one of each per class"
            )

    def opened(self, probability: np.ndarray) -> np.ndarray:
        """Which slices may be marked, of each class, by the gates: bool (slices, classes), as
        `probability`."""
        return probability >= np.array(self.gates)

    def heat(self, maps: np.ndarray, layer: str | None = None) -> ArrayHeat:
        """Maps (slices, rows, columns) of the one class of a method as its heat."""
        maps = maps[:, None].astype(np.float32)
        return ArrayHeat(self.name, self.variant, layer, self.classes, maps)

    def describe(self) -> dict[str, Any]:
        """JSON-able description, which `recipe_from` reads back."""
        return asdict(self)


def recipe_from(metadata: Mapping[str, Any], source: str) -> ScanRecipe:
    """The recipe in a checkpoint's metadata; WeightsError, naming `source`, where there is none."""
    if RECIPE_KEY not in metadata:
        raise WeightsError(
            f"{source} does not say at which thresholds its network works; name the folder of the"
            " run that trained it, whose run.json and tables do"
        )
    try:
        return ScanRecipe(**metadata[RECIPE_KEY])
    except TypeError as error:
        raise WeightsError(f"{source}: its entry {RECIPE_KEY!r} is no recipe ({error})") from error


@dataclass(frozen=True)
class OneScan:
    """One scan in memory, as training and the methods read a store (`inputs.slices.SliceSource`).

    hu: int16 (slices, rows, columns). pixel_mm: (y, x).
    """

    name: str
    hu: np.ndarray = field(repr=False)
    pixel_mm: tuple[float, float]
    _kept: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    _took: dict[str, float] = field(default_factory=dict, repr=False, compare=False)
    _asked: set[str] = field(default_factory=set, repr=False, compare=False)

    def shared(self, name: str, make: Callable[[], Any]) -> Any:
        """A step that several methods take alike, done for the first that asks."""
        self._asked.add(name)
        if name not in self._kept:
            started = time.perf_counter()
            self._kept[name] = make()
            self._took[name] = time.perf_counter() - started
        return self._kept[name]

    def timed(self, work: Callable[[], Any]) -> tuple[Any, float]:
        """What `work` gives, and the seconds it takes alone: shared steps that were done for
        another before count as if it had done them."""
        done = set(self._kept)
        self._asked.clear()
        started = time.perf_counter()
        found = work()
        seconds = time.perf_counter() - started
        return found, seconds + sum(self._took[name] for name in self._asked & done)

    @cached_property
    def content_hash(self) -> str:
        """Hash of the HU."""
        return pixel_hash(np.ascontiguousarray(self.hu))

    @property
    def brain(self) -> np.ndarray:
        """Brain, bool, of the shape of `hu`."""
        return self.shared("brain", lambda: brain_mask(self.hu, self.pixel_mm))

    @property
    def rows(self) -> pd.DataFrame:
        """A row per slice, without labels."""
        identity = dict.fromkeys(("dataset", "patient_id", "scan_id"), self.name)
        known = {"rows": self.hu.shape[1], "columns": self.hu.shape[2], "has_boxes": False}
        index = pd.DataFrame({"slice_index": np.arange(len(self.hu))}).assign(**identity, **known)
        return index.assign(**{name: pd.array([pd.NA] * len(index), "boolean") for name in LABELS})

    def volume(self, scan_id: str) -> np.ndarray:
        """The HU; there is one scan."""
        return self.hu


@dataclass(frozen=True)
class Said:
    """What a method says of every slice of a scan, on its network's grid.

    logits: float64 (slices, classes), by which slices are ranked; a probability near 1 has no
    digits left for that. points: of each slice, (n, 2) of row and column, highest first; None where
    the method gives heat alone.
    """

    heat: Heat
    logits: np.ndarray = field(repr=False)
    points: list[np.ndarray] | None = field(default=None, repr=False)

    @classmethod
    def of_probability(cls, heat: Heat, probability: np.ndarray) -> Said:
        """What a method says that has no logits of slices; 0 and 1 get the nearest finite logit."""
        least = np.finfo(np.float64)
        inside = np.clip(probability.astype(np.float64), least.tiny, 1 - least.epsneg)
        return cls(heat, logit(inside))

    @property
    def probability(self) -> np.ndarray:
        """Of each slice and class, as `logits`."""
        return expit(self.logits)


@dataclass(frozen=True)
class ScanMethod:
    """A trained method, ready. sha256: of its weights. say: a scan to what it says of it. patients:
    hashes of those that it learned from, by data set, None where its file does not say;
    `open_methods` fills them in."""

    recipe: ScanRecipe
    sha256: str
    preprocessing: Preprocessing
    say: Callable[[OneScan], Said] = field(repr=False)
    patients: Mapping[str, Sequence[str]] | None = field(default=None, repr=False)

    @property
    def learned_from(self) -> str:
        """Data sets, each with the number of patients that taught it or chose its epoch."""
        if self.patients is None:
            return "not said"
        return ", ".join(f"{name} ({len(marks)})" for name, marks in self.patients.items())


def named_file(folder: Path, *names: str) -> Path:
    """A file of a finished run; WeightsError where the run did not write it."""
    path = folder.joinpath(*names)
    if not path.is_file():
        raise WeightsError(
            f"{path} does not exist; run the notebook to its end with this version of the study"
        )
    return path
