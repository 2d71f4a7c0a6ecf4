"""Tables 1 and 2 of HGI-SAM, and our result rows beside them.

Table 1 is the mean and standard error of Dice and IoU over slices with hemorrhage, per fold and
overall. Our rows carry patient-bootstrap intervals, and score all slices and whole scans too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ich_study.errors import DataError
from ich_study.evaluate.localisation_report import (
    METRICS,
    difference_rows,
    overlap_rows,
    paired_differences,
    statistic_of,
)
from ich_study.metrics.overlap import Counts, dice, iou, mean_over_units
from ich_study.metrics.significance import holm, paired_t_test, standard_error

HGI = "swin_hgi_sam"
WEAK: tuple[str, ...] = ("swin_grad_cam", "swin_sam_multi_label", "swin_sam_binary", HGI)
SUPERVISED: tuple[str, ...] = ("unet", "swin_unetr")
CHAIN: tuple[tuple[str, str], ...] = tuple(zip(WEAK[1:], WEAK))
"""The order that the paper claims, each step as (better, worse)."""


@dataclass(frozen=True)
class Segmentation:
    """One method's masks, scored. counts: per slice, (slices,). The rest are columns of the result
    table."""

    method: str
    counts: Counts = field(repr=False)
    threshold_source: str
    brain_mask: bool
    variant: str = "printed"
    layer: str | None = None

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of the result table that name it."""
        names = ("method", "threshold_source", "brain_mask", "variant", "layer")
        return {name: getattr(self, name) for name in names}


def segmentation_rows(
    segmentations: Sequence[Segmentation],
    rows: pd.DataFrame,
    common: Mapping[str, Any],
    replicates: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Result rows of every segmentation: subset `positive` per slice and per pixel, subset `all`
    per pixel and per scan.

    rows: of the slice index, one per slice, with the label `any`. Positive are slices labelled so,
    as in Table 1; of them means leave out those whose mask is empty. Raises DataError where no
    slice is positive.
    """
    positive = positive_slices(rows)
    found = []
    for each in segmentations:
        named = {**common, **each.columns}
        parts = (
            ("positive", each.counts[positive], rows[positive], ("slice", "pixel")),
            ("all", each.counts, rows, ("pixel", "scan")),
        )
        for subset, counts, part, units in parts:
            found += overlap_rows(
                counts, part, {**named, "subset": subset}, units, METRICS, replicates, seed
            )
    return found


def positive_slices(rows: pd.DataFrame) -> np.ndarray:
    """Which slices are labelled positive, bool; DataError where none is."""
    positive = rows["any"].astype("boolean").fillna(False).to_numpy(bool)
    if not positive.any():
        raise DataError(
            f"none of the {len(rows)} slices is labelled positive; Table 1 has nothing to score"
        )
    return positive


def table_1(segmentations: Mapping[str, Counts], rows: pd.DataFrame) -> pd.DataFrame:
    """A row per fold and `overall`, method and metric: `fold, method, metric, mean, se, slices`.
    rows: with `fold`."""
    positive = positive_slices(rows)
    groups = {
        str(fold): positive & (rows["fold"] == fold).to_numpy()
        for fold in sorted(rows["fold"].unique())
    }
    table = []
    for fold, part in {**groups, "overall": positive}.items():
        for method, counts in segmentations.items():
            for metric, values in (("dice", dice(counts[part])), ("iou", iou(counts[part]))):
                row = {
                    "fold": fold,
                    "method": method,
                    "metric": metric,
                    "mean": float(mean_over_units(values)),
                }
                table.append(
                    {**row, "se": standard_error(values), "slices": int(np.isfinite(values).sum())}
                )
    return pd.DataFrame(table)


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
    statistics = {
        method: statistic_of(counts[positive], part, "slice", "dice")
        for method, counts in segmentations.items()
    }
    families = {
        "HGI-SAM against": [(HGI, method) for method in segmentations if method != HGI],
        "order": [pair for pair in CHAIN if set(pair) <= set(segmentations)],
    }
    tables = []
    for family, pairs in families.items():
        table = paired_differences(statistics, pairs, replicates, seed)
        tests = [
            (paired_t_test(values[one], values[two]), _patient_test(values[one], values[two], part))
            for one, two in pairs
        ]
        table = table.assign(
            family=family,
            p_slices=[test.p for test, _ in tests],
            slices=[test.n for test, _ in tests],
            p_patients=[p for _, p in tests],
        )
        tables.append(
            table.assign(
                p_patients_holm=holm(table["p_patients"].to_numpy(float)) if len(table) else []
            )
        )
    return pd.concat(tables, ignore_index=True)


def _patient_test(first: np.ndarray, second: np.ndarray, rows: pd.DataFrame) -> float:
    means = (
        pd.DataFrame({"patient": rows["patient_id"].to_numpy(), "first": first, "second": second})
        .groupby("patient")
        .mean()
    )
    return paired_t_test(means["first"].to_numpy(), means["second"].to_numpy()).p


def claim_differences(
    segmentations: Sequence[Segmentation],
    rows: pd.DataFrame,
    common: Mapping[str, Any],
    replicates: int = 2000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Rows `dice_difference` and `precision_difference` per positive slice: HGI-SAM and
    Swin-Grad-CAM against every other method, binary against multi-label, each named by the columns
    of its first method.

    segmentations: one per method, all of one variant and layer.
    """
    positive = positive_slices(rows)
    part, by_method = rows[positive], {each.method: each for each in segmentations}
    firsts = [name for name in (HGI, "swin_grad_cam") if name in by_method]
    pairs = [(first, second) for first in firsts for second in by_method if second != first]
    pairs += [pair for pair in CHAIN[1:2] if set(pair) <= set(by_method)]
    found = []
    for metric in ("dice", "precision"):
        statistics = {
            name: statistic_of(each.counts[positive], part, "slice", metric)
            for name, each in by_method.items()
        }
        for first, second in pairs:
            named = {
                **common,
                **by_method[first].columns,
                "class": "any",
                "unit": "slice",
                "subset": "positive",
            }
            found += difference_rows(
                paired_differences(statistics, [(first, second)], replicates, seed),
                named,
                metric,
                seed,
            )
    return found


def setting_difference(
    first: Segmentation,
    second: Segmentation,
    rows: pd.DataFrame,
    common: Mapping[str, Any],
    replicates: int = 2000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """One row `dice_difference` between two settings of a method, such as three stages and four,
    named by the first's columns."""
    positive = positive_slices(rows)
    both = {"a": first, "b": second}
    statistics = {
        name: statistic_of(each.counts[positive], rows[positive], "slice", "dice")
        for name, each in both.items()
    }
    table = paired_differences(statistics, [("a", "b")], replicates, seed).assign(
        first=first.method, second=second.method
    )
    named = {**common, **first.columns, "class": "any", "unit": "slice", "subset": "positive"}
    return difference_rows(table, named, "dice", seed)


def order_line(significance: pd.DataFrame) -> str:
    """What was found of the order that the paper claims, as one sentence per step."""
    steps = []
    for row in significance[significance["family"] == "order"].itertuples():
        verdict = "holds" if row.ci_low > 0 else "is reversed" if row.ci_high < 0 else "is open"
        steps.append(
            f"{row.second} < {row.first} {verdict}: {row.difference:+.3f} [{row.ci_low:+.3f},"
            f" {row.ci_high:+.3f}]"
        )
    return "\n".join(steps)


def headline_values(results: pd.DataFrame, variant: str) -> pd.DataFrame:
    """A row per method: Dice over positive slices at the best source of thresholds, pointing game,
    and AUROC of detection."""
    rows = results[
        (results["variant"] == variant) & results["layer"].isna() & (results["unit"] == "slice")
    ]
    wanted = {
        "dice": "positive",
        "pointing_game": "positive",
        "box_iou": "positive",
        "auroc": "all",
    }
    kept = pd.concat(
        [
            rows[(rows["metric"] == metric) & (rows["subset"] == subset)]
            for metric, subset in wanted.items()
        ]
    )
    return kept.pivot_table(
        index="method", columns="metric", values="value", aggfunc="max", sort=False
    )
