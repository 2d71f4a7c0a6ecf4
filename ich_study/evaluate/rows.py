"""From counts and values to rows of the result table, with intervals over patients.

Every study writes its rows here, so that "Dice per pixel" means the same in all tables: `pixel`
sums counts over all slices (global micro), `slice` is the mean over slices with truth, `scan` the
mean over scans with truth. `n` is the number of patients; intervals are 95 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ich_study.errors import StudyError
from ich_study.metrics.overlap import RATIOS, Counts
from ich_study.metrics.ratio import ratio
from ich_study.metrics.significance import holm, step_down
from ich_study.metrics.statistics import (
    PatientStatistic,
    difference_of,
    draw,
    mean_of_items,
    paired,
    paired_bootstrap,
    patient_bootstrap,
    ratio_of_sums,
)

METRICS = tuple(RATIOS)
UNITS: tuple[str, ...] = ("pixel", "slice", "scan")
DIFFERENCE_COLUMNS = (
    "first",
    "second",
    "difference",
    "ci_low",
    "ci_high",
    "interval",
    "p",
    "p_holm",
    "patients",
)
Row = dict[str, Any]
OF_SLICES: Row = {"unit": "slice", "subset": "all", "threshold_source": "none"}
"""Columns of what is measured over all slices and needs no threshold."""


def statistic_of(counts: Counts, rows: pd.DataFrame, unit: str, metric: str) -> PatientStatistic:
    """One overlap measure as a statistic over patients.

    counts: (slices,). rows: a row per slice with `patient_id` and `scan_id`. unit, metric: of UNITS
    and METRICS. Means leave out slices and scans without truth; under `pixel` every slice counts. A
    patient without slices that count stays among the drawn ones; where none of them has truth,
    there is no value.
    """
    patients = rows["patient_id"].to_numpy()
    if unit == "pixel":
        return ratio_of_sums(patients, *RATIOS[metric](counts), counts.present)
    if unit == "scan":
        scans = rows["scan_id"].astype(str).to_numpy()
        first = np.unique(scans, return_index=True)[1]
        counts, patients = counts.by_group(scans), patients[first]
    values = ratio(*RATIOS[metric](counts))
    return mean_of_items(patients, np.where(counts.present, values, np.nan))


def paired_differences(
    statistics: Mapping[str, PatientStatistic],
    pairs: Sequence[tuple[str, str]],
    replicates: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """`first` minus `second` on the same drawn patients, for every pair, with DIFFERENCE_COLUMNS.

    `p` is that of `paired_bootstrap`, `p_holm` corrected over the pairs. Raises StudyError for
    statistics of different patients.
    """
    # a measure stands in many pairs, and is drawn once for all
    names = {name for pair in pairs for name in pair}
    drawn = {name: draw(statistics[name], replicates, seed) for name in names}
    rows = []
    for first, second in pairs:
        found = paired(drawn[first], drawn[second])
        bounds = found.value, found.low, found.high, found.kind
        rows.append((first, second, *bounds, found.p, np.nan, found.n_patients))
    table = pd.DataFrame(rows, columns=list(DIFFERENCE_COLUMNS))
    return table.assign(p_holm=holm(table["p"]))


def jointly_corrected(
    table: pd.DataFrame,
    statistics: Mapping[str, PatientStatistic],
    replicates: int = 2000,
    seed: int = 0,
) -> np.ndarray:
    """Corrected p of a table of `paired_differences`, by the joint bootstrap of its pairs
    (`step_down`); Holm's where no drawn patients differ, and NaN where there is no p."""
    drawn = {name: draw(each, replicates, seed).values for name, each in statistics.items()}
    apart = [drawn[pair.first] - drawn[pair.second] for pair in table.itertuples()]
    p = step_down(table["difference"].to_numpy(), np.transpose(apart))
    by_draws = np.isfinite(p) & table["p"].notna()
    return np.where(by_draws, p, table["p_holm"])


@dataclass(frozen=True)
class Rows:
    """What all rows of one study on one data set share, and how they are made.

    replicates, seed: of the patient bootstrap. Further columns of a row (method, variant, layer,
    class_name, unit, subset, threshold_source, brain_mask) are given as keywords. made: every row
    of one measure, or of one `difference`, and its statistic, from which paired differences are
    drawn later.
    """

    study: str
    dataset: str
    replicates: int = 1000
    seed: int = 0
    made: list[tuple[Row, PatientStatistic]] = field(
        default_factory=list, repr=False, compare=False
    )

    def statistic(self, statistic: PatientStatistic, metric: str, **columns: Any) -> Row:
        """One measure with its interval."""
        interval = patient_bootstrap(statistic, self.replicates, self.seed)
        row = {**self._named(columns), "metric": metric, **interval.columns()}
        self.made.append((row, statistic))
        return row

    def overlap(
        self,
        counts: Counts,
        rows: pd.DataFrame,
        units: Sequence[str] = UNITS,
        metrics: Sequence[str] = METRICS,
        prefix: str = "",
        **columns: Any,
    ) -> list[Row]:
        """Every unit and metric of one method's counts per slice, (slices,). prefix: stands before
        the metrics' names, such as `box_`."""
        found = []
        for unit in units:
            for metric in metrics:
                statistic = statistic_of(counts, rows, unit, metric)
                found.append(self.statistic(statistic, prefix + metric, **columns, unit=unit))
        return found

    def mean(
        self,
        values: np.ndarray,
        rows: pd.DataFrame,
        metric: str,
        share: bool = True,
        **columns: Any,
    ) -> Row:
        """The mean of per-slice values, NaN left out. share: False where a value may be above 1."""
        statistic = mean_of_items(rows["patient_id"], values, share=share)
        return self.statistic(statistic, metric, **columns)

    def number(self, value: float, metric: str, n: int, **columns: Any) -> Row:
        """A number without interval, such as a threshold that was chosen; n: patients behind it."""
        named = {**self._named(columns), "metric": metric, "value": float(value)}
        return {**named, "n": n, "seed": self.seed}

    def difference(
        self, first: PatientStatistic, second: PatientStatistic, metric: str, **columns: Any
    ) -> Row:
        """`first` minus `second` on the same drawn patients, in one row; `metric` is taken as it
        is."""
        interval = paired_bootstrap(first, second, self.replicates, self.seed)
        row = {**self._named(columns), "metric": metric, **interval.columns()}
        self.made.append((row, difference_of(first, second)))
        return row

    def differences(
        self,
        statistics: Mapping[str, PatientStatistic],
        pairs: Sequence[tuple[str, str]],
        metric: str,
        replicates: int | None = None,
        **columns: Any,
    ) -> tuple[pd.DataFrame, list[Row]]:
        """`paired_differences` as a table, and as rows: method `first - second`, metric
        `<metric>_difference`. replicates: other than for intervals of single methods."""
        table = paired_differences(statistics, pairs, replicates or self.replicates, self.seed)
        return table, self.of_differences(table, metric, **columns)

    def of_differences(self, table: pd.DataFrame, metric: str, **columns: Any) -> list[Row]:
        """A table of `paired_differences` as rows."""
        named = self._named(columns)
        return [
            {
                **named,
                "method": f"{row.first} - {row.second}",
                "metric": f"{metric}_difference",
                "value": row.difference,
                "ci_low": row.ci_low,
                "ci_high": row.ci_high,
                "interval": row.interval,
                "n": row.patients,
                "seed": self.seed,
            }
            for row in table.itertuples()
        ]

    def _named(self, columns: Mapping[str, Any]) -> Row:
        named = {"study": self.study, "dataset": self.dataset, **columns}
        if "class_name" in named:
            named["class"] = named.pop("class_name")
        return named


def checked_above_random(results: pd.DataFrame, method: str, needed: bool = True) -> str:
    """How much better than a random map a method points, as a sentence.

    results: with the row `<method> - random_map` of `pointing.pointing_differences`; without, the
    sentence says that nothing was measured. Raises StudyError where it is `needed` that the
    interval lies above 0, and it does not, or was not measured.
    """
    gains = results[results["method"] == f"{method} - random_map"]
    gains = gains[gains["metric"].str.endswith("pointing_game_difference")]
    if gains.empty:
        if needed:
            raise StudyError(f"{method}: no pointing game was measured against a random map")
        return f"{method}: no pointing game was measured"
    gain = gains.iloc[0]
    said = "{value:.3f} [{ci_low:.3f}, {ci_high:.3f}]".format(**gain)
    if needed and not gain["ci_low"] > 0:
        raise StudyError(
            f"{method}: expected a pointing game above a random map's, with an interval that"
            f" excludes zero, found a difference of {said}; train longer, or set"
            " above_random: false to ask for nothing"
        )
    return f"{method}: pointing game above a random map's by {said}"
