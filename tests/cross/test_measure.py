"""One grid, one brain, whole scans: what a method says arrives where it was said."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import expit

from ich_study.cross import measure
from ich_study.cross.answers import ask_all
from ich_study.errors import ParameterError, SplitError
from ich_study.evaluate.truth import PackedMasks
from ich_study.splits.overlap import patient_marks
from ich_study.study import Study
from tests.cross.fakes import SquareStore, method


@pytest.fixture(scope="module")
def squares():
    store = SquareStore()
    return store, store.truth()


def measured(store, truth, one):
    return next(measure.measured({"it": one}, store, truth, 4.0, 0))


@pytest.mark.parametrize(
    ("size", "crop"), [(32, "none"), (64, "none"), (64, "center_of_110_percent")]
)
def test_heat_comes_back_to_the_common_grid_whatever_the_network_sees(squares, size, crop):
    store, truth = squares
    entry = measured(store, truth, method("bright", size, crop))
    inside = truth.mask()
    assert (entry.marked & inside).sum() > 0.95 * inside.sum()
    assert (entry.marked & ~inside).sum() < 0.12 * inside.sum()
    assert entry.heat.read(slice(None)).shape == (len(truth), 1, 32, 32)
    assert expit(entry.logit[truth.positive()]).min() > 0.9
    assert expit(entry.logit[~truth.positive()]).max() < 0.1
    assert entry.seconds > 0


def test_nothing_outside_the_brain_counts(squares):
    store, truth = squares
    no_brain = np.zeros(truth.hu.shape, bool)
    no_brain[:, :, 16:] = True
    halved = type(truth)(**{**vars(truth), "brain": PackedMasks.of(no_brain)})
    entry = measured(store, halved, method("bright"))
    assert entry.marked[:, :, 16:].any() and not entry.marked[:, :, :16].any()
    heat = entry.heat.read(slice(None))[:, 0]
    assert (heat[:, :, :16] == heat.min()).all()


def test_points_are_peaks_of_the_heat_with_its_value(squares):
    store, truth = squares
    entry = measured(store, truth, method("bright"))
    number = int(np.flatnonzero(truth.positive())[0])
    row, column, value = entry.points[number][0]
    assert truth.mask()[number, int(row), int(column)] and value == pytest.approx(1)
    flat = measured(store, truth, method("flat"))
    assert all(len(points) == 0 for points in flat.points)


def test_rivals_stand_beside_the_methods_and_cost_nothing(squares):
    store, truth = squares
    entries = measure.measured({"bright": method("bright")}, store, truth, 4.0, 0)
    found = {entry.name: entry for entry in entries}
    assert list(found) == ["bright", "hu_threshold", "centred_blob", "random_map"]
    assert [each.logit is None for each in found.values()] == [False, True, True, True]
    assert np.isnan(found["random_map"].seconds) and found["random_map"].logit is None
    # acute blood of 70 HU is what the HU threshold knows
    assert (found["hu_threshold"].marked & truth.mask()).sum() > 0.7 * truth.mask().sum()


def test_methods_whose_heat_does_not_fit_in_memory_are_asked_in_turn(squares):
    store, truth = squares
    methods = {name: method("bright") for name in ("one", "two", "three")}
    asked = []

    def crew(tasks):
        for task in tasks:
            asked.append(tuple(task.methods))
            yield ask_all(methods, task)

    def entries(heat_gb):
        asked.clear()
        given = (methods, store, truth, 4.0, 0, crew, heat_gb)
        found = {entry.name: entry for entry in measure.measured(*given)}
        return found, list(dict.fromkeys(asked))

    together, groups = entries(1.0)
    assert groups == [("one", "two", "three")]
    two = 2.5 * len(truth) * truth.size**2 * 9 / 2**30
    in_turn, groups = entries(two)
    assert groups == [("one", "two"), ("three",)]
    assert entries(0.0)[1] == [("one",), ("two",), ("three",)]
    assert list(together) == list(in_turn)
    for name in methods:
        both = [found[name] for found in (together, in_turn)]
        assert np.array_equal(*[each.heat.read(slice(None)) for each in both])
        assert np.array_equal(*[each.marked for each in both])


def test_weights_that_learned_from_a_scored_patient_stop_and_those_that_do_not_say_are_named(
    squares,
):
    _, truth = squares
    marks = {
        "silent": None,
        "unseen": patient_marks(truth.rows.assign(patient_id="other")),
        "seen": patient_marks(truth.rows.iloc[:1]),
    }
    methods = {name: replace(method("bright"), patients=each) for name, each in marks.items()}
    said = {name: each.learned_from for name, each in methods.items()}
    assert said == {"silent": "not said", "unseen": "squares (1)", "seen": "squares (1)"}
    with pytest.raises(SplitError, match=r"seen was trained on 1 of.*p0"):
        measure.check_unseen(methods, truth.rows)
    del methods["seen"]
    assert measure.check_unseen(methods, truth.rows) == ["silent"]


def test_tested_are_a_part_a_fold_or_all(squares, tmp_path):
    _, truth = squares
    store = SimpleNamespace(index=truth.rows)
    patients = truth.rows[["dataset", "patient_id"]].drop_duplicates(ignore_index=True)
    splits = {
        "parts": patients.assign(part=["train", "test", "train", "test", "train"]),
        "folds": patients.assign(fold=[0, 1, 2, 0, 1]),
    }
    study = Study("08", tmp_path, tmp_path, {"squares": store}, splits)

    def tested(place):
        return measure.tested_rows(study, "squares", place)["patient_id"].unique().tolist()

    assert tested("all") == ["p0", "p1", "p2", "p3", "p4"]
    assert tested("parts/test") == ["p1", "p3"]
    assert tested("folds/0") == ["p0", "p3"]
    with pytest.raises(ParameterError, match="fold 3"):
        tested("folds/3")
