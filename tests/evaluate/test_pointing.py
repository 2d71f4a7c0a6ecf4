import numpy as np
import pandas as pd
import pytest

from ich_study.errors import StudyError
from ich_study.evaluate.pointing import pointing_differences
from ich_study.evaluate.rows import Rows, checked_above_random
from ich_study.evaluate.score import Scores
from ich_study.metrics.overlap import Counts
from ich_study.schema import result_table


def pointed(name, hits):
    """Scores of four patients with two slices each; a slice without truth is NaN."""
    rows = pd.DataFrame({"patient_id": np.repeat([f"p{i}" for i in range(4)], 2)})
    nothing = np.full(len(rows), np.nan)
    pixels = Counts(*np.zeros((3, len(rows), 0), int))
    values = np.array(hits, float)
    return Scores(name, "printed", None, "any", np.empty(0), pixels, values, nothing, rows)


def test_a_map_is_above_a_random_one_only_where_the_interval_says_so():
    nan = np.nan
    scores = [
        pointed("good", [1, 1, 1, 0, 1, nan, 1, 1]),
        pointed("poor", [1, 0, 0, 0, 0, nan, 0, 0]),
        pointed("random_map", [0, 1, 0, 0, 0, nan, 0, 0]),
    ]
    pairs = [(name, "random_map") for name in ("good", "poor")]
    rows = Rows("04", "fake", replicates=400)
    table = result_table(pointing_differences(scores, pairs, rows, variant="printed"))
    # 6 of 7 slices with truth against 1 of 7, and 1 of 7 against 1 of 7
    assert table["value"].tolist() == pytest.approx([5 / 7, 0.0])
    assert set(table["metric"]) == {"pointing_game_difference"} and set(table["n"]) == {4}
    assert "good: pointing game above a random map's by 0.714" in checked_above_random(
        table, "good"
    )
    with pytest.raises(
        StudyError, match=r"poor: expected .* excludes zero, found a difference of 0.0"
    ):
        checked_above_random(table, "poor")
    assert "poor" in checked_above_random(table, "poor", needed=False)
    assert "no pointing game" in checked_above_random(table, "absent", needed=False)
    with pytest.raises(StudyError, match="absent: no pointing game was measured"):
        checked_above_random(table, "absent")
