"""Table 1 of HGI-SAM as the paper prints it, its tests of significance, and what was found of the
order that it claims.

Table 1 is the mean and standard error of Dice and IoU over slices with hemorrhage, per fold and
overall.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from ich_study.evaluate.rows import Row, Rows, paired_differences, statistic_of
from ich_study.evaluate.thresholds import Choice
from ich_study.figures.names import readable
from ich_study.methods.hgi_sam.attention_maps import HGI_VARIANTS, MEANINGS
from ich_study.methods.hgi_sam.detection import SMALLEST_PX
from ich_study.methods.hgi_sam.maps import CLASSIFIER_OF, HGI
from ich_study.methods.hgi_sam.segmentations import (
    PER_POSITIVE_SLICE,
    Segmentation,
    positive_slices,
)
from ich_study.methods.hgi_sam.thresholds import GRID, TRIED
from ich_study.metrics.overlap import Counts, dice, iou, mean_over_units
from ich_study.metrics.significance import holm, paired_t_test, standard_error

WEAK: tuple[str, ...] = tuple(CLASSIFIER_OF)
CLAIMED_ORDER: tuple[tuple[str, str], ...] = tuple(zip(WEAK[1:], WEAK))
"""The order that the paper claims, each step as (better, worse)."""


def readings_table() -> pd.DataFrame:
    """What differs between the readings of paper and code, a row per setting: a column for each of
    `HGI_VARIANTS`, and `meaning` (printed_and_authors, 003)."""
    rows = {
        name: (*(getattr(reading, name) for reading in HGI_VARIANTS.values()), meaning)
        for name, meaning in MEANINGS.items()
    }
    target = ("hemorrhage", "hemorrhage", "the larger output")
    rows["Grad-CAM explains"] = (*target, "target of Swin-Grad-CAM")
    rows["thresholds tried"] = (
        *(
            f"{len(TRIED[name])} from {GRID[TRIED[name][0]]:g} to {GRID[TRIED[name][-1]]:g}"
            for name in HGI_VARIANTS
        ),
        "steps that the search over the other folds takes",
    )
    stop = ("at the best", "at the best", "at the first that is no better")
    rows["search stops"] = (*stop, "end of the search")
    rows["smallest mask"] = (*SMALLEST_PX.values(), "pixels from which a mask is a detection")
    return pd.DataFrame.from_dict(rows, orient="index", columns=[*HGI_VARIANTS, "meaning"])


def table_1(segmentations: Mapping[str, Counts], rows: pd.DataFrame) -> pd.DataFrame:
    """A row per fold and `overall`, method and metric: `fold, method, metric, mean, se, slices`.
    rows: with `fold`."""
    table = []
    for fold, part in _scored_parts(rows).items():
        for method, counts in segmentations.items():
            for metric, measure in (("dice", dice), ("iou", iou)):
                values = measure(counts[part])
                named = {"fold": fold, "method": method, "metric": metric}
                mean, used = float(mean_over_units(values)), int(np.isfinite(values).sum())
                table.append({**named, "mean": mean, "se": standard_error(values), "slices": used})
    return pd.DataFrame(table)


def _scored_parts(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Which slices with hemorrhage are of each fold, and last those of all: bool (slices,)."""
    positive = positive_slices(rows)
    groups = {
        str(fold): positive & (rows["fold"] == fold).to_numpy()
        for fold in sorted(rows["fold"].unique())
    }
    return {**groups, "overall": positive}


def as_printed(table: pd.DataFrame, metric: str, methods: Sequence[str]) -> pd.DataFrame:
    """`table_1` as the paper prints it: folds down, methods across, `mean ± SE`."""
    part = table[table["metric"] == metric]
    cells = part.assign(
        cell=[f"{mean:.3f} ± {se:.3f}" for mean, se in zip(part["mean"], part["se"])]
    )
    return cells.pivot(index="fold", columns="method", values="cell").reindex(columns=list(methods))


def significance_table(
    segmentations: Mapping[str, Counts], rows: pd.DataFrame, replicates: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """HGI-SAM against every other method, and each step of the order that the paper claims.

    `p_slices` is the paper's test: paired t over slices with hemorrhage, as if slices of one
    patient were independent. `difference`, its interval, `p` and `p_holm` are of patients drawn
    with replacement; `p_patients` is the paired t over patients' mean Dice, `p_patients_holm`
    corrected. Corrections run within each `family`.
    """
    positive = positive_slices(rows)
    part = rows[positive].reset_index(drop=True)
    values = {method: dice(counts[positive]) for method, counts in segmentations.items()}
    of_patients = pd.DataFrame(values).groupby(part["patient_id"].to_numpy()).mean()
    statistics = {
        method: statistic_of(counts[positive], part, "slice", "dice")
        for method, counts in segmentations.items()
    }
    families = {
        "HGI-SAM against": [(HGI, method) for method in segmentations if method != HGI],
        "order": [pair for pair in CLAIMED_ORDER if set(pair) <= set(segmentations)],
    }
    tables = []
    for family, pairs in families.items():
        by_slice = [paired_t_test(values[first], values[second]) for first, second in pairs]
        by_patient = [
            paired_t_test(*(of_patients[name].to_numpy() for name in pair)).p for pair in pairs
        ]
        table = paired_differences(statistics, pairs, replicates, seed)
        table = table.assign(
            family=family,
            p_slices=[test.p for test in by_slice],
            slices=[test.n for test in by_slice],
            p_patients=by_patient,
            p_patients_holm=holm(by_patient),
        )
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def printed_rows(
    segmentations: Mapping[str, Segmentation],
    table: pd.DataFrame,
    significance: pd.DataFrame,
    thresholds: Mapping[str, Choice],
    index: pd.DataFrame,
    rows: Rows,
) -> list[Row]:
    """What the paper prints beside the means, as result rows: standard errors, Table 1 by fold (the
    part of the data set, counted from 1) with its interval over the fold's patients, the p of its
    test against HGI-SAM, and the mean of the folds' thresholds. table: `table_1`. index: rows of
    the slices, with `fold`."""
    named = {name: {**each.columns, **PER_POSITIVE_SLICE} for name, each in segmentations.items()}
    scored = _scored_parts(index)
    patients = {name: index.loc[part, "patient_id"].nunique() for name, part in scored.items()}
    found = []
    for cell in table.itertuples():
        own, part = named[cell.method], rows
        if cell.fold != "overall":
            part = replace(rows, dataset=f"{rows.dataset}/fold_{int(cell.fold) + 1}", made=[])
            chosen = scored[cell.fold]
            if chosen.any():
                counts = segmentations[cell.method].counts[chosen]
                measured = statistic_of(counts, index[chosen], "slice", cell.metric)
                found.append(part.statistic(measured, cell.metric, **own))
            else:
                why = {"interval": "no slice of the fold is labelled positive"}
                found.append(part.number(math.nan, cell.metric, 0, **own, **why))
        found.append(part.number(cell.se, f"{cell.metric}_se", patients[cell.fold], **own))
    for test in significance[significance["family"] == "HGI-SAM against"].itertuples():
        own = named[test.second]
        found.append(rows.number(test.p_slices, "p_value", patients["overall"], **own))
    for name, choice in thresholds.items():
        mean = float(np.mean([threshold.value for threshold in choice.by_fold.values()]))
        own = {**named[name], "unit": "pixel"}
        found.append(rows.number(mean, "map_threshold", index["patient_id"].nunique(), **own))
    return found


def order_line(significance: pd.DataFrame) -> str:
    """What was found of the order that the paper claims, as one sentence per step."""
    steps = []
    for row in significance[significance["family"] == "order"].itertuples():
        verdict = "holds" if row.ci_low > 0 else "is reversed" if row.ci_high < 0 else "is open"
        steps.append(
            f"{readable(row.second)} < {readable(row.first)} {verdict}: {row.difference:+.3f}"
            f" [{row.ci_low:+.3f}, {row.ci_high:+.3f}]"
        )
    return "\n".join(steps)
