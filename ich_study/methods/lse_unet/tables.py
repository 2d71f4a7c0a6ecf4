"""Counts and maps of LSE-UNet's experiment as rows of the result table: Tables 2 to 7,
localisation, differences.

Rows of a difference between methods have the method `first - second` and the variant of the first;
between two variants or subsets of one method these too read `first - second`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ich_study.evaluate.heat import batches
from ich_study.evaluate.pairs import pair_columns
from ich_study.evaluate.rows import Row, Rows, statistic_of
from ich_study.evaluate.score import score_classes
from ich_study.evaluate.truth import Truth
from ich_study.methods.lse_unet.algorithm1 import label_maps
from ich_study.methods.lse_unet.grid_pattern import grid_pattern
from ich_study.methods.lse_unet.joint_thresholds import BACKGROUND, setting_of
from ich_study.methods.lse_unet.study import (
    FIXED,
    METHOD,
    SUBSET_OF_RULE,
    MethodMaps,
    Protocol,
    labels_of,
    truth_codes,
)
from ich_study.methods.lse_unet.train import NO_CONSISTENCY, RANDOM_ENCODER, SHARED_PATIENTS
from ich_study.metrics.overlap import Counts
from ich_study.metrics.statistics import (
    PatientStatistic,
    mean_of_items,
    mean_of_statistics,
    micro_dice,
    ratio_of_sums,
)

AVERAGE, SUBTYPE_AVERAGE, POOLED = "average", "average_subtypes", "pooled_subtypes"
"""Class of the mean with the background "Normal", the paper's AVG; of the mean without it; and of
the five subtypes' pixels counted together, which no rare subtype decides."""
SIZES = ("small_lesions", "middle_lesions", "large_lesions")
"""Class of the Dice of a third of the slices with hemorrhage, by its area; subtypes pooled."""
DICE = {"metric": "dice"}
ONE_FOR_ALL = ("masks-test", "labels")
"""Threshold sources that give every patient the same mask thresholds."""
HALF_HEAT = FIXED[0]
"""Of heat 0 to 255; the mask threshold of Table 5."""


class Key(NamedTuple):
    """What a Dice over all pixels is of. rule: who says which classes a slice has."""

    method: str
    variant: str
    source: str
    rule: str
    class_name: str

    def columns(self) -> dict[str, Any]:
        """Columns of the result table."""
        own = named(self.method, self.variant, self.rule, self.source)
        return {**own, "class_name": self.class_name, "unit": "pixel"}


def named(method: str, variant: str, rule: str, source: str) -> dict[str, Any]:
    """Columns that name a method and a protocol."""
    return {
        "method": method,
        "variant": variant,
        "layer": None,
        "subset": SUBSET_OF_RULE[rule],
        "threshold_source": source,
        "brain_mask": None,
    }


def average_of(counts: Counts, patients: Sequence[str]) -> dict[str, PatientStatistic]:
    """Dice over all pixels, averaged over classes with and without the background, and of the
    subtypes' pixels pooled.

    counts: (items, 1 + classes), background first. An average is over the classes that have truth
    here, the same ones whichever patients are drawn.
    """
    return {
        AVERAGE: _class_average(counts, patients),
        SUBTYPE_AVERAGE: _class_average(counts[:, 1:], patients),
        POOLED: micro_dice(patients, pooled_counts(counts)),
    }


def pooled_counts(counts: Counts) -> Counts:
    """The pixels of all subtypes together, (items,), of counts (items, 1 + classes), background
    first. A pixel marked as another subtype is both false and missed."""
    return Counts(*(each[:, 1:].sum(1) for each in (counts.tp, counts.fp, counts.fn)))


def _class_average(counts: Counts, patients: Sequence[str]) -> PatientStatistic:
    classes = [counts[:, number] for number in range(counts.tp.shape[1])]
    with_truth = [each for each in classes if each.present.any()]
    # where no class has truth, the mean of all has no value, and says so
    return mean_of_statistics([micro_dice(patients, each) for each in with_truth or classes])


def dice_statistics(
    method: str, found: Sequence[Protocol], scans: pd.DataFrame, classes: Sequence[str]
) -> dict[Key, PatientStatistic]:
    """Dice over all pixels of every protocol and class, averages included. scans: `scan_rows`."""
    table = {}
    for protocol in found:
        key = Key(method, protocol.variant, protocol.source, protocol.rule, "")
        for number, name in enumerate((BACKGROUND, *classes)):
            counts = protocol.counts[:, number]
            table[key._replace(class_name=name)] = statistic_of(counts, scans, "pixel", "dice")
        for name, statistic in average_of(protocol.counts, scans["patient_id"]).items():
            table[key._replace(class_name=name)] = statistic
    return table


def lesion_sizes(truth: Truth) -> np.ndarray:
    """Which of SIZES every slice is, by the area of its hemorrhage in cm²; -1 without any."""
    pixels = truth.mask().sum((1, 2))
    with_truth = np.flatnonzero(pixels)
    area = (pixels * truth.pixel_cm2)[with_truth]
    sizes = np.full(len(truth), -1)
    for number, index in enumerate(np.array_split(np.argsort(area, kind="stable"), len(SIZES))):
        sizes[with_truth[index]] = number
    return sizes


def size_statistics(
    method: MethodMaps, found: Sequence[Protocol], truth: Truth
) -> dict[Key, PatientStatistic]:
    """Dice over the pixels of small, middle and large lesions, at the true labels, for every choice
    of mask thresholds that is the same for all patients. A pixel of another subtype is wrong."""
    classes, sizes = method.heat.classes, lesion_sizes(truth)
    codes, labels = truth_codes(truth, classes), labels_of(truth.rows, classes)
    chosen = [item for item in found if item.rule == "truth" and item.source in ONE_FOR_ALL]
    pixels = np.zeros((len(chosen), 3, len(truth)), np.int64)
    shown = np.flatnonzero(sizes >= 0)
    for part in batches(len(shown), 32):
        index = shown[part]
        levels = method.levels.read(index)
        for item, counted in zip(chosen, pixels):
            maps = label_maps(levels, labels[index], setting_of(item.thresholds, classes))
            true, marked = codes[index] > 0, maps > 0
            hits = marked & (maps == codes[index])
            for row, part in zip(counted, (hits, marked & ~hits, true & ~hits)):
                row[index] = part.sum((1, 2))
    table = {}
    for item, counted in zip(chosen, pixels):
        for size, name in enumerate(SIZES):
            key = Key(method.heat.name, item.variant, item.source, item.rule, name)
            counts = Counts(*(counted * (sizes == size)))
            table[key] = statistic_of(counts, truth.rows, "pixel", "dice")
    return table


def protocol_rows(
    rows: Rows,
    statistics: Mapping[Key, PatientStatistic],
    method: str,
    found: Sequence[Protocol],
    scans: pd.DataFrame,
    classes: Sequence[str],
) -> list[Row]:
    """Result rows of one method: `dice_statistics`, per class sensitivity and precision over pixels
    and Dice per scan, and sensitivity and precision of the subtypes pooled."""
    table = [rows.statistic(each, "dice", **key.columns()) for key, each in statistics.items()]
    for protocol in found:
        common = named(method, protocol.variant, protocol.rule, protocol.source)
        for number, name in enumerate((BACKGROUND, *classes)):
            counts, own = protocol.counts[:, number], {**common, "class_name": name}
            table += rows.overlap(counts, scans, ("pixel",), ("sensitivity", "precision"), **own)
            table += rows.overlap(counts, scans, ("scan",), ("dice",), **own)
        pooled, own = pooled_counts(protocol.counts), {**common, "class_name": POOLED}
        table += rows.overlap(pooled, scans, ("pixel",), ("sensitivity", "precision"), **own)
    return table


def method_differences(
    rows: Rows,
    statistics: Mapping[Key, PatientStatistic],
    model: str,
    others: Sequence[str],
) -> tuple[pd.DataFrame, list[Row]]:
    """`model` minus every other method, for each variant, threshold source, rule and class where
    both have a Dice; table and result rows.

    A method that does not have the model's variant is compared in its printed one. `p_holm` is
    corrected over the methods compared with, within one class and protocol.
    """
    tables, found = [], []
    for key in sorted(key for key in statistics if key.method == model):
        own = {model: statistics[key]}
        for other in others:
            same = key._replace(method=other)
            same = same if same in statistics else same._replace(variant="printed")
            if same in statistics:
                own[other] = statistics[same]
        pairs = [(model, other) for other in own if other != model]
        if pairs:
            columns = key.columns()
            table, own_rows = rows.differences(own, pairs, "dice", **columns)
            kept = {name: columns[name] for name in ("variant", "threshold_source", "subset")}
            tables.append(table.assign(**kept, **{"class": key.class_name}))
            found += own_rows
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(), found


def own_pairs(keys: Iterable[Key], base_variant: str) -> list[tuple[Key, Key, str]]:
    """Which Dice is compared with which of the same method, first minus second, and as which
    metric.

    `dice_difference`: base variant minus no consistency loss; random encoder minus base variant;
    all thresholds 125 minus all 25; class thresholds minus true labels. `dice_optimism_masks`:
    thresholds of the test masks minus cross-fitted. `dice_optimism_patients`: trained with the
    shared patients minus without.
    """
    pairs = []
    for key in keys:
        if key.rule != "truth":
            pairs.append((key, key._replace(rule="truth"), "dice_difference"))
        elif key.method == METHOD and key.variant == base_variant:
            pairs.append((key, key._replace(variant=NO_CONSISTENCY), "dice_difference"))
        elif key.variant == RANDOM_ENCODER:
            pairs.append((key, key._replace(variant=base_variant), "dice_difference"))
        elif key.variant == "threshold_125":
            pairs.append((key, key._replace(variant="threshold_25"), "dice_difference"))
        if key.source == "masks-test":
            pairs.append((key, key._replace(source="masks-validation"), "dice_optimism_masks"))
        if key.variant == SHARED_PATIENTS:
            pairs.append((key, key._replace(variant=base_variant), "dice_optimism_patients"))
    return pairs


def own_differences(
    rows: Rows, statistics: Mapping[Key, PatientStatistic], base_variant: str
) -> list[Row]:
    """Differences of a method with itself, `own_pairs`, where both have a Dice."""
    table = []
    for first, second, metric in own_pairs(statistics, base_variant):
        if second in statistics:
            columns = {**first.columns(), "method": f"{first.method} - {first.method}"}
            if metric == "dice_difference":
                columns = pair_columns(first.columns() | DICE, second.columns() | DICE)
                metric = columns.pop("metric")
            table.append(rows.difference(statistics[first], statistics[second], metric, **columns))
    return table


def localisation_rows(
    rows: Rows, methods: Sequence[MethodMaps], truth: Truth, tolerance_px: int
) -> list[Row]:
    """`pointing_game` and `mass_inside` of every method and class, without any mask threshold, and
    of the first method minus every other (`<metric>_difference`); of several classes also POOLED.

    They are of the whole heat 0..255. A map without heat has no mass inside.
    """
    table: list[Row] = []
    base: dict[tuple[str, str], PatientStatistic] = {}
    model = methods[0].heat
    for method in methods:
        heat = method.heat
        for name, metric, statistic in _localised(method, truth, tolerance_px):
            columns = named(heat.name, heat.variant, "truth", "none")
            columns |= {"class_name": name, "unit": "slice"}
            table.append(rows.statistic(statistic, metric, **columns))
            first = base.setdefault((name, metric), statistic)
            if heat.name != model.name:
                columns["method"] = f"{model.name} - {heat.name}"
                columns["variant"] = model.variant
                table.append(rows.difference(first, statistic, f"{metric}_difference", **columns))
    return table


def _localised(
    method: MethodMaps, truth: Truth, tolerance_px: int
) -> Iterator[tuple[str, str, PatientStatistic]]:
    """Class, metric and its mean over slices, for every class with truth; last the mean over all
    lesions, one per slice and class, where there are several classes."""
    patients = truth.rows["patient_id"].to_numpy()
    scores = score_classes(
        method.levels, truth, classes=method.heat.classes, tolerance_px=tolerance_px
    )
    found = {name: each for name, each in scores.items() if each.positive.any()}
    pointing = {name: each.pointing for name, each in found.items()}
    inside = {
        name: np.where(each.positive, np.nan_to_num(each.mass), np.nan)
        for name, each in found.items()
    }
    for metric, values in (("pointing_game", pointing), ("mass_inside", inside)):
        for name in values:
            yield name, metric, mean_of_items(patients, values[name])
        if len(values) > 1:
            every = np.concatenate(list(values.values()))
            yield POOLED, metric, mean_of_items(np.tile(patients, len(values)), every)


def overlap_row(rows: Rows, method: MethodMaps, slices: pd.DataFrame) -> Row:
    """Of the pixels that some subtype's heat claims, the share that a second one claims too
    (Section 3.3: "nearly mutually exclusive"); slices with several subtypes, heat above HALF_HEAT.
    Without such a slice there is no value."""
    labels = labels_of(slices, method.heat.classes)
    several = np.flatnonzero(labels.sum(1) > 1)
    any_of, more = np.zeros((2, len(slices)), np.int64)
    for part in batches(len(several), 32):
        index = several[part]
        claimed = (method.levels.read(index) > HALF_HEAT) & labels[index][:, :, None, None]
        maps = claimed.sum(1)
        any_of[index], more[index] = (maps > 0).sum((1, 2)), (maps > 1).sum((1, 2))
    statistic = ratio_of_sums(slices["patient_id"].to_numpy(), more, any_of)
    columns = named(method.heat.name, method.heat.variant, "truth", "none")
    return rows.statistic(statistic, "subtype_overlap", **columns, class_name="any", unit="pixel")


def grid_row(rows: Rows, method: MethodMaps, slices: pd.DataFrame) -> Row:
    """Mean share of repeated grid in the raw maps of the classes that a slice has (Section 6)."""
    labels = labels_of(slices, method.heat.classes)
    shares = np.where(labels, grid_pattern(method.heat.maps), np.nan)
    known = labels.any(1)
    values = np.full(len(slices), np.nan)
    values[known] = np.nanmean(shares[known], axis=1)
    columns = named(method.heat.name, method.heat.variant, "truth", "none")
    return rows.mean(values, slices, "grid_pattern", **columns, class_name=AVERAGE, unit="slice")
