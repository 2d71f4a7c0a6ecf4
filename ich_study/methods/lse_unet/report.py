"""Everything that notebook 02 says about maps: one call on masks, and tables to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from ich_study.atomic import write_parquet
from ich_study.errors import StudyError
from ich_study.evaluate.classifier_report import (
    ClassifierReport,
    ScoredPart,
    headline,
    report_classifier,
)
from ich_study.evaluate.quantification import agreement_rows, volume_table
from ich_study.evaluate.results import with_interval
from ich_study.evaluate.rivals import RIVALS
from ich_study.evaluate.rows import Row, Rows
from ich_study.evaluate.thresholds import Threshold
from ich_study.evaluate.truth import Truth
from ich_study.methods.lse_unet.joint_thresholds import BACKGROUND
from ich_study.methods.lse_unet.study import (
    METHOD,
    MethodMaps,
    Slices,
    joint_histograms,
    protocols,
    scan_rows,
    slabs_of,
)
from ich_study.methods.lse_unet.tables import (
    AVERAGE,
    POOLED,
    SIZES,
    SUBTYPE_AVERAGE,
    Key,
    dice_statistics,
    grid_row,
    localisation_rows,
    method_differences,
    overlap_row,
    own_differences,
    protocol_rows,
    size_statistics,
)
from ich_study.published.claimed import with_claimed
from ich_study.schema import LABELS, MEASURED, SUBTYPES, result_table
from ich_study.training.learner import TrainingRun

PRINTED = ("any", BACKGROUND, *SUBTYPES, AVERAGE, SUBTYPE_AVERAGE, POOLED)
"""Classes of a table to read, in order."""
RIVAL_IS_ABOVE = "a trivial rival is above"
"""Column of the tables to read: the classes of which that is true."""


@dataclass(frozen=True)
class MaskReport:
    """What masks say; empty where there are none.

    rows: of the result table, the thresholds of Table 4 among them. tables: by file name,
    `mask_thresholds` (Table 4, a row per method, protocol and class), `differences` (LSE-UNet minus
    each other method, Holm-corrected), `volumes`. volumes: `quantification.volume_table` by
    `MethodMaps.name`, at class thresholds and cross-fitted mask thresholds. chosen: mask thresholds
    chosen on the test masks, those of Tables 3 and 4, by `MethodMaps.name`.
    """

    rows: list[Row] = field(default_factory=list)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    volumes: dict[str, pd.DataFrame] = field(default_factory=dict)
    chosen: dict[str, Mapping[str, Threshold]] = field(default_factory=dict)


def report_masks(
    rows: Rows,
    methods: Sequence[MethodMaps],
    truth: Truth,
    validation_labels: np.ndarray | None,
    base_variant: str,
) -> MaskReport:
    """Tables 2 to 7 of every method, volumes against truth, and paired differences.

    validation_labels: bool (slices, classes) of the validation heat's slices. The first method is
    the one that the others are compared with. Raises StudyError for a name twice.
    """
    names = [method.name for method in methods]
    if len(set(names)) != len(names):
        raise StudyError(f"methods {names} hold a name twice")
    if truth.kind != "masks":
        return MaskReport()
    report, statistics, thresholds = MaskReport(), {}, []
    scans, classes = scan_rows(truth.rows), methods[0].heat.classes
    slabs, patients = slabs_of(truth)[0], scans["patient_id"].nunique()
    pixel_ml = slabs["pixel_ml"].to_numpy()
    for method in methods:
        name, heat = method.name, method.heat
        histograms = joint_histograms(method, truth)
        found = protocols(method, histograms, truth, validation_labels, rows.seed)
        by_rule = {(item.rule, item.source): item for item in found}
        own = dice_statistics(heat.name, found, scans, classes)
        own |= size_statistics(method, found, truth)
        report.rows.extend(protocol_rows(rows, own, heat.name, found, scans, classes))
        statistics |= own
        fitted = by_rule["class_thresholds", "masks-validation"]
        report.volumes[name] = volume_table(fitted.by_slab, slabs, pixel_ml, classes)
        common = {"method": heat.name, "variant": heat.variant, "threshold_source": fitted.source}
        report.rows.extend(agreement_rows(report.volumes[name], rows, **common))
        report.chosen[name] = by_rule["truth", "masks-test"].thresholds
        for item in found:
            protocol = item.source if item.source != "none" else item.variant
            cuts = {label: threshold.value for label, threshold in item.thresholds.items()}
            if item.source != "none" and item.rule == "truth":
                for label, value in cuts.items():
                    key = Key(heat.name, item.variant, item.source, item.rule, label)
                    row = rows.number(value, "mask_threshold", patients, **key.columns())
                    report.rows.append(row)
            thresholds.append({"method": name, "protocol": protocol, "subset": item.rule, **cuts})
    others = [method.heat.name for method in methods if method.heat.name != METHOD]
    differences, found_rows = method_differences(rows, statistics, METHOD, others)
    report.rows.extend(found_rows + own_differences(rows, statistics, base_variant))
    report.tables["mask_thresholds"] = pd.DataFrame(thresholds)
    report.tables["differences"] = differences
    report.tables["volumes"] = pd.concat(report.volumes, names=["method"]).reset_index(0)
    return report


def classification(
    rows: Rows,
    runs: Mapping[str, TrainingRun],
    parts: Mapping[str, Slices],
    training: pd.DataFrame,
    folder: Path,
) -> dict[str, ClassifierReport]:
    """Table 1 of every arm, its predictions in `folder`/<arm>. parts: slices by name, as tables
    print it; class thresholds (Youden) come from the first, the others are scored. training: slices
    that the rival learns from."""
    first, *others = [ScoredPart(name, *slices) for name, slices in parts.items()]
    named = {"method": METHOD, "study": rows.study, "replicates": rows.replicates}
    reports = {}
    for arm, run in runs.items():
        reports[arm] = report_classifier(
            run, first, others, training, variant=arm, seed=rows.seed, **named
        )
        write_parquet(folder / arm / "predictions.parquet", reports[arm].predictions)
    return reports


def class_thresholds(classified: Mapping[str, ClassifierReport]) -> pd.DataFrame:
    """Thresholds of every arm and class (`ClassifierReport.cuts`), with `arm`."""
    frames = {arm: each.cuts() for arm, each in classified.items()}
    return pd.concat(frames, names=["arm"]).reset_index("arm")


def auroc_table(classified: Mapping[str, ClassifierReport]) -> pd.DataFrame:
    """AUROC `value [low, high]`, a row per arm and part, a column per class."""
    found = {}
    for arm, each in classified.items():
        cells = headline(each.results).set_index(["dataset", "class"])["auroc"].unstack()
        found[arm] = cells[[name for name in (*LABELS, AVERAGE) if name in cells]]
    return pd.concat(found, names=["arm"]).fillna("")


def readable(rows: pd.DataFrame, names: Sequence[str] = PRINTED) -> pd.DataFrame:
    """Rows of the results in a printed table's shape: a row per method and variant, per metric a
    column per class of `names`, `value [low, high]`, and RIVAL_IS_ABOVE."""
    if rows.empty:
        return pd.DataFrame()
    cells = rows.assign(text=rows.apply(with_interval, axis=1))
    wide = cells.pivot(index=["method", "variant"], columns=["metric", "class"], values="text")
    order = []
    for metric, of_one in rows.groupby("metric"):
        classes = [name for name in names if (metric, name) in wide]
        wide[metric, RIVAL_IS_ABOVE] = rivals_above(of_one, classes)
        order += [(metric, name) for name in (*classes, RIVAL_IS_ABOVE)]
    return wide[order].fillna("").sort_index()


def dice_table(results: pd.DataFrame, source: str, subset: str) -> pd.DataFrame:
    """Dice over pixels of one protocol, `readable`; empty where nothing was counted."""
    wanted = {"metric": "dice", "unit": "pixel", "threshold_source": source, "subset": subset}
    table = readable(_only(results, **wanted))
    return table if table.empty else table["dice"]


def size_table(results: pd.DataFrame) -> pd.DataFrame:
    """Dice by size of the lesion, at the true labels and thresholds of the test masks (as in Table
    3), `readable`; empty where nothing was counted."""
    wanted = {"metric": "dice", "threshold_source": "masks-test", "subset": "positive"}
    rows = _only(results, **wanted)
    table = readable(rows[rows["class"].isin(SIZES)], SIZES)
    return table if table.empty else table["dice"]


def localisation_table(rows: Sequence[Row]) -> pd.DataFrame:
    """Localisation without thresholds, differences left out, `readable`."""
    kept = [row for row in rows if not row["metric"].endswith("_difference")]
    return readable(result_table(kept))


def rivals_above(rows: pd.DataFrame, classes: Sequence[str]) -> pd.Series:
    """By (method, variant), those of `classes` whose `value` of a trivial rival is higher; of the
    rival's same variant, or its printed one. Methods of which that is true of no class, and the
    rivals, are left out."""
    values = rows.pivot(index=["method", "variant"], columns="class", values="value")
    is_rival = values.index.get_level_values("method").isin(RIVALS)
    best, own = values[is_rival].groupby("variant").max(), values[~is_rival]
    variants = own.index.get_level_values("variant")
    beside = best.reindex([name if name in best.index else "printed" for name in variants])
    above = beside[[*classes]].to_numpy() > own[[*classes]].to_numpy()
    said = [", ".join(np.array(classes)[each]) for each in above]
    return pd.Series(said, own.index, dtype=object)[above.any(1)]


def localisation(
    rows: Rows, methods: Sequence[MethodMaps], truth: Truth, tolerance_px: int
) -> list[Row]:
    """Result rows that need no chosen threshold: pointing game and mass inside of every method, how
    far the maps of subtypes overlap, and the grid pattern of LSE-UNet's own."""
    table = localisation_rows(rows, methods, truth, tolerance_px)
    own = [method for method in methods if method.heat.name == METHOD]
    table += [grid_row(rows, method, truth.rows) for method in own]
    if len(methods[0].heat.classes) > 1:
        table += [overlap_row(rows, method, truth.rows) for method in methods]
    return table


def finished(
    rows: Rows, found: Sequence[Row], classified: Mapping[str, ClassifierReport]
) -> pd.DataFrame:
    """All results as one tidy table, with the differences that claims ask for; StudyError where a
    number stands twice."""
    tables = [each.results for each in classified.values()]
    table = pd.concat([*tables, with_claimed(found, rows)], ignore_index=True)
    keys = [name for name in table.columns if name not in MEASURED]
    twice = table[table.duplicated(keys)]
    if len(twice):
        raise StudyError(
            f"{len(twice)} numbers stand twice in the results, first"
            f" {twice.iloc[0][keys].to_dict()}"
        )
    return table


def required_differences(
    results: pd.DataFrame,
    others: Sequence[str],
    base_variant: str,
    classes: Sequence[str],
    metric: str,
) -> pd.DataFrame:
    """LSE-UNet minus each of `others`, a row of the results per protocol that a claim rests on.

    metric "dice": of the subtypes' pixels pooled, at class thresholds and at true labels, with
    cross-fitted mask thresholds; "pointing_game": of the one class, or of all lesions pooled.
    Raises StudyError where one was not compared.
    """
    wanted = []
    for other in others:
        pair = {"method": f"{METHOD} - {other}", "variant": base_variant}
        if metric == "dice":
            pair |= {"metric": "dice_difference", "class": POOLED}
            pair |= {"threshold_source": "masks-validation"}
            wanted += [{**pair, "subset": subset} for subset in ("all", "positive")]
        else:
            pooled = POOLED if len(classes) > 1 else classes[0]
            wanted.append({**pair, "metric": f"{metric}_difference", "class": pooled})
    found = [results.head(0)]
    for columns in wanted:
        rows = _only(results, **columns)
        if len(rows) != 1:
            raise StudyError(f"{len(rows)} differences {columns}; expected one")
        found.append(rows)
    return pd.concat(found)


def _only(results: pd.DataFrame, **columns: str) -> pd.DataFrame:
    """Rows of the results with these cells."""
    kept = np.ones(len(results), bool)
    for name, value in columns.items():
        kept &= (results[name] == value).to_numpy()
    return results[kept]
