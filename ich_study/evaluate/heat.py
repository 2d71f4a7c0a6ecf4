"""Heat: what every method gives, and all that scoring knows of a method.

Heat says of every pixel how much it looks like hemorrhage of a class; higher is more. Its scale is
the method's own, so a threshold belongs to a method (`evaluate.thresholds`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from ich_study.errors import MapError

Index = slice | np.ndarray
"""Which slices: a slice object or whole numbers."""


@runtime_checkable
class Heat(Protocol):
    """Heat of some slices by one method.

    name, variant, layer: as in the result table (layer None where the method has no choice of
    layers). classes: what the second axis of `read` holds, in order.
    """

    name: str
    variant: str
    layer: str | None
    classes: tuple[str, ...]

    def __len__(self) -> int: ...
    def read(self, index: Index) -> np.ndarray:
        """Heat of some slices, float32 (n, classes, size, size)."""
        ...


@dataclass(frozen=True)
class ReaderHeat:
    """Heat that is computed when it is read. count: slices. read: index -> float32 (n, classes,
    size, size)."""

    name: str
    variant: str
    layer: str | None
    classes: tuple[str, ...]
    count: int
    read: Callable[[Index], np.ndarray] = field(repr=False)

    def __len__(self) -> int:
        return self.count


@dataclass(frozen=True)
class ArrayHeat:
    """Heat that lies in memory. maps: float32 (slices, classes, size, size)."""

    name: str
    variant: str
    layer: str | None
    classes: tuple[str, ...]
    maps: np.ndarray = field(repr=False)

    def __post_init__(self) -> None:
        if self.maps.ndim != 4 or self.maps.shape[1] != len(self.classes):
            raise MapError(
                f"{self.name}: maps of shape {self.maps.shape} for the classes"
                f" {', '.join(self.classes)}; expected (slices, classes, rows, columns)"
            )

    def __len__(self) -> int:
        return len(self.maps)

    def read(self, index: Index) -> np.ndarray:
        """Heat of some slices."""
        return self.maps[index]


def batches(count: int, batch_size: int) -> Iterator[slice]:
    """Index of `count` slices, `batch_size` at a time.

    >>> list(batches(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return (slice(start, min(start + batch_size, count)) for start in range(0, count, batch_size))
