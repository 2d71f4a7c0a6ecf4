"""Two classifiers on the same patients: paired differences with intervals and corrected tests."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ich_study.errors import DataError
from ich_study.evaluate.slice_predictions import known_of
from ich_study.metrics.significance import holm
from ich_study.metrics.statistics import (
    PatientStatistic,
    auroc_of_items,
    paired_bootstrap,
    two_sided_p,
)
from ich_study.schema import result_table

COMPARISON_COLUMNS = (
    "first",
    "second",
    "dataset",
    "class",
    "difference",
    "ci_low",
    "ci_high",
    "p",
    "p_holm",
    "patients",
)


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
    rows = []
    for first, second in pairs:
        scored = [_scored(predictions, arm, part, name) for arm in (first, second)]
        if not scored[0]["key"].equals(scored[1]["key"]):
            raise DataError(
                f"{first} and {second} scored different slices of {part}; run both on the same"
                " split"
            )
        measures = [_auroc(table) for table in scored]
        interval = paired_bootstrap(*measures, replicates, seed)
        rows.append(
            {
                "first": first,
                "second": second,
                "dataset": part,
                "class": name,
                "difference": interval.value,
                "ci_low": interval.low,
                "ci_high": interval.high,
                "p": two_sided_p(*measures, replicates, seed),
                "patients": interval.n_patients,
            }
        )
    table = pd.DataFrame(
        rows, columns=[column for column in COMPARISON_COLUMNS if column != "p_holm"]
    )
    return table.assign(p_holm=holm(table["p"].to_numpy()) if len(table) else [])[
        list(COMPARISON_COLUMNS)
    ]


def difference_rows(differences: pd.DataFrame, study: str, seed: int) -> pd.DataFrame:
    """`auroc_differences` as tidy result rows, metric `auroc_difference`, which the claims are
    judged by."""
    return result_table(
        [
            {
                "study": study,
                "dataset": row.dataset,
                "method": f"{row.first} - {row.second}",
                "variant": "printed",
                "class": row.label,
                "unit": "slice",
                "subset": "all",
                "threshold_source": "none",
                "metric": "auroc_difference",
                "value": row.difference,
                "ci_low": row.ci_low,
                "ci_high": row.ci_high,
                "n": row.patients,
                "seed": seed,
            }
            for row in differences.rename(columns={"class": "label"}).itertuples()
        ]
    )


def _scored(predictions: dict[str, pd.DataFrame], arm: str, part: str, name: str) -> pd.DataFrame:
    if arm not in predictions:
        raise DataError(f"no predictions of arm {arm!r}; there are {sorted(predictions)}")
    table = known_of(predictions[arm][predictions[arm]["part"] == part], name)
    keyed = table.assign(key=table["scan_id"] + "/" + table["slice_index"].astype(str))
    return keyed.sort_values("key", ignore_index=True)


def _auroc(table: pd.DataFrame) -> PatientStatistic:
    return auroc_of_items(
        table["patient_id"].to_numpy(), table["label"].to_numpy(), table["probability"].to_numpy()
    )
