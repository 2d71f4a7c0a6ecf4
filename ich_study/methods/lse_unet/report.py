"""Everything that notebook 02 says about maps: one call on masks, and tables to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ich_study.errors import StudyError
from ich_study.evaluate.quantification import agreement_rows, volume_table
from ich_study.evaluate.results import with_interval
from ich_study.evaluate.rivals import RIVALS
from ich_study.evaluate.rows import Row, Rows
from ich_study.evaluate.thresholds import Threshold
from ich_study.evaluate.truth import Truth
from ich_study.figures.heatmaps import MapColumn
from ich_study.methods.lse_unet.joint_thresholds import BACKGROUND
from ich_study.methods.lse_unet.study import (
    METHOD,
    MethodMaps,
    joint_histograms,
    labels_of,
    masks_of,
    protocols,
    scan_rows,
)
from ich_study.methods.lse_unet.tables import (
    AVERAGE,
    POOLED,
    SUBTYPE_AVERAGE,
    dice_statistics,
    method_differences,
    own_differences,
    protocol_rows,
)
from ich_study.schema import SUBTYPES, result_table

RIVAL_IS_ABOVE = "a trivial rival is above"
"""Column of the tables to read: the classes of which that is true."""


@dataclass(frozen=True)
class MaskReport:
    """What masks say; empty where there are none.

    rows: of the result table. tables: by file name, `mask_thresholds` (Table 4, a row per method,
    protocol and class), `differences` (LSE-UNet minus each other method, Holm-corrected),
    `volumes`. volumes: `quantification.volume_table` by `MethodMaps.name`, at class thresholds and
    cross-fitted mask thresholds. chosen: mask thresholds chosen on the test masks, those of Tables
    3 and 4, by `MethodMaps.name`.
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
    # A pixel measures the same in all slices of a scan; `scans` is sorted as the groups here are.
    pixel_ml = pd.Series(truth.pixel_ml).groupby(truth.rows["scan_id"].to_numpy()).first()
    for method in methods:
        name, heat = method.name, method.heat
        histograms = joint_histograms(method, truth)
        found = protocols(method, histograms, truth.rows, validation_labels, rows.seed)
        by_rule = {(item.rule, item.source): item for item in found}
        report.rows.extend(protocol_rows(rows, heat.name, found, scans, classes))
        statistics |= dice_statistics(heat.name, found, scans, classes)
        fitted = by_rule["class_thresholds", "masks-validation"]
        report.volumes[name] = volume_table(fitted.counts, scans, pixel_ml.to_numpy(), classes)
        common = {"study": rows.study, "dataset": rows.dataset, "method": heat.name}
        common |= {"variant": heat.variant, "threshold_source": fitted.source}
        volumes = report.volumes[name]
        report.rows.extend(
            agreement_rows(volumes, common, replicates=rows.replicates, seed=rows.seed)
        )
        report.chosen[name] = by_rule["truth", "masks-test"].thresholds
        for item in found:
            protocol = item.source if item.source != "none" else item.variant
            cuts = {label: threshold.value for label, threshold in item.thresholds.items()}
            thresholds.append({"method": name, "protocol": protocol, "subset": item.rule, **cuts})
    others = [method.heat.name for method in methods if method.heat.name != METHOD]
    differences, found_rows = method_differences(rows, statistics, METHOD, others)
    report.rows.extend(found_rows + own_differences(rows, statistics, base_variant))
    report.tables["mask_thresholds"] = pd.DataFrame(thresholds)
    report.tables["differences"] = differences
    report.tables["volumes"] = pd.concat(report.volumes, names=["method"]).reset_index(0)
    return report


def readable(results: pd.DataFrame, source: str, subset: str) -> pd.DataFrame:
    """A printed table's shape: a row per method and variant, a column per class, Dice over pixels
    as `value [low, high]`, of one protocol, and RIVAL_IS_ABOVE."""
    wanted = {"metric": "dice", "unit": "pixel", "threshold_source": source, "subset": subset}
    rows = _only(results, **wanted)
    if rows.empty:
        return pd.DataFrame(columns=[RIVAL_IS_ABOVE])
    cells = rows.assign(text=rows.apply(with_interval, axis=1))
    wide = cells.pivot(index=["method", "variant"], columns="class", values="text")
    names = (BACKGROUND, *SUBTYPES, AVERAGE, SUBTYPE_AVERAGE, POOLED)
    order = [name for name in names if name in wide]
    wide = wide[order].assign(**{RIVAL_IS_ABOVE: rivals_above(rows, order)})
    return wide.fillna({RIVAL_IS_ABOVE: ""}).sort_index()


def rivals_above(rows: pd.DataFrame, classes: Sequence[str]) -> pd.Series:
    """By (method, variant), those of `classes` whose `value` of a trivial rival is higher; of the
    rival's same variant, or its printed one. Methods of which that is true of no class, and the
    rivals, are left out."""
    values = rows.pivot(index=["method", "variant"], columns="class", values="value")
    is_rival = values.index.get_level_values("method").isin(RIVALS)
    best = values[is_rival].groupby("variant").max()
    found = {}
    for (method, variant), own in values[~is_rival].iterrows():
        rival = next((best.loc[name] for name in (variant, "printed") if name in best.index), None)
        above = [] if rival is None else [name for name in classes if rival[name] > own[name]]
        if above:
            found[method, variant] = ", ".join(above)
    names = ["method", "variant"]
    index = pd.MultiIndex.from_tuples(found, names=names) if found else values.index[:0]
    return pd.Series(list(found.values()), index, dtype=object)


def localisation_table(rows: Sequence[Row]) -> pd.DataFrame:
    """Localisation without thresholds: a row per method and variant, `value [low, high]` per metric
    and class, and RIVAL_IS_ABOVE per metric."""
    table = result_table([row for row in rows if not row["metric"].endswith("_difference")])
    cells = table.assign(text=table.apply(with_interval, axis=1))
    wide = cells.pivot(index=["method", "variant"], columns=["metric", "class"], values="text")
    for metric, of_one in table.groupby("metric"):
        wide[metric, RIVAL_IS_ABOVE] = rivals_above(of_one, sorted(of_one["class"].unique()))
    return wide.sort_index(axis=1).fillna("")


def finished(rows: Sequence[Row], classification: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """All results as one tidy table; StudyError where a number stands twice."""
    table = pd.concat([*classification, result_table(list(rows))], ignore_index=True)
    keys = [name for name in table.columns if name not in ("value", "ci_low", "ci_high", "n")]
    twice = table[table.duplicated(keys)]
    if len(twice):
        raise StudyError(
            f"{len(twice)} numbers stand twice in the results, first"
            f" {twice.iloc[0][keys].to_dict()}"
        )
    return table


def map_columns(
    methods: Sequence[MethodMaps], truth: Truth, shown: pd.DataFrame, report: MaskReport
) -> list[MapColumn]:
    """A column per method: the heat of each row's class, and Algorithm 1's mask at the true labels
    where there are masks (Figs. 4 to 6).

    shown: `class, index`, as `evaluate.truth.largest_lesions` gives it. Where a method has several
    variants, each column names its own.
    """
    names = [method.heat.name for method in methods]
    index, columns = shown["index"].to_numpy(), []
    for method in methods:
        heat = method.heat
        numbers = [heat.classes.index(name) for name in shown["class"]]
        heatmaps = heat.read(index)[np.arange(len(index)), numbers]
        codes = None
        if method.name in report.chosen:
            labels = labels_of(truth.rows, heat.classes)
            codes = masks_of(method, report.chosen[method.name], labels, index)
        several = names.count(heat.name) > 1
        title = f"{heat.name}\n({heat.variant})" if several else method.name.replace(" (", "\n(")
        columns.append(MapColumn(title, heatmaps, codes))
    return columns


def required_differences(
    results: pd.DataFrame, others: Sequence[str], base_variant: str, class_name: str, masks: bool
) -> pd.DataFrame:
    """LSE-UNet minus each of `others`, a row of the results per protocol that a claim rests on.

    With masks Dice of the subtypes' pixels pooled, at class thresholds and at true labels, with
    cross-fitted mask thresholds; without, the pointing game of `class_name`. Raises StudyError
    where one was not compared.
    """
    wanted = []
    for other in others:
        pair = {"method": f"{METHOD} - {other}", "variant": base_variant}
        if masks:
            pair |= {"metric": "dice_difference", "class": POOLED}
            pair |= {"threshold_source": "masks-validation"}
            wanted += [{**pair, "subset": subset} for subset in ("all", "positive")]
        else:
            wanted.append({**pair, "metric": "pointing_game_difference", "class": class_name})
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
