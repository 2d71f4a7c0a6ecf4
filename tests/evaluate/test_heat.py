"""Heat of a method: which slices and classes a reader is asked for, and what it may not answer."""

import numpy as np
import pytest

from ich_study.errors import MapError
from ich_study.evaluate.heat import ArrayHeat, Heat, ReaderHeat, batches
from tests.evaluate.fakes import heat_of

MAPS = np.arange(3 * 2 * 4, dtype=np.float32).reshape(3, 2, 2, 2)


def reader(maps=MAPS, count=3):
    return ReaderHeat("m", "printed", None, ("IPH", "SDH"), count, lambda index: maps[index])


@pytest.mark.parametrize("heat", [reader(), ArrayHeat("m", "printed", None, ("IPH", "SDH"), MAPS)])
def test_slices_come_in_the_order_asked_for(heat):
    assert isinstance(heat, Heat) and len(heat) == 3
    np.testing.assert_array_equal(heat.read(np.array([2, 0])), MAPS[[2, 0]])
    np.testing.assert_array_equal(heat.read(slice(1, 3)), MAPS[1:])


def test_maps_of_other_classes_are_refused():
    with pytest.raises(MapError, match="for the classes any"):
        heat_of(MAPS)


def test_batches_cover_every_slice_once():
    assert [list(range(7))[index] for index in batches(7, 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batches(0, 3)) == []
