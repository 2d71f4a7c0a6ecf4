"""Two classifiers on the same patients: paired differences of their AUROC."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ich_study.errors import DataError
from ich_study.evaluate.rows import DIFFERENCE_COLUMNS, Rows, paired_differences
from ich_study.evaluate.slice_predictions import known_of
from ich_study.metrics.significance import holm
from ich_study.metrics.statistics import PatientStatistic, auroc_of_items
from ich_study.schema import result_table

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
    tables = [paired_differences({}, [])]
    for first, second in pairs:
        scored = {arm: _scored(predictions, arm, part, name) for arm in (first, second)}
        if not scored[first]["key"].equals(scored[second]["key"]):
            raise DataError(
                f"{first} and {second} scored different slices of {part}; run both on the same"
                " split"
            )
        measures = {arm: _auroc(table) for arm, table in scored.items()}
        tables.append(paired_differences(measures, [(first, second)], replicates, seed))
    # pairs may share an arm, but each is checked and measured alone; Holm sees them all
    table = pd.concat(tables[1:] or tables, ignore_index=True)
    corrected = holm(table["p"].to_numpy()) if len(table) else []
    named = table.assign(**{"dataset": part, "class": name, "p_holm": corrected})
    return named[list(COMPARISON_COLUMNS)]


def auroc_difference_rows(differences: pd.DataFrame, study: str, seed: int) -> pd.DataFrame:
    """`auroc_differences` as tidy result rows, metric `auroc_difference`, which the claims are
    judged by."""
    named = {"variant": "printed", "unit": "slice", "subset": "all", "threshold_source": "none"}
    rows = []
    for (part, name), table in differences.groupby(["dataset", "class"], sort=False):
        own = Rows(study, part, seed=seed)
        rows += own.of_differences(table, "auroc", class_name=name, **named)
    return result_table(rows)


def _scored(predictions: dict[str, pd.DataFrame], arm: str, part: str, name: str) -> pd.DataFrame:
    if arm not in predictions:
        raise DataError(f"no predictions of arm {arm!r}; there are {sorted(predictions)}")
    table = known_of(predictions[arm][predictions[arm]["part"] == part], name)
    keyed = table.assign(key=table["scan_id"] + "/" + table["slice_index"].astype(str))
    return keyed.sort_values("key", ignore_index=True)


def _auroc(table: pd.DataFrame) -> PatientStatistic:
    return auroc_of_items(
        table["patient_id"].to_numpy(), table["label"].to_numpy(), table["logit"].to_numpy()
    )
