"""The part of a wide field that networks are given.

A network sees a slice squeezed to its own grid. All of ours learned from fields of 220 to 260 mm;
in one of 400 mm, such as whole-body CT has, a head is small and lesions fall below what they know.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ich_study.evaluate.scan_methods import OneScan

WIDEST_MM, SIDE_MM = 290.0, 240.0
"""A field up to WIDEST_MM is taken as it is; of a wider one SIDE_MM around the brain."""


@dataclass(frozen=True)
class Frame:
    """Rows and columns of a scan that methods are given: `scan`, cut out of the whole field."""

    scan: OneScan
    rows: slice
    columns: slice
    whole: tuple[int, int]

    @property
    def cut(self) -> bool:
        """Whether anything of the field is left out."""
        return self.scan.hu.shape[1:] != self.whole

    @property
    def note(self) -> str:
        """What was cut, in a sentence for the report."""
        sides = zip(self.whole, self.scan.hu.shape[1:], self.scan.pixel_mm)
        (down, kept_down), (across, kept_across) = (
            (round(side * mm), round(kept * mm)) for side, kept, mm in sides
        )
        return (
            f"the field is {down} x {across} mm, wider than the networks know; they were given"
            f" {kept_down} x {kept_across} mm around the brain, and nothing is marked outside it"
        )

    def placed(self, maps: np.ndarray) -> np.ndarray:
        """Maps (n, rows, columns) of the frame in the whole field, float32; outside it each map's
        lowest value."""
        if not self.cut:
            return maps
        lowest = maps.min((1, 2), keepdims=True)
        placed = np.broadcast_to(lowest, (len(maps), *self.whole)).astype(np.float32)
        placed[:, self.rows, self.columns] = maps
        return placed


def frame(scan: OneScan) -> Frame:
    """The whole field, or of a side beyond WIDEST_MM the SIDE_MM around the middle of the brain.

    >>> air = np.full((1, 100, 50), -1000, np.int16)
    >>> frame(OneScan("wide", air, (4.0, 4.0))).scan.hu.shape
    (1, 60, 50)
    """
    sides = scan.hu.shape[1:]
    if all(side * mm <= WIDEST_MM for side, mm in zip(sides, scan.pixel_mm)):
        return Frame(scan, slice(0, sides[0]), slice(0, sides[1]), sides)
    rows, columns = (
        _around(scan.brain.any(axes), mm)
        for axes, mm in zip(((0, 2), (0, 1)), scan.pixel_mm, strict=True)
    )
    cut = OneScan(scan.name, np.ascontiguousarray(scan.hu[:, rows, columns]), scan.pixel_mm)
    return Frame(cut, rows, columns, sides)


def _around(brain: np.ndarray, mm: float) -> slice:
    """SIDE_MM of a side around the middle of where `brain` (bool along it) is true, or all of it
    where it is no wider than WIDEST_MM; around the side's own middle where there is no brain."""
    count = len(brain)
    if count * mm <= WIDEST_MM:
        return slice(0, count)
    there = np.flatnonzero(brain) if brain.any() else np.arange(count)
    kept = round(SIDE_MM / mm)
    start = round((there[0] + there[-1] + 1 - kept) / 2)
    start = min(max(start, 0), count - kept)
    return slice(start, start + kept)
