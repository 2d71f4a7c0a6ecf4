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
from functools import lru_cache
from pathlib import Path

import numpy as np

from ich_study.atomic import atomic_path
from ich_study.errors import DataError, MapError, ParameterError, StudyError
from ich_study.evaluate.scaling import check_heat
from ich_study.methods.lse_unet.algorithm1 import comparable
from ich_study.metrics.overlap import Counts
from ich_study.schema import SUBTYPES

PAPER_GRID: tuple[int, ...] = (25, 50, 75, 100, 125, 150, 175, 200)
"""Mask thresholds of Appendix A, on heat 0..255."""


@lru_cache(maxsize=64)
def _cells(
    present: tuple[int, ...], classes: int, bins: int
) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Which cells of the present classes' lattice count, and where they stand in the lattice of all
    classes.

    Per present class, and last for the background: local and global cells, int64. A class's own bin
    0 never passes; a bin beyond the grid's last level always passes, so that nothing outranked by
    it counts; and a class that outranks passes at least as many thresholds.
    """
    digits = np.indices((bins,) * len(present)).reshape(len(present), -1)
    place = digits.T @ np.array([bins ** (classes - 1 - c) for c in present], np.int64)
    blocks = digits < bins - 1
    kept = [
        (own > 0) & np.delete(blocks & ((digits == 0) | (digits >= own)), i, 0).all(0)
        for i, own in enumerate(digits)
    ]
    kept.append(blocks.all(0))
    return tuple((np.flatnonzero(keep), place[keep]) for keep in kept)


class JointHistogram:
    """Pixel counts of every joint threshold setting, kept per group (scan) so that no second pass
    is needed.

    classes: in the order of Algorithm 1. grid: ascending thresholds >= 0 of every class. Slices
    come by `add`, one group after the other; memory is one lattice per class for the group being
    added, and
    only the cells that occur for the others: at most 1.5 MB per group of five classes. Histograms
    of parts of a data set merge.
    """

    def __init__(
        self, classes: Sequence[str] = SUBTYPES, grid: Sequence[float] = PAPER_GRID
    ) -> None:
        self.classes, self.grid = tuple(classes), tuple(float(value) for value in grid)
        steps = np.asarray(self.grid)
        if (
            not self.classes
            or not len(steps)
            or not (steps >= 0).all()
            or (np.diff(steps) <= 0).any()
        ):
            raise ParameterError(
                f"classes {self.classes}, grid {self.grid}; expected at least one of each, the grid"
                " ascending from >= 0"
            )
        self._bins = len(steps) + 1
        self._size = self._bins ** len(self.classes)
        self._groups: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._truth: dict[str, np.ndarray] = {}
        self._open: str | None = None
        self._dense = np.zeros((2 * len(self.classes) + 1) * self._size, np.int64)

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups, sorted."""
        return tuple(sorted(self._truth))

    def add(self, heatmaps: np.ndarray, present: np.ndarray, truth: np.ndarray, group: str) -> None:
        """Count slices of one group.

        heatmaps: (slices, classes, rows, columns), uint8 0..255 or float on the grid's scale.
        present: bool (slices, classes). truth: label map, integer (slices, rows, columns),
        0..classes. Slices are counted again if given again. Raises MapError on bad heat, DataError
        on a truth of another shape or with other codes (hemorrhage of unspecified subtype has no
        place in a search by subtype).
        """
        heatmaps, present, truth = np.asarray(heatmaps), np.asarray(present), np.asarray(truth)
        check_heat(heatmaps, present)
        if heatmaps.shape[1] != len(self.classes):
            raise MapError(
                f"heatmaps of {heatmaps.shape[1]} classes, expected {list(self.classes)}"
            )
        if truth.shape != (heatmaps.shape[0], *heatmaps.shape[2:]) or truth.dtype.kind not in "ui":
            raise DataError(
                f"truth is {truth.dtype} {truth.shape}; expected whole numbers, a label map per"
                f" heatmap of {heatmaps.shape}"
            )
        if truth.size and (truth.min() < 0 or truth.max() > len(self.classes)):
            raise DataError(
                f"group {group!r}: truth holds codes {np.unique(truth).tolist()}; expected 0 and"
                f" {len(self.classes)} subtypes"
            )
        self._turn_to(str(group))
        for heat, here, labels in zip(
            heatmaps.reshape(*heatmaps.shape[:2], -1), present, truth.reshape(len(truth), -1)
        ):
            self._add_slice(heat, tuple(int(place) for place in np.flatnonzero(here)), labels)

    def _turn_to(self, group: str | None) -> None:
        if group == self._open:
            return
        if self._open is not None:
            filled = np.flatnonzero(self._dense)
            self._groups[self._open] = filled.astype(np.uint32), self._dense[filled]
            self._dense[filled] = 0
        self._open = group
        if group is not None:
            index, counts = self._groups.pop(group, (np.zeros(0, np.uint32), np.zeros(0, np.int64)))
            self._dense[index] = counts
            self._truth.setdefault(group, np.zeros(len(self.classes) + 1, np.int64))

    def _bins_of(self, values: np.ndarray) -> np.ndarray:
        """How many thresholds of the grid each value passes (>), uint32."""
        limits = comparable(np.asarray(self.grid), values.dtype)
        if values.dtype == np.uint8:
            return np.searchsorted(limits, np.arange(256), side="left").astype(np.uint32)[values]
        return np.searchsorted(np.asarray(limits, values.dtype), values, side="left").astype(
            np.uint32
        )

    def _add_slice(self, heat: np.ndarray, here: tuple[int, ...], labels: np.ndarray) -> None:
        lesion = labels > 0
        truth = np.bincount(labels[lesion], minlength=len(self.classes) + 1)
        truth[0] = background = labels.size - int(truth.sum())
        self._truth[self._open] += truth
        background_cells = self._dense[2 * len(self.classes) * self._size :]
        if not here:
            background_cells[0] += background
            return
        lowest = comparable(np.asarray(self.grid[:1]), heat.dtype)[0]
        hot = heat[here[0]] > lowest
        for place in here[1:]:
            hot |= heat[place] > lowest
        pixels = np.flatnonzero(hot)
        values, labels = [heat[place][pixels] for place in here], labels[pixels]
        shares = [
            self._bins_of(value) * np.uint32(self._bins ** (len(here) - 1 - i))
            for i, value in enumerate(values)
        ]
        cells = _cells(here, len(self.classes), self._bins)
        size = self._bins ** len(here)
        for i, place in enumerate(here):
            code = shares[i].copy()
            for j in range(len(here)):
                if j != i:
                    outranks = values[j] >= values[i] if j < i else values[j] > values[i]
                    code += shares[j] * outranks
            local, everywhere = cells[i]
            for kind, counted in (
                (place, code[labels == place + 1]),
                (len(self.classes) + place, code),
            ):
                self._dense[kind * self._size + everywhere] += np.bincount(counted, minlength=size)[
                    local
                ]
        healthy = labels == 0
        local, everywhere = cells[-1]
        background_cells[everywhere] += np.bincount(
            np.sum(shares, 0, dtype=np.uint32)[healthy], minlength=size
        )[local]
        # Pixels that pass nothing were left out of the codes; with all bins 0 they are background
        # at every setting.
        background_cells[0] += background - int(healthy.sum())

    def merge(self, other: JointHistogram) -> None:
        """Add the counts of another histogram of the same classes and grid, such as another
        process's share.

        Raises ParameterError where classes or grid differ.
        """
        if (self.classes, self.grid) != (other.classes, other.grid):
            raise ParameterError(
                f"histograms of {self.classes} on {self.grid} and {other.classes} on {other.grid}"
                " cannot be merged"
            )
        other._turn_to(None)
        for group, (index, counts) in other._groups.items():
            self._turn_to(group)
            self._dense[index] += counts
            self._truth[group] += other._truth[group]
        self._turn_to(None)

    def _chosen(self, groups: Collection[str] | None) -> list[str]:
        self._turn_to(None)
        chosen = self.groups if groups is None else sorted({str(group) for group in groups})
        unknown = sorted(set(chosen) - set(self.groups))
        if unknown or not chosen:
            raise StudyError(
                f"{len(chosen)} groups asked for, without slices here: {unknown[:5]}; a search"
                " needs groups with slices"
            )
        return list(chosen)

    def all_settings(self, groups: Collection[str] | None = None) -> Counts:
        """Pixel counts of the label maps of every setting, int64 (settings, 1 + classes),
        background first.

        Settings in the order of `settings()`: every class's threshold over the grid, the last
        class's
        fastest. groups: which to sum, all by default. Raises StudyError for none or unknown ones.
        """
        chosen = self._chosen(groups)
        dense = np.zeros_like(self._dense)
        for group in chosen:
            index, counts = self._groups[group]
            dense[index] += counts
        lattices = dense.reshape(-1, *(self._bins,) * len(self.classes))
        many = len(self.classes)
        tp = [self._box_sums(lattices[2 * many], None)] + [
            self._box_sums(lattices[c], c) for c in range(many)
        ]
        selected = [self._box_sums(lattices[many + c], c) for c in range(many)]
        truth = np.sum([self._truth[group] for group in chosen], 0)
        return self._counts(np.stack(tp, 1), np.stack(selected, 1), truth)

    def _box_sums(self, lattice: np.ndarray, own: int | None) -> np.ndarray:
        for axis in range(lattice.ndim):
            if axis == own:
                above = np.take(lattice, range(1, self._bins), axis)
                lattice = np.flip(np.cumsum(np.flip(above, axis), axis), axis)
            else:
                lattice = np.cumsum(np.take(lattice, range(self._bins - 1), axis), axis)
        return lattice.ravel()

    @staticmethod
    def _counts(tp: np.ndarray, selected: np.ndarray, truth: np.ndarray) -> Counts:
        rest = truth.sum(-1, keepdims=True) - selected.sum(-1, keepdims=True)
        return Counts(
            tp,
            np.concatenate([np.broadcast_to(rest, (*selected.shape[:-1], 1)), selected], -1) - tp,
            truth - tp,
        )

    def settings(self) -> np.ndarray:
        """Thresholds of every setting, float64 (settings, classes), in the order of
        `all_settings`."""
        return np.asarray(self.grid)[
            np.indices((len(self.grid),) * len(self.classes)).reshape(len(self.classes), -1).T
        ]

    def at(self, setting: Sequence[float], groups: Collection[str] | None = None) -> Counts:
        """Pixel counts at one setting per group, int64 (groups, 1 + classes), groups sorted by
        name.

        setting: a threshold of the grid for every class. Raises ParameterError for one outside the
        grid, StudyError for no or unknown groups.
        """
        chosen = self._chosen(groups)
        if len(setting) != len(self.classes) or any(
            float(value) not in self.grid for value in setting
        ):
            raise ParameterError(
                f"setting {list(setting)}; expected a threshold of the grid {self.grid} for each of"
                f" {self.classes}"
            )
        many = len(self.classes)
        levels = np.array([self.grid.index(float(value)) for value in setting])[:, None]
        passes = np.indices((self._bins,) * many).reshape(many, -1) > levels
        own = [passes[c] & ~np.delete(passes, c, 0).any(0) for c in range(many)]
        inside = np.concatenate([*own, *own, ~passes.any(0)])
        sums = np.zeros((len(chosen), 2 * many + 1), np.int64)
        for total, group in zip(sums, chosen):
            index, counts = self._groups[group]
            hit = inside[index]
            np.add.at(total, index[hit] // self._size, counts[hit])
        tp = np.concatenate([sums[:, -1:], sums[:, :many]], 1)
        return self._counts(
            tp, sums[:, many:-1], np.stack([self._truth[group] for group in chosen])
        )

    def nbytes(self) -> int:
        """Bytes held: the open group's lattices and the cells of the others."""
        return self._dense.nbytes + sum(
            index.nbytes + counts.nbytes for index, counts in self._groups.values()
        )

    def save(self, path: Path) -> None:
        """Everything as one compressed `.npz`, atomically, so that a long evaluation can go on
        after a kill."""
        self._turn_to(None)
        lengths = [len(self._groups[group][0]) for group in self.groups]
        parts = {
            "classes": np.array(self.classes),
            "grid": np.array(self.grid),
            "groups": np.array(self.groups, str),
            "lengths": np.array(lengths, np.int64),
            "index": np.concatenate(
                [np.zeros(0, np.uint32), *(self._groups[group][0] for group in self.groups)]
            ),
            "counts": np.concatenate(
                [np.zeros(0, np.int64), *(self._groups[group][1] for group in self.groups)]
            ),
            "truth": (
                np.array([self._truth[group] for group in self.groups], np.int64).reshape(
                    -1, len(self.classes) + 1
                )
            ),
        }
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, **parts)

    @classmethod
    def load(cls, path: Path) -> JointHistogram:
        """A histogram written by `save`. Raises DataError naming a file that is none."""
        try:
            with np.load(path, allow_pickle=False) as parts:
                found = cls([str(name) for name in parts["classes"]], parts["grid"].tolist())
                ends = np.cumsum(parts["lengths"])[:-1]
                cells = zip(np.split(parts["index"], ends), np.split(parts["counts"], ends))
                for group, pair, truth in zip(parts["groups"], cells, parts["truth"]):
                    found._groups[str(group)], found._truth[str(group)] = pair, truth.copy()
        except (OSError, ValueError, KeyError) as error:
            raise DataError(
                f"{path} holds no joint histogram ({error}); delete it and count the slices again"
            ) from error
        return found
