"""Do maps point at hemorrhage better than others on the same slices: paired differences of the
pointing game."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ich_study.errors import StudyError
from ich_study.evaluate.rows import Row, Rows
from ich_study.evaluate.score import Scores
from ich_study.metrics.statistics import mean_of_items


def pointing_differences(
    scores: Sequence[Scores], pairs: Sequence[tuple[str, str]], rows: Rows, **columns: Any
) -> list[Row]:
    """Rows `pointing_game_difference`, first minus second of every pair of names, over the slices
    with truth; scores of one name, as of several folds, are taken together."""
    statistics = {}
    for name in {each for pair in pairs for each in pair}:
        own = [each for each in scores if each.name == name]
        patients = np.concatenate([each.rows["patient_id"][each.positive] for each in own])
        values = np.concatenate([each.pointing[each.positive] for each in own])
        statistics[name] = mean_of_items(patients, values)
    named = {"class_name": "any", "unit": "slice", "subset": "positive", "threshold_source": "none"}
    return rows.differences(statistics, pairs, "pointing_game", **named, **columns)[1]


def checked_above_random(results: pd.DataFrame, method: str, needed: bool = True) -> str:
    """How much better than a random map a method points, as a sentence.

    results: with the row `<method> - random_map` of `pointing_differences`; without, the sentence
    says that nothing was measured. Raises StudyError where it is `needed` that the interval lies
    above 0, and it does not, or was not measured.
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
