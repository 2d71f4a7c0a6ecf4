import numpy as np
import pytest
from hypothesis import given, strategies as st

from ich_study.errors import MapError
from ich_study.evaluate.heat import ArrayHeat, Heat, ReaderHeat
from ich_study.evaluate.score import score, score_classes
from tests.evaluate.fakes import SIDE, corner, heat_of, truth_of

GRID = (0.25, 0.5, 0.75)


def test_counts_at_every_threshold_of_a_grid():
    truth = truth_of([corner() > 0, np.zeros((SIDE, SIDE), bool)])
    # 4 pixels of truth: two at 0.8, two at 0.5, which >= takes and > would leave out
    heat = corner(0.8)
    heat[1, :2] = 0.5
    found = score(heat_of([heat, corner(0.3, 1)]), truth, GRID)
    np.testing.assert_array_equal(found.counts.tp, [[4, 4, 2], [0, 0, 0]])
    np.testing.assert_array_equal(found.counts.fn, [[0, 0, 2], [0, 0, 0]])
    np.testing.assert_array_equal(found.counts.fp, [[0, 0, 0], [1, 0, 0]])
    assert found.positive.tolist() == [True, False]
    np.testing.assert_array_equal(found.pointing, [1, np.nan])


@given(seed=st.integers(0, 99), batch=st.integers(1, 7))
def test_batches_do_not_change_a_score(seed, batch):
    rng = np.random.default_rng(seed)
    truth, maps = truth_of(rng.random((6, SIDE, SIDE)) < 0.2), rng.random((6, SIDE, SIDE))
    whole, parts = (score(heat_of(maps), truth, GRID, batch=size) for size in (64, batch))
    masks = np.asarray(maps, np.float32)[:, None] >= np.array(GRID)[:, None, None]
    np.testing.assert_array_equal(whole.counts.tp, (masks & truth.mask()[:, None]).sum((2, 3)))
    for name in ("tp", "fp", "fn"):
        np.testing.assert_array_equal(getattr(whole.counts, name), getattr(parts.counts, name))
    np.testing.assert_array_equal(whole.pointing, parts.pointing)
    np.testing.assert_array_equal(whole.mass, parts.mass)


def test_without_a_grid_only_slices_with_truth_are_read():
    truth = truth_of([corner() > 0, np.zeros((SIDE, SIDE), bool), corner() > 0])
    read = []

    def reader(index):
        read.extend(np.arange(3)[index])
        return np.stack([corner()] * len(np.arange(3)[index]))[:, None]

    found = score(ReaderHeat("m", "printed", None, ("any",), 3, reader), truth)
    assert read == [0, 2] and found.counts.tp.shape == (3, 0)
    np.testing.assert_array_equal(found.mass, [1, np.nan, 1])


def test_each_class_is_scored_with_its_own_heat_on_its_own_truth():
    truth = truth_of([corner() > 0], name="IVH")
    maps = np.stack([corner(), corner()[::-1]])[None]
    found = score_classes(heat_of(maps, classes=("IVH", "SDH")), truth, classes=("IVH", "SDH"))
    assert found["IVH"].pointing[0] == 1 and np.isnan(found["SDH"].pointing[0])
    exchanged = heat_of(maps, classes=("SDH", "IVH"))
    assert score(exchanged, truth, class_name="IVH").pointing[0] == 0
    # heat of one class, such as a rival's, stands for every class
    assert score(heat_of(maps[:, 0]), truth, class_name="IVH").pointing[0] == 1


def test_negative_heat_has_no_mass_and_an_empty_map_no_share():
    truth = truth_of([corner() > 0, corner() > 0])
    found = score(heat_of([corner() - 0.5, np.zeros((SIDE, SIDE))]), truth)
    np.testing.assert_array_equal(found.mass, [1, np.nan])
    np.testing.assert_allclose(found.pointing, [1, 4 / SIDE**2])


def test_heat_that_does_not_fit_is_refused():
    truth = truth_of([corner() > 0])
    with pytest.raises(MapError, match="heat of 2 slices, the truth has 1"):
        score(heat_of([corner(), corner()]), truth)
    with pytest.raises(MapError, match=r"no heat of \['SAH'\]"):
        score(heat_of(np.zeros((1, 2, 6, 6)), classes=("IPH", "IVH")), truth, class_name="SAH")
    with pytest.raises(MapError, match=r"maps of shape \(1, 3, 3\)"):
        score(heat_of(np.zeros((1, 3, 3))), truth)
    with pytest.raises(MapError, match="expected"):
        ArrayHeat("m", "printed", None, ("any",), np.zeros((1, 2, 3, 3), np.float32))
    broken = ReaderHeat("m", "printed", None, ("any",), 1, lambda _: np.zeros((2, 1, 6, 6)))
    with pytest.raises(MapError, match=r"maps of shape \(2, 6, 6\)"):
        score(broken, truth)


def test_heats_meet_the_protocol():
    heat = heat_of(np.stack([np.stack([corner(), corner(0.5)])]), classes=("IPH", "IVH"))
    assert isinstance(heat, Heat)
