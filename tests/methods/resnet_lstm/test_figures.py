"""Which slices are shown: the truth alone says so, and it is written down here."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from ich_study.errors import StudyError
from ich_study.methods.resnet_lstm.figures import STEPS, preprocessing_figure, shown_slices
from ich_study.methods.resnet_lstm.study import make_fold
from tests.methods.resnet_lstm.fakes import SIDE, fake_heads, fake_split


@pytest.fixture
def fold(tmp_path):
    store = fake_heads(20)
    return make_fold(store, fake_split(store), 0, 0.1, 1, tmp_path)


def truth_of(fold, areas):
    """Masks whose area in each slice is written down; scans not named are empty."""
    found = {}
    for scan in fold.scans("test"):
        mask = np.zeros(fold.store.volume(scan).shape, bool)
        for index, area in enumerate(areas.get(scan, [])):
            mask[index].reshape(-1)[:area] = True
        found[scan] = mask
    return found


def test_the_slice_with_most_truth_of_the_largest_the_middle_and_the_smallest_scan(fold):
    first, second, third, fourth = fold.scans("test")[:4]
    areas = {first: [3, 9], second: [40, 5, 2], third: [0, 0, 17], fourth: [1]}
    rows = shown_slices(fold, truth_of(fold, areas), 3)
    assert list(zip(rows["scan_id"], rows["slice_index"])) == [(second, 0), (third, 2), (fourth, 0)]
    everything = shown_slices(fold, truth_of(fold, areas), 9)
    assert everything["scan_id"].tolist() == [second, third, first, fourth]
    assert everything["slice_index"].tolist() == [0, 2, 1, 0]
    assert shown_slices(fold, truth_of(fold, {}), 3).empty


def test_every_step_of_the_preprocessing_is_drawn_for_every_slice(fold):
    scan = fold.scans("test")[0]
    figure = preprocessing_figure([fold.store.volume(scan)[2]], [f"{scan} / 2"], "steps")
    assert [axis.get_title() for axis in figure.axes] == list(STEPS)
    assert figure.axes[0].get_ylabel() == f"{scan} / 2"
    assert all(len(axis.images[0].get_array()) == SIDE for axis in figure.axes)
    plt.close(figure)
    with pytest.raises(StudyError, match="no slices"):
        preprocessing_figure([], [], "steps")
