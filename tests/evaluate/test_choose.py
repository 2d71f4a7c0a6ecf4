"""Who chose a threshold: each source on a case in which the others would give another number."""

import numpy as np
import pytest

from ich_study.errors import DataError, StudyError
from ich_study.evaluate.score import score
from ich_study.evaluate.thresholds import choose, fixed_threshold
from tests.evaluate.fakes import SIDE, corner, heat_of, truth_of

GRID = (0.2, 0.4, 0.6, 0.8)


def scored(*levels, patients=None):
    """Slices whose truth is the corner; heat is `level` there and `level` - 0.2 beside it, so that
    the best threshold of a slice is its own level."""
    maps = [corner(level, 2) + corner(level - 0.2, 4) * (corner(1, 2) == 0) for level in levels]
    return score(heat_of(maps), truth_of([corner() > 0] * len(levels), patients), GRID)


def test_masks_test_is_best_on_the_scored_slices_and_masks_validation_on_others():
    test, validation = scored(0.6, 0.6), scored(0.8, 0.8)
    own = choose(test, "masks-test")
    assert (own.single.value, own.single.source) == (0.6, "masks-test")
    assert own.counts.tp.tolist() == [4, 4] and own.counts.fp.tolist() == [0, 0]
    held_out = choose(test, "masks-validation", held_out=validation)
    assert (held_out.single.value, held_out.single.source) == (0.8, "masks-validation")
    assert held_out.counts.tp.tolist() == [0, 0]


def test_a_fold_takes_the_threshold_of_the_other_folds():
    found = choose(scored(0.6, 0.6, 0.4), "masks-validation", folds=np.array([0, 0, 1]))
    assert {fold: each.value for fold, each in found.by_fold.items()} == {0: 0.4, 1: 0.6}
    np.testing.assert_allclose(found.of_slice, [0.4, 0.4, 0.6])
    # fold 0 at 0.4 takes the rim of 12 pixels too; fold 1 at 0.6 finds nothing
    assert found.counts.tp.tolist() == [4, 4, 0] and found.counts.fp.tolist() == [12, 12, 0]
    with pytest.raises(StudyError, match="2 folds have a threshold of their own"):
        _ = found.single


def test_a_given_threshold_keeps_its_source():
    test = scored(0.6)
    found = choose(test, "none", given=fixed_threshold(0.4))
    assert found.single.source == "none" and found.counts.fp.tolist() == [12]
    with pytest.raises(StudyError, match="source 'labels' takes a given threshold"):
        choose(test, "labels", given=fixed_threshold(0.4))
    with pytest.raises(StudyError, match="none was given"):
        choose(test, "labels")
    with pytest.raises(StudyError, match=r"0\.5 does not lie on the grid"):
        choose(test, "none", given=fixed_threshold(0.5))


def test_slices_without_truth_do_not_choose():
    maps = [corner(0.4), np.full((SIDE, SIDE), 0.6)]
    truth = truth_of([corner() > 0, np.zeros((SIDE, SIDE), bool)])
    found = choose(score(heat_of(maps), truth, GRID), "masks-test")
    assert found.single.value == 0.2  # lowest of equal Dice; the healthy slice would ask for 0.8
    assert found.counts.fp.tolist() == [0, SIDE**2]


def test_the_search_may_be_narrower_than_the_grid():
    found = choose(scored(0.6), "masks-test", tried=np.array([1, 3]))
    assert found.single.value == 0.4


def test_what_cannot_be_chosen_is_an_error():
    test = scored(0.6, 0.4)
    with pytest.raises(StudyError, match="one of them"):
        choose(test, "masks-validation")
    with pytest.raises(StudyError, match="one of them"):
        choose(test, "masks-validation", held_out=test, folds=np.array([0, 1]))
    with pytest.raises(DataError, match="at least two"):
        choose(test, "masks-validation", folds=np.zeros(2, int))
    nothing = np.zeros((SIDE, SIDE), bool)
    half = score(heat_of([corner()] * 2), truth_of([corner() > 0, nothing]), GRID)
    with pytest.raises(DataError, match="no slice outside fold 0 holds hemorrhage"):
        choose(half, "masks-validation", folds=np.array([0, 1]))
    other = score(heat_of([corner()]), truth_of([corner() > 0]), (0.1, 0.2))
    with pytest.raises(StudyError, match="different grids"):
        choose(test, "masks-validation", held_out=other)
