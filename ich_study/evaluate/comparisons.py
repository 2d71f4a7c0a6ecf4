"""Classifiers on the same patients: paired differences of what their predictions say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import logit

from ich_study.errors import DataError
from ich_study.evaluate.pairs import pair_columns
from ich_study.evaluate.rows import DIFFERENCE_COLUMNS, OF_SLICES, Row, Rows, paired_differences
from ich_study.evaluate.slice_predictions import known_of, measured
from ich_study.evaluate.thresholds import FIXED_THRESHOLDS
from ich_study.evaluate.top_epochs import paired_statistics
from ich_study.metrics.statistics import (
    PatientStatistic,
    mean_of_statistics,
    paired_bootstrap,
    range_of_statistics,
)
from ich_study.schema import SUBTYPES, result_table

RANGES = {f"{name}_range": name for name in ("precision", "sensitivity")}
"""Measures that say how far another moves over FIXED_THRESHOLDS: largest less smallest."""
COMPARISON_COLUMNS = ("first", "second", "dataset", "class", *DIFFERENCE_COLUMNS[2:])


def auroc_differences(
    predictions: dict[str, pd.DataFrame],
    pairs: Sequence[tuple[str, str]],
    part: str,
    name: str,
    replicates: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """AUROC of `first` minus AUROC of `second`, of one class on one part, for every pair of arms.

    predictions: arm -> `slice_predictions.PREDICTION_COLUMNS` with `part`. Interval: 95 %, the same
    drawn patients for both. `p` is two-sided, from those replicates; `p_holm` is corrected over the
    pairs. Raises DataError where two arms did not score the same slices.
    """
    arms = dict.fromkeys(arm for pair in pairs for arm in pair)
    scored = {arm: _scored(predictions, arm, part, name) for arm in arms}
    for first, second in pairs:
        if not scored[first]["key"].equals(scored[second]["key"]):
            raise DataError(
                f"{first} and {second} scored different slices of {part}; run both on the same"
                " split"
            )
    measures = {arm: measured(table, "auroc") for arm, table in scored.items()}
    table = paired_differences(measures, pairs, replicates, seed)
    return table.assign(**{"dataset": part, "class": name})[list(COMPARISON_COLUMNS)]


def auroc_difference_rows(differences: pd.DataFrame, study: str, seed: int) -> pd.DataFrame:
    """`auroc_differences` as tidy result rows, metric `auroc_difference`, which the claims are
    judged by."""
    named = {**OF_SLICES, "variant": "printed"}
    rows = []
    for (part, name), table in differences.groupby(["dataset", "class"], sort=False):
        own = Rows(study, part, seed=seed)
        rows += own.of_differences(table, "auroc", class_name=name, **named)
    return result_table(rows)


def threshold_ranges(
    predictions: Mapping[str, pd.DataFrame],
    arms: Sequence[str],
    part: str,
    replicates: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Result rows of RANGES of `any`, of runs of 01_backbones on one part; empty without arms."""
    rows = Rows("01_backbones", part, replicates, seed)
    named = {**OF_SLICES, "variant": "printed"}
    found = []
    for arm in arms:
        table = _scored(predictions, arm, part, "any")
        for metric in RANGES:
            statistic = _statistic([table], metric)
            found.append(rows.statistic(statistic, metric, method=arm, class_name="any", **named))
    return result_table(found)


def prediction_differences(
    pairs: Sequence[tuple[Mapping[str, str], Mapping[str, str]]],
    predictions: Mapping[str, pd.DataFrame],
    epochs: Mapping[str, pd.DataFrame],
    replicates: int,
    seed: int,
) -> pd.DataFrame:
    """Rows of the paired difference of two rows of the result table, both of classifiers.

    pairs: keys of the rows, of `published.claims.compared_pairs`. predictions: by the run's folder,
    which is the method in 01_backbones and the variant elsewhere. epochs: of `top_epochs`, for
    pairs of `f1_top5`, by the run's folder too. Pairs whose predictions are not here, or that
    scored different slices, are left out.
    """
    found: list[Row] = []
    for first, second in pairs:
        place = f"{first['dataset']}/{first['part']}"
        if (first["dataset"], first["part"]) != (second["dataset"], second["part"]):
            continue
        if first["metric"] == second["metric"] == "f1_top5":
            both = paired_statistics(epochs, first["method"], second["method"])
        else:
            both = _paired(predictions, (first, second), place)
        if both is None:
            continue
        named = {**pair_columns(first, second), "dataset": place}
        named = {key: text or None for key, text in named.items() if key != "part"}
        found.append({**named, **paired_bootstrap(*both, replicates, seed).columns()})
    return result_table(found)


def _paired(
    predictions: Mapping[str, pd.DataFrame], rows: tuple[Mapping[str, str], ...], place: str
) -> tuple[PatientStatistic, ...] | None:
    """Measures of two rows from the same slices; None where these are not here."""
    tables = []
    for row in rows:
        run = row["method"] if row["study"] == "01_backbones" else row["variant"]
        names = SUBTYPES if row["class"] == "average" else (row["class"],)
        table = predictions.get(run)
        if table is None or not set(names) <= set(table.loc[table["part"] == place, "class"]):
            return None
        tables.append([_scored(predictions, run, place, name) for name in names])
    if any(not one["key"].equals(other["key"]) for one, other in zip(*tables)):
        return None
    both = tuple(_statistic(table, row["metric"]) for table, row in zip(tables, rows))
    return both if np.array_equal(both[0].patients, both[1].patients) else None


def _statistic(tables: Sequence[pd.DataFrame], metric: str) -> PatientStatistic:
    """`auroc`, `average_precision`, such as `f1@0.5`, or one of RANGES; the plain mean over several
    tables."""
    name, _, probability = metric.partition("@")
    found = []
    for table in tables:
        if metric in RANGES:
            cuts = map(logit, FIXED_THRESHOLDS)
            found.append(range_of_statistics([measured(table, RANGES[metric], at) for at in cuts]))
        else:
            cut = logit(float(probability)) if probability else None
            found.append(measured(table, name, cut))
    return found[0] if len(found) == 1 else mean_of_statistics(found)


def _scored(
    predictions: Mapping[str, pd.DataFrame], arm: str, part: str, name: str
) -> pd.DataFrame:
    if arm not in predictions:
        raise DataError(f"no predictions of arm {arm!r}; there are {sorted(predictions)}")
    table = known_of(predictions[arm][predictions[arm]["part"] == part], name)
    keyed = table.assign(key=table["scan_id"] + "/" + table["slice_index"].astype(str))
    return keyed.sort_values("key", ignore_index=True)
