"""From heatmaps to Table II of the CAM benchmark, in both halves and beyond: thresholds, counts,
boxes, hits.

A `MapSeries` is one row of the table: a method at a depth in a variant, and how to read its maps a
few slices at a time. Each series passes twice over its slices, never holding more than one batch of
full
size maps: once for pixel counts at every threshold of a grid, once for the boxes at the thresholds
chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from ich_study.errors import DataError, MapError, ParameterError
from ich_study.evaluate.scaling import minmax
from ich_study.evaluate.scored_slices import batches
from ich_study.evaluate.thresholds import Threshold, counts_over_grid, mask_threshold
from ich_study.methods.cams.truth_masks import TruthMasks
from ich_study.metrics.boxes import component_boxes, filled_counts, loose_hit, match_boxes
from ich_study.metrics.localisation import mass_inside, pointing_game
from ich_study.metrics.overlap import Counts, stack_counts
from ich_study.metrics.statistics import PatientStatistic

VARIANTS = ("raw", "printed", "library")
SOURCES = ("masks-validation", "masks-test")
GRID_POINTS = 64
_LEVELS = np.concatenate(
    [np.linspace(0, 0.9, 16, endpoint=False), 1 - np.geomspace(0.1, 1e-4, GRID_POINTS - 16)]
)
"""Quantiles of the validation part's map values that are tried as thresholds of raw maps; lesions
are a few percent of a slice."""
Reader = Callable[[slice], np.ndarray]
"""Places to full size maps, float32 (n, S, S), higher is more relevant."""


@dataclass(frozen=True)
class MapSeries:
    """method, layer: as in the result table; layer "" for the trivial rivals. variant: "raw" maps
    share one scale over slices; "printed" and "library" are min-max scaled per image, as
    pytorch-grad-cam does.
    validation, test: readers of the two parts' maps. grid: thresholds to try, ascending."""

    method: str
    layer: str
    variant: str
    validation: Reader = field(repr=False)
    test: Reader = field(repr=False)
    grid: np.ndarray = field(repr=False)

    @property
    def title(self) -> str:
        """Such as "hires_cam [-3] raw"."""
        return " ".join(
            part
            for part in (self.method, f"[{self.layer}]" if self.layer else "", self.variant)
            if part
        )


@dataclass(frozen=True)
class SeriesScore:
    """What one series scored on the test part. All Counts are per slice; boxes and points where
    there is truth.

    thresholds, pixel, box_union, box_match: by threshold source. box_match counts boxes at IoU >=
    `min_iou`.
    precision_recall: (thresholds + 1,) sensitivity and precision over positive slices, from high to
    low.
    area, area_positive: under the precision-recall curve of pixels, over all and over positive
    slices.
    pointing, mass: hit of the map's maximum, share of its positive part inside the truth, per
    slice.
    predicted_cm2, brain_share: size of the mask, and the share of the brain it covers, per slice,
    by threshold source.
    """

    method: str
    layer: str
    variant: str
    thresholds: dict[str, Threshold]
    pixel: dict[str, Counts] = field(repr=False)
    box_union: dict[str, Counts] = field(repr=False)
    box_match: dict[str, Counts] = field(repr=False)
    predicted_cm2: dict[str, np.ndarray] = field(repr=False)
    brain_share: dict[str, np.ndarray] = field(repr=False)
    precision_recall: tuple[np.ndarray, np.ndarray] = field(repr=False)
    area: PatientStatistic = field(repr=False)
    area_positive: PatientStatistic = field(repr=False)
    pointing: np.ndarray = field(repr=False)
    mass: np.ndarray = field(repr=False)

    @property
    def label(self) -> str:
        """Such as "hires_cam [-3]"; a rival's name alone."""
        return f"{self.method} [{self.layer}]" if self.layer else self.method

    def hits(self, source: str) -> np.ndarray:
        """Loose hit of each slice, NaN without truth."""
        return loose_hit(self.pixel[source])


def raw_grid(validation_maps: np.ndarray, what: str) -> np.ndarray:
    """Thresholds for raw maps: quantiles of the validation part's values, one grid for all slices.

    validation_maps: any shape, finite. Raises MapError where all values are the same.
    """
    values = np.asarray(validation_maps, np.float64).ravel()
    if not np.isfinite(values).all():
        raise MapError(f"{what}: maps of the validation part hold NaN or infinity")
    grid = np.unique(np.quantile(values, _LEVELS).astype(np.float32)).astype(np.float64)
    if len(grid) < 2:
        raise MapError(
            f"{what}: all maps of the validation part are flat ({values[0]:g}); no threshold exists"
        )
    return grid


def scaled_grid(points: int = GRID_POINTS) -> np.ndarray:
    """Thresholds for maps in [0, 1]: equally spaced, without 0, which selects everything."""
    if points < 2:
        raise ParameterError(f"{points} thresholds; expected at least 2")
    return np.linspace(0, 1, points + 1)[1:]


def score_series(
    series: MapSeries,
    validation: TruthMasks,
    test: TruthMasks,
    unit: str = "pixel",
    batch_size: int = 32,
    min_iou: float = 0.5,
) -> SeriesScore:
    """Scores one series: thresholds by Dice on the positive slices of either part, measures on the
    test part.

    unit: what the threshold maximises, "pixel" for the global Dice of Table IIa, "slice" for the
    mean of
    Table IIb. min_iou: of the matched-box reading. Raises DataError where a part has no truth.
    """
    for name, part in (("validation", validation), ("test", test)):
        if not part.positive.any():
            raise DataError(
                f"the {name} part has no slice with truth; thresholds and overlap need positives"
            )
    counted = {
        name: _grid_counts(series, name, part, batch_size)
        for name, part in (("validation", validation), ("test", test))
    }
    on_test = counted["test"]
    thresholds = {
        "masks-validation": mask_threshold(
            counted["validation"][validation.positive], series.grid, "masks-validation", unit
        ),
        "masks-test": mask_threshold(on_test[test.positive], series.grid, "masks-test", unit),
    }
    pixel = {
        source: on_test[:, int(np.searchsorted(series.grid, chosen.value))]
        for source, chosen in thresholds.items()
    }
    pixels = np.full(len(test), test.size**2)
    patients = test.rows["patient_id"].astype(str).to_numpy()
    positive = test.positive
    return SeriesScore(
        series.method,
        series.layer,
        series.variant,
        thresholds,
        pixel,
        precision_recall=_curve(on_test[positive], pixels[positive]),
        area=_area(on_test, pixels, patients, np.ones(len(test), bool)),
        area_positive=_area(on_test, pixels, patients, positive),
        **_mask_pass(series, test, thresholds, batch_size, min_iou),
    )


def score_all(
    series: list[MapSeries],
    validation: TruthMasks,
    test: TruthMasks,
    unit: str = "pixel",
    batch_size: int = 32,
    min_iou: float = 0.5,
) -> list[SeriesScore]:
    """`score_series` of every series, with progress."""
    shown = tqdm(series, "scoring maps", unit="series", mininterval=5, leave=False)
    return [score_series(each, validation, test, unit, batch_size, min_iou) for each in shown]


def shown_maps(
    series: Sequence[MapSeries],
    scores: Sequence[SeriesScore],
    place: int,
    source: str = "masks-validation",
) -> tuple[dict[tuple[str, str], np.ndarray], dict[tuple[str, str], np.ndarray]]:
    """For a picture of one slice of the test part, by (method, "[layer]"): its raw maps scaled to
    [0, 1] by their own minimum (at least 0) and maximum, and their masks at the thresholds from
    `source`. Rivals are left out."""
    heat, masks = {}, {}
    for each, score in zip(series, scores):
        if each.variant == "raw" and each.layer:
            key, raw = (each.method, f"[{each.layer}]"), each.test(slice(place, place + 1))
            heat[key], masks[key] = (
                minmax(np.maximum(raw, 0))[0],
                (raw >= score.thresholds[source].value)[0],
            )
    return heat, masks


def _read(
    series: MapSeries, name: str, part: TruthMasks, batch_size: int
) -> Iterator[tuple[slice, np.ndarray]]:
    reader = series.validation if name == "validation" else series.test
    for places in batches(len(part), batch_size):
        maps = reader(places)
        if maps.shape != (places.stop - places.start, part.size, part.size):
            raise MapError(
                f"{series.title}: maps of shape {maps.shape} for {places.stop - places.start}"
                f" slices of {part.size} px"
            )
        yield places, maps


def _grid_counts(series: MapSeries, name: str, part: TruthMasks, batch_size: int) -> Counts:
    found = [
        counts_over_grid(maps, part.truth[places], series.grid)
        for places, maps in _read(series, name, part, batch_size)
    ]
    return Counts(
        *(
            np.concatenate([getattr(counts, field_name) for counts in found])
            for field_name in ("tp", "fp", "fn")
        )
    )


def _mask_pass(
    series: MapSeries,
    test: TruthMasks,
    thresholds: dict[str, Threshold],
    batch_size: int,
    min_iou: float,
) -> dict[str, Any]:
    """The fields of `SeriesScore` that need maps or masks of full size, one batch at a time."""
    union, matched = ({source: [] for source in thresholds} for _ in range(2))
    area, share = ({source: np.full(len(test), np.nan) for source in thresholds} for _ in range(2))
    pointing, mass = np.full((2, len(test)), np.nan)
    for places, maps in _read(series, "test", test, batch_size):
        truth = test.truth[places]
        pointing[places], mass[places] = (
            pointing_game(maps, truth),
            mass_inside(np.maximum(maps, 0), truth),
        )
        for source, chosen in thresholds.items():
            masks = maps >= chosen.value
            area[source][places] = masks.sum((1, 2)) * test.pixel_cm2[places]
            if test.brain is not None:
                brain = test.brain[places]
                inside, whole = (masks & brain).sum((1, 2)), brain.sum((1, 2))
                share[source][places] = np.divide(
                    inside, whole, out=np.full(len(whole), np.nan), where=whole > 0
                )
            for mask, boxes in zip(masks, test.boxes[places]):
                # without truth boxes take no part; speckle over thousands of healthy slices would
                # only cost time
                predicted = component_boxes(mask) if len(boxes) else np.zeros((0, 4))
                union[source].append(filled_counts(predicted, boxes, mask.shape))
                matched[source].append(match_boxes(predicted, boxes, min_iou)[0])
    counts = {
        name: {source: stack_counts(items) for source, items in found.items()}
        for name, found in (("box_union", union), ("box_match", matched))
    }
    return {
        **counts,
        "predicted_cm2": area,
        "brain_share": share,
        "pointing": pointing,
        "mass": mass,
    }


def _with_everything(counts: Counts, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """TP and selected pixels per item from the highest threshold to none, where every pixel is
    selected."""
    tp = np.concatenate([counts.tp[:, ::-1], (counts.tp + counts.fn)[:, :1]], 1)
    selected = np.concatenate([(counts.tp + counts.fp)[:, ::-1], pixels[:, None]], 1)
    return tp, selected


def _curve(counts: Counts, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    tp, selected = (part.sum(0) for part in _with_everything(counts, pixels))
    return tp / tp[-1], np.divide(tp, selected, out=np.full(len(tp), np.nan), where=selected > 0)


def _area(
    counts: Counts, pixels: np.ndarray, patients: np.ndarray, chosen: np.ndarray
) -> PatientStatistic:
    """Average precision of pixels over the grid, as a statistic over the patients with chosen
    slices."""
    names, index = np.unique(patients[chosen], return_inverse=True)
    tp, selected = (
        _per_patient(part, index, len(names))
        for part in _with_everything(counts[chosen], pixels[chosen])
    )

    def evaluate(weights: np.ndarray) -> np.ndarray:
        hits, shown = weights @ tp, weights @ selected
        precision = np.divide(hits, shown, out=np.zeros_like(hits), where=shown > 0)
        gained = np.diff(hits, axis=1, prepend=0)
        return np.divide(
            (precision * gained).sum(1),
            hits[:, -1],
            out=np.full(len(hits), np.nan),
            where=hits[:, -1] > 0,
        )

    return PatientStatistic(names, evaluate)


def _per_patient(values: np.ndarray, index: np.ndarray, count: int) -> np.ndarray:
    sums = np.zeros((count, values.shape[1]), np.float64)
    np.add.at(sums, index, values)
    return sums
