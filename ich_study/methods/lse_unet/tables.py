"""Counts and maps of LSE-UNet's experiment as rows of the result table: Tables 2 to 7, volumes,
localisation, differences.

Rows of a difference have the method `first - second` and the variant of the first. Between two
variants of one method they stand under subset `positive`, between two subsets under `all`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ich_study.evaluate.localisation_report import (
    difference_rows,
    mean_rows,
    overlap_rows,
    paired_differences,
    statistic_of,
)
from ich_study.evaluate.scored_slices import ScoredSlices
from ich_study.methods.lse_unet.grid_pattern import grid_pattern
from ich_study.methods.lse_unet.joint_thresholds import BACKGROUND
from ich_study.methods.lse_unet.study import (
    METHOD,
    SUBSET_OF_RULE,
    MethodMaps,
    Protocol,
    heat,
    labels_of,
    scan_places,
    scan_rows,
)
from ich_study.methods.lse_unet.train import NO_CONSISTENCY, RANDOM_ENCODER, SHARED_PATIENTS
from ich_study.metrics.localisation import mass_inside, pointing_game
from ich_study.metrics.overlap import Counts, dice, mean_over_units
from ich_study.metrics.statistics import (
    PatientStatistic,
    mean_of_items,
    micro_dice,
    paired_bootstrap,
    patient_bootstrap,
)

STUDY = "02_lse_unet"
AVERAGE, SUBTYPE_AVERAGE, POOLED = "average", "average_subtypes", "pooled_subtypes"
"""Class of the mean with the background "Normal", the paper's AVG; of the mean without it; and of
the five subtypes' pixels counted together, which no rare subtype decides."""
Key = tuple[str, str, str, str, str]
"""Method, variant, threshold source, presence rule, class."""


def average_of(counts: Counts, patients: np.ndarray) -> dict[str, PatientStatistic]:
    """Dice over all pixels, averaged over classes with and without the background, and of the
    subtypes' pixels pooled.

    counts: (items, 1 + classes), background first. An average leaves out classes without truth,
    among
    the drawn patients too: few patients have the rarer subtypes, and an interval of the mean over
    all classes would not exist. The pooled Dice always has a value.
    """
    pooled = Counts(counts.tp[:, 1:].sum(1), counts.fp[:, 1:].sum(1), counts.fn[:, 1:].sum(1))
    return {
        AVERAGE: _class_average(counts, patients),
        SUBTYPE_AVERAGE: _class_average(counts[:, 1:], patients),
        POOLED: micro_dice(patients, pooled),
    }


def _class_average(counts: Counts, patients: np.ndarray) -> PatientStatistic:
    names, index = np.unique(np.asarray(patients).astype(str), return_inverse=True)
    sums = [np.zeros((len(names), counts.tp.shape[1])) for _ in range(3)]
    for total, part in zip(sums, (counts.tp, counts.fp, counts.fn)):
        np.add.at(total, index, part)

    def evaluate(weights: np.ndarray) -> np.ndarray:
        drawn = Counts(*(weights @ total for total in sums))
        return mean_over_units(dice(drawn).T)

    return PatientStatistic(names, evaluate)


def dice_statistics(
    method: str, found: Sequence[Protocol], rows: pd.DataFrame, classes: Sequence[str]
) -> dict[Key, PatientStatistic]:
    """Dice over all pixels of every protocol and class, averages included."""
    scans, table = scan_rows(rows), {}
    for protocol in found:
        for place, name in enumerate((BACKGROUND, *classes)):
            key = (method, protocol.variant, protocol.source, protocol.rule, name)
            table[key] = statistic_of(protocol.counts[:, place], scans, "pixel", "dice")
        for name, statistic in average_of(protocol.counts, scans["patient_id"].to_numpy()).items():
            table[method, protocol.variant, protocol.source, protocol.rule, name] = statistic
    return table


def protocol_rows(
    method: str,
    found: Sequence[Protocol],
    rows: pd.DataFrame,
    classes: Sequence[str],
    dataset: str,
    replicates: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Result rows of one method: Dice, sensitivity and precision per class, over pixels and per
    scan, and the averages of Dice."""
    scans, table = scan_rows(rows), []
    for protocol in found:
        common = _common(method, protocol.variant, dataset, protocol.rule, protocol.source)
        for place, name in enumerate((BACKGROUND, *classes)):
            counts, own = protocol.counts[:, place], {**common, "class": name}
            table += overlap_rows(
                counts,
                scans,
                own,
                ("pixel",),
                ("dice", "sensitivity", "precision"),
                replicates,
                seed,
            )
            table += overlap_rows(counts, scans, own, ("scan",), ("dice",), replicates, seed)
        for name, statistic in average_of(protocol.counts, scans["patient_id"].to_numpy()).items():
            interval = patient_bootstrap(statistic, replicates, seed)
            table.append(
                {**common, "class": name, "unit": "pixel", "metric": "dice", **interval.columns()}
            )
    return table


def method_differences(
    statistics: Mapping[Key, PatientStatistic],
    model: str,
    others: Sequence[str],
    dataset: str,
    replicates: int,
    seed: int,
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """`model` minus every other method, for each variant, threshold source, rule and class where
    both have a Dice; table and result rows.

    A method that does not have the model's variant is compared in its printed one. `p_holm` is
    corrected over the methods compared with, within one class and protocol.
    """
    tables, rows = [], []
    for variant, source, rule, name in sorted({key[1:] for key in statistics if key[0] == model}):
        keys = [
            (method, own, source, rule, name)
            for method in (model, *others)
            for own in (variant, "printed")
        ]
        own = {key[0]: statistics[key] for key in reversed(keys) if key in statistics}
        if len(own) < 2:
            continue
        table = paired_differences(
            own, [(model, other) for other in others if other in own], replicates, seed
        )
        tables.append(
            table.assign(
                variant=variant,
                threshold_source=source,
                subset=SUBSET_OF_RULE[rule],
                **{"class": name},
            )
        )
        common = {**_common(model, variant, dataset, rule, source), "class": name, "unit": "pixel"}
        rows += difference_rows(table, common, "dice", seed)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(), rows


def own_differences(
    statistics: Mapping[Key, PatientStatistic],
    dataset: str,
    base_variant: str,
    replicates: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Differences of a method with itself: other variants, thresholds and presence rules, as the
    claims and the issue ask.

    `dice_difference`: base variant minus no consistency loss; random encoder minus base variant;
    all thresholds 125 minus all 25; class thresholds minus true labels. `dice_optimism_masks`:
    thresholds of the test masks minus cross-fitted.
    `dice_optimism_patients`: trained with the shared patients minus without.
    """
    pairs: list[tuple[Key, Key, str]] = []
    for method, variant, source, rule, name in statistics:
        own: Key = (method, variant, source, rule, name)
        if rule == "truth":
            if method == METHOD and variant == base_variant:
                pairs.append((own, (method, NO_CONSISTENCY, source, rule, name), "dice_difference"))
            if variant == RANDOM_ENCODER:
                pairs.append((own, (method, base_variant, source, rule, name), "dice_difference"))
            if variant == "threshold_125":
                pairs.append((own, (method, "threshold_25", source, rule, name), "dice_difference"))
        else:
            pairs.append((own, (method, variant, source, "truth", name), "dice_difference"))
        if source == "masks-test":
            pairs.append(
                (own, (method, variant, "masks-validation", rule, name), "dice_optimism_masks")
            )
        if variant == SHARED_PATIENTS:
            pairs.append(
                (own, (method, base_variant, source, rule, name), "dice_optimism_patients")
            )
    rows = []
    for first, second, metric in pairs:
        if second not in statistics:
            continue
        method, variant, source, rule, name = first
        common = {
            **_common(f"{method} - {method}", variant, dataset, rule, source),
            "class": name,
            "unit": "pixel",
            "metric": metric,
        }
        rows.append(
            {
                **common,
                **paired_bootstrap(
                    statistics[first], statistics[second], replicates, seed
                ).columns(),
            }
        )
    return rows


def localisation_values(
    method: MethodMaps,
    slices: ScoredSlices,
    truths: Mapping[str, np.ndarray],
    tolerance_px: int,
) -> dict[tuple[str, str], np.ndarray]:
    """Per slice and by (class, metric), without any mask threshold: `pointing_game`, and
    `mass_inside` the truth; NaN without truth.

    truths: class -> bool (slices, S, S), masks or filled boxes. A map without heat has no mass
    inside.
    """
    size, values = slices.hu.shape[-1], {}
    for number, name in enumerate(method.test.classes):
        pointing, inside = np.full((2, len(slices)), np.nan)
        known = truths[name].any((1, 2))
        for places in scan_places(slices.rows).values():
            places = places[known[places]]
            if len(places):
                levels = heat(method.test, size, places)[:, number]
                pointing[places] = pointing_game(levels, truths[name][places], tolerance_px)
                inside[places] = np.nan_to_num(mass_inside(levels, truths[name][places]))
        values |= (
            {(name, "pointing_game"): pointing, (name, "mass_inside"): inside}
            if known.any()
            else {}
        )
    return values


def localisation_rows(
    methods: Sequence[MethodMaps],
    slices: ScoredSlices,
    truths: Mapping[str, np.ndarray],
    dataset: str,
    tolerance_px: int,
    replicates: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Rows of `localisation_values` for every method, and of the first method minus every other
    (`<metric>_difference`)."""
    patients, table = slices.rows["patient_id"].to_numpy(), []
    values = [localisation_values(method, slices, truths, tolerance_px) for method in methods]
    for number, (method, found) in enumerate(zip(methods, values)):
        for (name, metric), each in found.items():
            common = {
                **_common(method.method, method.variant, dataset, "truth", "none"),
                "class": name,
                "unit": "slice",
            }
            table += mean_rows(each, slices.rows, metric, common, replicates, seed)
            if number and method.method != methods[0].method:
                first, second = (
                    mean_of_items(patients, part[name, metric]) for part in (values[0], found)
                )
                own = {
                    "method": f"{methods[0].method} - {method.method}",
                    "variant": methods[0].variant,
                    "metric": f"{metric}_difference",
                }
                table.append(
                    {**common, **own, **paired_bootstrap(first, second, replicates, seed).columns()}
                )
    return table


def grid_rows(
    method: MethodMaps, rows: pd.DataFrame, dataset: str, replicates: int, seed: int
) -> list[dict[str, Any]]:
    """Mean share of repeated grid in the raw maps of the classes that a slice has (Section 6)."""
    labels = labels_of(rows, method.test.classes)
    shares = np.where(labels, grid_pattern(method.test.maps), np.nan)
    known = labels.any(1)
    values = np.full(len(rows), np.nan)
    values[known] = np.nanmean(shares[known], axis=1)
    common = {
        **_common(method.method, method.variant, dataset, "truth", "none"),
        "class": AVERAGE,
        "unit": "slice",
    }
    return mean_rows(values, rows, "grid_pattern", common, replicates, seed)


def empty_share(method: MethodMaps, rows: pd.DataFrame) -> float:
    """Share of maps of classes that a slice has in which nothing is positive: heatmaps without
    heat."""
    labels = labels_of(rows, method.test.classes)
    return (
        float((method.test.maps.max((2, 3)) <= 0)[labels].mean()) if labels.any() else float("nan")
    )


def _common(method: str, variant: str, dataset: str, rule: str, source: str) -> dict[str, Any]:
    return {
        "study": STUDY,
        "dataset": dataset,
        "method": method,
        "variant": variant,
        "layer": None,
        "subset": SUBSET_OF_RULE[rule],
        "threshold_source": source,
        "brain_mask": None,
    }
