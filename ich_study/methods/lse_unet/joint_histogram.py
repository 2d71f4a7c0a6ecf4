"""All joint settings of mask thresholds counted at once: slices in, pixel counts of every setting
out.

LSE-UNet tries thresholds of five subtypes together (Appendix A): 8^5 = 32,768 settings, each an
argmax over every pixel of the test set. Counting them one by one is not needed. Under Algorithm 1 a
pixel goes to class c exactly where

    heat_c passes c's threshold, and no class that outranks c there passes its own,

d outranking c where heat_d > heat_c, or equal with d before c. Write bin_d for how many thresholds
of the grid heat_d passes, and 0 where d does not outrank c. Then "d does not pass" is bin_d <=
level_d and "c passes" is bin_c > level_c, for the level of the setting's threshold in the grid: a
box in the lattice of bins. One histogram over that lattice per class, and prefix sums along its
axes, give the count at every setting exactly. The background needs one more, with all bins, over
pixels of true background.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from ich_study.errors import StudyError
from ich_study.evaluate.scaling import check_heat
from ich_study.methods.lse_unet.algorithm1 import comparable
from ich_study.metrics.overlap import Counts
from ich_study.schema import SUBTYPES

PAPER_GRID: tuple[int, ...] = (25, 50, 75, 100, 125, 150, 175, 200)
"""Mask thresholds of Appendix A, on heat 0..255."""


class JointHistogram:
    """Pixel counts of every joint threshold setting, kept per group (scan) so that no second pass
    is needed.

    classes: in the order of Algorithm 1. grid: ascending thresholds >= 0 of every class. The
    lattices lie one behind the other: of each class over its true pixels, of each class over all
    pixels, of the background over its true pixels. A group keeps the cells that occur in it.
    """

    def __init__(
        self, classes: Sequence[str] = SUBTYPES, grid: Sequence[float] = PAPER_GRID
    ) -> None:
        self.classes, self.grid = tuple(classes), tuple(map(float, grid))
        self._bins = len(self.grid) + 1
        self._size = self._bins ** len(self.classes)
        self._cells: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._truth: dict[str, np.ndarray] = {}

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups, sorted."""
        return tuple(sorted(self._truth))

    def truth(self, groups: Collection[str] | None = None) -> np.ndarray:
        """Pixels of true background and of every class, int64 (groups, 1 + classes), groups sorted
        by name, all by default."""
        return np.stack([self._truth[group] for group in sorted(groups or self._truth)])

    def add(self, heatmaps: np.ndarray, present: np.ndarray, truth: np.ndarray, group: str) -> None:
        """Count all slices of one group.

        heatmaps: (slices, classes, rows, columns), uint8 0..255 or float on the grid's scale.
        present: bool (slices, classes). truth: label map, integer (slices, rows, columns),
        0..classes. Raises MapError on bad heat, StudyError for a group that is counted already.
        """
        check_heat(heatmaps, present)
        if group in self._truth:
            raise StudyError(f"group {group!r} is counted already; give all its slices at once")
        many, labels = len(self.classes), truth.ravel()
        heat = np.where(present[:, :, None, None], heatmaps, 0).swapaxes(0, 1).reshape(many, -1)
        limits = comparable(np.asarray(self.grid), heat.dtype)
        # Pixels that pass no threshold are background at every setting: they need no lattice.
        hot = (heat > limits[0]).any(0)
        dense = np.bincount(
            np.concatenate(self._codes(heat[:, hot], labels[hot], limits)),
            minlength=(2 * many + 1) * self._size,
        )
        dense[2 * many * self._size] += np.count_nonzero(labels[~hot] == 0)
        cells = np.flatnonzero(dense)
        self._cells[group] = cells.astype(np.uint32), dense[cells]
        self._truth[group] = np.bincount(labels, minlength=many + 1)

    def _codes(
        self, heat: np.ndarray, labels: np.ndarray, limits: Sequence[float]
    ) -> list[np.ndarray]:
        """Cells that the pixels stand in. heat: (classes, pixels). labels: (pixels,)."""
        many = len(self.classes)
        bins = np.searchsorted(np.asarray(limits, heat.dtype), heat, side="left")
        shares = bins * self._bins ** np.arange(many - 1, -1, -1)[:, None]
        codes = [shares.sum(0)[labels == 0] + 2 * many * self._size]
        for own in range(many):
            passing = np.flatnonzero(bins[own])
            code = shares[own, passing]
            for other in range(many):
                if other != own:
                    rival, mine = heat[other, passing], heat[own, passing]
                    outranks = rival >= mine if other < own else rival > mine
                    code += shares[other, passing] * outranks
            codes.append(code[labels[passing] == own + 1] + own * self._size)
            codes.append(code + (many + own) * self._size)
        return codes

    def settings(self) -> np.ndarray:
        """Thresholds of every setting, float64 (settings, classes), in the order of
        `all_settings`."""
        levels = np.indices((len(self.grid),) * len(self.classes))
        return np.asarray(self.grid)[levels.reshape(len(self.classes), -1).T]

    def all_settings(self, groups: Collection[str] | None = None) -> Counts:
        """Pixel counts of the label maps of every setting, int64 (settings, 1 + classes),
        background first.

        Settings in the order of `settings()`: every class's threshold over the grid, the last
        class's fastest. groups: which to sum, all by default.
        """
        many = len(self.classes)
        dense = np.zeros((2 * many + 1) * self._size, np.int64)
        for group in groups or self.groups:
            cells, counts = self._cells[group]
            dense[cells] += counts
        lattices = dense.reshape(-1, *(self._bins,) * many)
        tp = [self._box_sums(lattices[2 * many], None)]
        tp += [self._box_sums(lattices[own], own) for own in range(many)]
        selected = [self._box_sums(lattices[many + own], own) for own in range(many)]
        return _counts(np.stack(tp, 1), np.stack(selected, 1), self.truth(groups).sum(0))

    def _box_sums(self, lattice: np.ndarray, own: int | None) -> np.ndarray:
        """At every setting the pixels whose own bin is above its level, all others at or below."""
        for axis in range(lattice.ndim):
            if axis == own:
                above = np.flip(np.take(lattice, range(1, self._bins), axis), axis)
                lattice = np.flip(np.cumsum(above, axis), axis)
            else:
                lattice = np.cumsum(np.take(lattice, range(self._bins - 1), axis), axis)
        return lattice.ravel()

    def at(self, setting: Sequence[float]) -> Counts:
        """Pixel counts at one setting per group, int64 (groups, 1 + classes), groups sorted by
        name.

        setting: a threshold of the grid for every class. Raises ValueError for one outside the
        grid.
        """
        many = len(self.classes)
        levels = np.array([self.grid.index(float(value)) for value in setting])[:, None]
        passes = np.indices((self._bins,) * many).reshape(many, -1) > levels
        own = [passes[c] & ~np.delete(passes, c, 0).any(0) for c in range(many)]
        inside = np.concatenate([*own, *own, ~passes.any(0)])
        sums = np.zeros((len(self.groups), 2 * many + 1), np.int64)
        for total, group in zip(sums, self.groups):
            cells, counts = self._cells[group]
            hit = inside[cells]
            np.add.at(total, cells[hit] // self._size, counts[hit])
        tp = np.concatenate([sums[:, -1:], sums[:, :many]], 1)
        return _counts(tp, sums[:, many:-1], self.truth())


def _counts(tp: np.ndarray, selected: np.ndarray, truth: np.ndarray) -> Counts:
    """Counts with the background first, which takes the pixels that no class has selected."""
    rest = truth.sum(-1, keepdims=True) - selected.sum(-1, keepdims=True)
    selected = np.concatenate([np.broadcast_to(rest, (*selected.shape[:-1], 1)), selected], -1)
    return Counts(tp, selected - tp, truth - tp)
