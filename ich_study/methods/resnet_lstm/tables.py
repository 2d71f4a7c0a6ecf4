"""Tables 1 and 2 of ResNet-LSTM and the rows of the result table: volumes, classifiers, maps and
their paired differences, all folds together.

Means run over volumes with hemorrhage, intervals over patients. Table 2 tests each row against the
row above it by a two-tailed paired t-test; the corrected p stands beside it here. A box is not a
mask: measures against boxes are named `box_dice` and so on, and never stand in a column with those
against masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from ich_study.errors import StudyError
from ich_study.evaluate import classification, comparisons
from ich_study.evaluate.pointing import pointing_differences
from ich_study.evaluate.results import joined, with_interval
from ich_study.evaluate.rows import Rows
from ich_study.evaluate.score import Scores
from ich_study.evaluate.slice_position import position_rows
from ich_study.methods.resnet_lstm.arms import MAIN
from ich_study.methods.resnet_lstm.measures import METRICS
from ich_study.metrics.significance import holm, paired_t_test
from ich_study.metrics.statistics import PatientStatistic, mean_of_items, patient_bootstrap
from ich_study.published.claimed import claimed_rows
from ich_study.published.tables import load_table
from ich_study.schema import result_table

TESTED: tuple[str, ...] = ("dice", "rvd", "tpr")
ABLATION: tuple[str, ...] = ("resnet_unet", "resnet_lstm_unet", "resnet_kmeans_unet", MAIN)
"""Rows of Table 2, from the top."""
PAIRS: tuple[tuple[str, str], ...] = (
    ("resnet_lstm_kmeans", "resnet_lstm_cam"),
    (MAIN, "hu_threshold"),
    (MAIN, "centred_blob"),
    (MAIN, "random_map"),
)
"""First minus second: what no sentence of the paper asks (`published.claimed` makes those)."""
CLASSIFIER_PAIRS: tuple[tuple[str, str], ...] = (
    ("resnet_lstm", "resnet"),
    ("resnet_lstm_refitted", "resnet"),
)
_UNCHOSEN = {"class": "any", "threshold_source": "none"}
_OVER_VOLUMES = {**_UNCHOSEN, "unit": "scan", "subset": "all"}


def volume_results(
    volumes: pd.DataFrame, rows: Rows, variant: str, truth_kind: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Result rows of all methods per volume, of their paired differences and of the p of the
    paper's tests (`row_above_tests`), and the differences of PAIRS as a table.

    truth_kind: "masks" or "boxes".
    """
    printed = volumes[volumes["variant"] == variant]
    table, paired = paired_rows(printed, PAIRS, rows, variant=variant)
    found = [*volume_rows(volumes, rows), *paired]
    for test in row_above_tests(printed).itertuples():
        named = {**_OVER_VOLUMES, "method": test.method, "variant": variant}
        found.append(rows.number(test.p, f"{test.metric}_p_value", test.n, **named))
    frame = result_table([*found, *claimed_rows(rows, found)])
    return _against(frame, truth_kind), _against(table, truth_kind)


def volume_rows(volumes: pd.DataFrame, rows: Rows) -> list[dict[str, Any]]:
    """Mean (with interval) and SD of every measure and method; `sd` rows carry the SD over volumes
    (n - 1) that the paper prints after its means."""
    found = []
    for (method, variant), part in volumes.groupby(["method", "variant"], sort=False):
        named = {**_OVER_VOLUMES, "method": method, "variant": variant}
        for metric in METRICS:
            mean = rows.statistic(volume_statistic(part, metric), metric, **named)
            spread = {"value": float(part[metric].std(ddof=1)), "n": int(part[metric].count())}
            no_interval = {"ci_low": None, "ci_high": None, "interval": None}
            found += [mean, {**mean, **no_interval, "metric": f"{metric}_sd", **spread}]
    return found


def paired_rows(
    volumes: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
    rows: Rows,
    **columns: Any,
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Paired differences of means as a table and as `<metric>_difference` rows; pairs with a method
    that was not measured are left out."""
    known = set(volumes["method"])
    kept = [pair for pair in pairs if set(pair) <= known]
    tables, found = [], []
    for metric in TESTED:
        statistics = {}
        for name, part in volumes.groupby("method", sort=False):
            statistics[name] = volume_statistic(part, metric)
        table, differences = rows.differences(
            statistics, kept, metric, 2 * rows.replicates, **_OVER_VOLUMES, **columns
        )
        tables.append(table.assign(metric=metric))
        found += differences
    return pd.concat(tables, ignore_index=True), found


def classifier_results(
    predictions: Mapping[str, pd.DataFrame], rival: pd.DataFrame, rows: Rows
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Slice measures of the classifiers on the test parts of all folds, and the AUROC's paired
    differences.

    predictions: method -> `slice_predictions.PREDICTION_COLUMNS`, all folds. rival: those of
    `evaluate.slice_position` on the same slices, which stand beside every AUROC.
    """
    tables, parts = [], {}
    for method, table in predictions.items():
        measured = classification.classification_results(table, {}, rows, method)
        tables.append(measured.assign(seed=rows.seed))
        tables.append(result_table(position_rows(table, rival, rows, method, "printed")))
        parts[method] = table.assign(part=rows.dataset)
    differences = comparisons.auroc_differences(
        parts, CLASSIFIER_PAIRS, rows.dataset, "any", 2 * rows.replicates, rows.seed
    )
    tables.append(comparisons.auroc_difference_rows(differences, rows.study, rows.seed))
    return joined(tables), differences


def map_results(scores: Sequence[Scores], rows: Rows, truth_kind: str) -> pd.DataFrame:
    """Pointing game and mass inside over the slices with truth of all folds, by method, and how
    much better than a random map the CAMs point."""
    found = []
    for method in sorted({each.name for each in scores}):
        own = [each for each in scores if each.name == method]
        slices = pd.concat([each.rows[each.positive] for each in own], ignore_index=True)
        named = {**_UNCHOSEN, "unit": "slice", "subset": "positive"}
        named |= {"method": method, "variant": own[0].variant}
        for metric, name in (("mass_inside", "mass"), ("pointing_game", "pointing")):
            values = np.concatenate([getattr(each, name)[each.positive] for each in own])
            found.append(rows.mean(values, slices, metric, **named))
    found += claimed_rows(rows, found)
    cams = sorted({each.name for each in scores if each.name.endswith("_cam")})
    pairs = [(name, "random_map") for name in cams]
    variant = {"variant": scores[0].variant}
    found += pointing_differences(scores, pairs, rows, **variant)
    return _against(result_table(found), truth_kind)


def table_2(volumes: pd.DataFrame, replicates: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Our Table 2: methods of ABLATION that were measured, mean +- SD and interval of Dice, RVD and
    TPR, with stars.

    Stars as printed: * p < 0.05, ** p < 0.001 of the uncorrected test against the row above.
    """
    p_values = row_above_tests(volumes).set_index(["method", "metric"])["p"]
    rows = []
    for method in _present(volumes):
        part = volumes[volumes["method"] == method]
        row: dict[str, Any] = {"method": method, "volumes": int(part["dice"].count())}
        for metric in TESTED:
            p = p_values.get((method, metric), np.nan)
            stars = "**" if p < 0.001 else "*" if p < 0.05 else ""
            interval = patient_bootstrap(volume_statistic(part, metric), replicates, seed).columns()
            bounds = with_interval(pd.Series(interval), 2).partition(" ")[2]
            spread = part[metric].std(ddof=1)
            row[metric] = f"{interval['value']:.2f} ± {spread:.2f}{stars} {bounds}".strip()
        rows.append(row)
    return pd.DataFrame(rows)


def row_above_tests(volumes: pd.DataFrame) -> pd.DataFrame:
    """Two-tailed paired t-tests over volumes, each row of Table 2 against the one above it.

    Columns method, above, metric, difference (method - above), t, p, p_holm (over all these tests),
    n. Raises StudyError where two methods were measured on different volumes.
    """
    rows = []
    for above, method in pairwise(_present(volumes)):
        first, second = (
            volumes[volumes["method"] == name].sort_values("scan_id") for name in (method, above)
        )
        if first["scan_id"].tolist() != second["scan_id"].tolist():
            raise StudyError(
                f"{method} and {above} were measured on different volumes; a paired test needs the"
                " same"
            )
        for metric in TESTED:
            test = paired_t_test(first[metric].to_numpy(), second[metric].to_numpy())
            tested = test.mean_difference, test.statistic, test.p, test.n
            rows.append((method, above, metric, *tested))
    table = pd.DataFrame(rows, columns=["method", "above", "metric", "difference", "t", "p", "n"])
    return table.assign(p_holm=holm(table["p"].to_numpy()) if len(table) else [])


def printed_tables() -> pd.DataFrame:
    """Tables 1 and 2 as the paper prints them."""
    printed = pd.concat([load_table("resnet_lstm", name) for name in ("table_1", "table_2")])
    cells = {"columns": "column", "values": "as_printed", "aggfunc": "first", "sort": False}
    return printed.pivot_table(index=["table", "row"], **cells).fillna("")


def volume_statistic(volumes: pd.DataFrame, metric: str) -> PatientStatistic:
    """Mean of one measure over volumes, as a statistic over patients."""
    share = metric not in ("rvd", "hausdorff")
    return mean_of_items(volumes["patient_id"], volumes[metric].to_numpy(), share=share)


def _against(table: pd.DataFrame, truth_kind: str) -> pd.DataFrame:
    return table.assign(metric="box_" + table["metric"]) if truth_kind == "boxes" else table


def _present(volumes: pd.DataFrame) -> list[str]:
    twice = volumes.duplicated(["scan_id", "method"])
    if twice.any():
        raise StudyError(
            f"{volumes.loc[twice, 'method'].iloc[0]} was measured twice on a volume; select one"
            " variant"
        )
    return [method for method in ABLATION if method in set(volumes["method"])]
