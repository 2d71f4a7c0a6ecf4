"""Do maps point at hemorrhage better than others on the same slices: paired differences of the
pointing game."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ich_study.evaluate.rows import OF_SLICES, Row, Rows
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
    named = {**OF_SLICES, "class_name": "any", "subset": "positive"}
    return rows.differences(statistics, pairs, "pointing_game", **named, **columns)[1]
