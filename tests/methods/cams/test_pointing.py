"""Pointing at lesions: the depth comes from validation patients, differences from the same ones."""

import numpy as np
import pandas as pd
import pytest

from ich_study.errors import ParameterError, StudyError
from ich_study.evaluate.rows import Rows
from ich_study.evaluate.score import Scores
from ich_study.methods.cams import pointing
from ich_study.methods.cams.pointing import METRIC, PointingGame, pointing_rows, require_above
from ich_study.metrics.overlap import Counts
from ich_study.schema import result_table
from tests.methods.cams.fakes import STUDY, masked_store, write_run

PATIENTS = [f"p{number}" for number in range(20)]


def scores(hits, layer="-1"):
    """A slice of each of 20 patients, `hits` over and over."""
    values = np.resize(np.asarray(hits, float), len(PATIENTS))
    rows = pd.DataFrame({"patient_id": PATIENTS, "scan_id": PATIENTS})
    nothing = Counts(*np.zeros((3, len(rows), 0), np.int64))
    return Scores("hires_cam", "raw", layer, "any", np.zeros(0), nothing, values, values, rows)


def test_differences_are_paired_and_of_every_pair():
    found = {"a": scores([1, 1, 1, 0]), "b": scores([1, 0, 0, 0]), "c": scores([1, 1, 1, 0])}
    made = pointing_rows(found, Rows(*STUDY, replicates=200))
    assert len(pointing.pointing_table(made)) == 3 + 3
    table = result_table(made)
    by_name = table.set_index("method")
    assert by_name.loc["a", ["metric", "value"]].tolist() == [METRIC, 0.75]
    assert by_name.loc["a - b", "value"] == pytest.approx(0.5)
    # equal maps differ in no patient of 20: the bounds of Clopper and Pearson
    bound = 1 - 0.025 ** (1 / len(PATIENTS))
    found = by_name.loc["a - c", ["value", "ci_low", "ci_high"]].tolist()
    assert found == pytest.approx([0, -bound, bound])
    with pytest.raises(StudyError, match="a does not point better"):
        require_above(table, ["b", "c"])
    with pytest.raises(StudyError, match="a - nothing"):
        require_above(table, ["nothing"])
    better = {"a": scores([1, 1, 1, 0, 1]), "b": scores([0, 0, 0, 0, 1])}
    table = result_table(pointing_rows(better, Rows(*STUDY, replicates=200)))
    assert require_above(table, ["b"])["value"].tolist() == [pytest.approx(0.6)]


def test_the_depth_is_the_one_that_points_best_on_validation(tmp_path, monkeypatch):
    """[-2] is better on validation, [-1] on the test part, which must not decide."""
    write_run(tmp_path / "run")
    store = masked_store()
    held_out = store.index["patient_id"] == store.index["patient_id"].iloc[0]
    slices = {"validation": store.index[held_out], "test": store.index[~held_out]}
    best = {True: "-2", False: "-1"}

    def told(heat, truth, grid, class_name):
        of_validation = truth.rows["patient_id"].isin(slices["validation"]["patient_id"]).all()
        return scores(np.full(4, heat.layer == best[bool(of_validation)]), heat.layer)

    monkeypatch.setattr(pointing, "score", told)
    game = PointingGame("HiResCAM", store, slices, "masks")
    found = game.of_run(str(tmp_path / "run"), tmp_path / "maps")
    assert found.layer == "-2" and not found.pointing.any()
    with pytest.raises(ParameterError, match="same name"):
        game.of_all(["a/run", "b/run"], tmp_path, 8.0, 1)


def test_maps_and_rivals_are_scored_on_the_slices_with_a_lesion(tmp_path):
    write_run(tmp_path / "run")
    store = masked_store()
    game = PointingGame(
        "HiResCAM", store, dict.fromkeys(("validation", "test"), store.index), "masks"
    )
    found = game.of_all([str(tmp_path / "run")], tmp_path / "maps", 8.0, 1)
    assert list(found) == ["run", "hu_threshold", "centred_blob", "random_map"]
    for scores_ in found.values():
        assert scores_.rows["any"].all() and len(scores_) == store.index["any"].sum()
