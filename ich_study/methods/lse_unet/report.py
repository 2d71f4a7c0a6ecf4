"""Everything that notebook 02 says about maps: one call on masks, one on boxes or masks without
thresholds, tables to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ich_study.atomic import write_csv
from ich_study.errors import StudyError
from ich_study.evaluate.quantification import agreement_rows, volume_table
from ich_study.evaluate.results import with_interval
from ich_study.evaluate.rivals import RIVALS
from ich_study.evaluate.scored_slices import ScoredSlices
from ich_study.figures.heatmaps import MapColumn
from ich_study.methods.lse_unet import study as lse_study, tables as lse_tables
from ich_study.methods.lse_unet.joint_thresholds import BACKGROUND
from ich_study.methods.lse_unet.study import METHOD, MethodMaps, Protocol
from ich_study.schema import result_table

RIVAL_IS_ABOVE = "a trivial rival is above"
"""Column of the tables to read: the classes of which that is true."""


@dataclass(frozen=True)
class MaskReport:
    """rows: of the result table. differences: LSE-UNet minus each other method, Holm-corrected.
    thresholds: a row per method, protocol and class (Table 4). protocols: by `MethodMaps.name`.
    volumes: `quantification.volume_table` by the same names, at class thresholds and cross-fitted
    mask thresholds."""

    rows: list[dict[str, Any]]
    differences: pd.DataFrame
    thresholds: pd.DataFrame
    protocols: dict[str, list[Protocol]]
    volumes: dict[str, pd.DataFrame]

    def write(self, folder: Path) -> None:
        """`mask_thresholds.csv` (Table 4), `differences.csv` and `volumes.csv` in `folder`."""
        write_csv(folder / "mask_thresholds.csv", self.thresholds)
        write_csv(folder / "differences.csv", self.differences)
        write_csv(folder / "volumes.csv", pd.concat(self.volumes, names=["method"]).reset_index(0))

    def chosen(self, name: str) -> Mapping[str, Any]:
        """Mask thresholds of a method that were chosen on the test masks: those of Tables 3 and
        4."""
        return next(
            protocol.thresholds
            for protocol in self.protocols[name]
            if protocol.source == "masks-test"
        )


def report_masks(
    methods: Sequence[MethodMaps],
    slices: ScoredSlices,
    validation_labels: np.ndarray | None,
    dataset: str,
    base_variant: str,
    replicates: int,
    seed: int,
) -> MaskReport:
    """Tables 2 to 7 of every method, volumes against truth, and paired differences.

    The first method is the one that the others are compared with. Raises StudyError for a name
    twice.
    """
    names = [method.name for method in methods]
    if len(set(names)) != len(names):
        raise StudyError(f"methods {names} hold a name twice")
    rows, statistics, found, volumes, table = [], {}, {}, {}, []
    scans, classes = lse_study.scan_rows(slices.rows), methods[0].test.classes
    first_places = [int(places[0]) for places in lse_study.scan_places(slices.rows).values()]
    for method in methods:
        histograms = lse_study.joint_histograms(method, slices)
        found[method.name] = lse_study.protocols(
            method, histograms, slices.rows, validation_labels, slices.hu.shape[-1], seed
        )
        rows += lse_tables.protocol_rows(
            method.method, found[method.name], slices.rows, classes, dataset, replicates, seed
        )
        statistics |= lse_tables.dice_statistics(
            method.method, found[method.name], slices.rows, classes
        )
        fitted = next(
            item
            for item in found[method.name]
            if (item.rule, item.source) == ("class_thresholds", "masks-validation")
        )
        volumes[method.name] = volume_table(
            fitted.counts, scans, slices.pixel_ml[first_places], classes
        )
        common = {
            "study": lse_tables.STUDY,
            "dataset": dataset,
            "method": method.method,
            "variant": method.variant,
        }
        rows += agreement_rows(
            volumes[method.name],
            {**common, "threshold_source": "masks-validation"},
            replicates=replicates,
            seed=seed,
        )
        table += [
            {
                "method": method.name,
                "protocol": item.source if item.source != "none" else item.variant,
                "subset": item.rule,
                **{name: threshold.value for name, threshold in item.thresholds.items()},
            }
            for item in found[method.name]
        ]
    others = [method.method for method in methods if method.method != METHOD]
    differences, difference_rows = lse_tables.method_differences(
        statistics, METHOD, others, dataset, replicates, seed
    )
    rows += difference_rows + lse_tables.own_differences(
        statistics, dataset, base_variant, replicates, seed
    )
    return MaskReport(rows, differences, pd.DataFrame(table), found, volumes)


def truths_of(slices: ScoredSlices, classes: Sequence[str]) -> dict[str, np.ndarray]:
    """Truth by class: masks where they were read, else the filled boxes, the same for every
    class."""
    return {
        name: slices.truth(name) if slices.codes is not None else slices.box_masks()
        for name in classes
    }


def readable(
    results: pd.DataFrame,
    source: str,
    subset: str,
    variants: Sequence[str] | None = None,
    metric: str = "dice",
) -> pd.DataFrame:
    """A printed table's shape: a row per method and variant, a column per class, `value [low,
    high]`, of one protocol over pixels, and RIVAL_IS_ABOVE."""
    rows = results[
        (results["metric"] == metric)
        & (results["unit"] == "pixel")
        & (results["threshold_source"] == source)
        & (results["subset"] == subset)
    ]
    rows = rows if variants is None else rows[rows["variant"].isin(list(variants))]
    cells = rows[["method", "variant", "class"]].assign(
        value=rows.apply(with_interval, axis=1) if len(rows) else pd.Series(dtype=str)
    )
    wide = cells.pivot(index=["method", "variant"], columns="class", values="value")
    averages = (lse_tables.AVERAGE, lse_tables.SUBTYPE_AVERAGE, lse_tables.POOLED)
    order = [name for name in (BACKGROUND, *lse_study.SUBTYPES, *averages) if name in wide]
    return (
        wide[order]
        .assign(**{RIVAL_IS_ABOVE: rivals_above(rows, order)})
        .fillna({RIVAL_IS_ABOVE: ""})
        .sort_index()
    )


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
    index = (
        pd.MultiIndex.from_tuples(found, names=["method", "variant"]) if found else values.index[:0]
    )
    return pd.Series(list(found.values()), index, dtype=object)


def localisation_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Localisation without thresholds: a row per method and variant, `value [low, high]` per metric
    and class, and RIVAL_IS_ABOVE per metric."""
    table = result_table([row for row in rows if not row["metric"].endswith("_difference")])
    cells = table[["method", "variant", "class", "metric"]].assign(
        value=table.apply(with_interval, axis=1)
    )
    wide = cells.pivot(index=["method", "variant"], columns=["metric", "class"], values="value")
    for metric, of_one in table.groupby("metric"):
        wide[metric, RIVAL_IS_ABOVE] = rivals_above(of_one, sorted(of_one["class"].unique()))
    return wide.sort_index(axis=1).fillna("")


def finished(
    rows: Sequence[dict[str, Any]], classification: Sequence[pd.DataFrame]
) -> pd.DataFrame:
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
    methods: Sequence[MethodMaps],
    slices: ScoredSlices,
    shown: pd.DataFrame,
    report: MaskReport | None,
) -> list[MapColumn]:
    """A column per method: the heat of each row's class, and Algorithm 1's mask at the true labels
    where there are masks (Figs. 4 to 6).

    shown: `class, place`, as `lse_study.shown_slices` gives it. Where a method has several
    variants, each column names its own.
    """
    several = {
        method.method
        for method in methods
        if sum(other.method == method.method for other in methods) > 1
    }
    places, size = shown["place"].to_numpy(), slices.hu.shape[-1]
    columns = []
    for method in methods:
        numbers = [method.test.classes.index(name) for name in shown["class"]]
        heatmaps = method.test.scaled(size, places)[np.arange(len(places)), numbers]
        codes = None
        if report is not None:
            labels = lse_study.labels_of(slices.rows, method.test.classes)
            codes = lse_study.masks_of(method, report.chosen(method.name), labels, size, places)
        title = (
            f"{method.method}\n({method.variant})"
            if method.method in several
            else method.name.replace(" (", "\n(")
        )
        columns.append(MapColumn(title, heatmaps, codes))
    return columns


def shown_boxes(slices: ScoredSlices, name: str, count: int) -> pd.DataFrame:
    """Slices with boxes, of different patients, the largest of each, patients evenly along the
    list: `class, place`."""
    areas = slices.box_masks().sum((1, 2))
    largest = [
        int(places[areas[places].argmax()])
        for places in slices.rows.groupby("patient_id", sort=True).indices.values()
    ]
    largest = [place for place in largest if areas[place]]
    picked = [
        largest[int(number)]
        for number in np.linspace(0, len(largest) - 1, min(count, len(largest)))
    ]
    return pd.DataFrame({"class": name, "place": picked})


def pointing_difference(rows: Sequence[dict[str, Any]], other: str, name: str) -> dict[str, Any]:
    """The row of LSE-UNet's pointing game minus that of `other`, one class; StudyError where it was
    not compared."""
    wanted = (f"{METHOD} - {other}", "pointing_game_difference", name)
    found = [row for row in rows if (row["method"], row["metric"], row["class"]) == wanted]
    if len(found) != 1:
        raise StudyError(
            f"{len(found)} differences of the pointing game from {other!r}, class {name!r};"
            " expected one"
        )
    return found[0]


def headline_difference(
    report: MaskReport, other: str, subset: str, source: str, variant: str
) -> pd.Series:
    """LSE-UNet minus `other`, Dice of the subtypes' pixels pooled, of one protocol; StudyError
    where it was not compared."""
    table = report.differences
    rows = table[
        (table["second"] == other)
        & (table["subset"] == subset)
        & (table["threshold_source"] == source)
        & (table["variant"] == variant)
        & (table["class"] == lse_tables.POOLED)
    ]
    if len(rows) != 1:
        raise StudyError(
            f"{len(rows)} differences from {other!r} at {subset}, {source}, {variant}; expected one"
        )
    return rows.iloc[0]
