"""The viewer of a scan where no front end shows sliders."""

import numpy as np
import pytest

from ich_study.figures.explore import HEADLESS
from ich_study.new_scan import batch, view
from tests.new_scan.heads import head, write_series
from tests.new_scan.methods import bright

METHODS = {"bright": bright(), "fine": bright("fine", ("IPH", "EDH"), size=32)}


@pytest.fixture
def studied(tmp_path):
    write_series(tmp_path / "one", head()[0], tilt_degrees=10)
    wanted = batch.Wanted(sheet_slices=2, label="drawn head")
    return batch.study_scans(tmp_path / "one", METHODS, tmp_path, wanted)[1]


def test_the_viewer_is_a_picture_without_a_front_end(studied, monkeypatch):
    monkeypatch.setenv(HEADLESS, "1")
    view.view(studied)
    figure = view.slice_figure(studied, 5, "bone", 0.3, 0.5, view.ALL)
    assert "drawn head" in figure.get_suptitle()
    assert len([axis for axis in figure.axes if axis.get_title()]) == 3  # slice and two methods


def test_a_chosen_threshold_moves_the_mask_its_volume_and_the_heat_that_is_drawn(studied):
    own = view.slice_figure(studied, 5, "brain", 0.3, 0.5, "bright")
    high = view.slice_figure(studied, 5, "brain", 0.3, 2.0, "bright")
    # above the highest heat nothing is outlined, and no heat is drawn
    assert len(own.axes[1].collections) == 1 and not high.axes[1].collections
    drawn = [figure.axes[1].images[1].get_alpha().any() for figure in (own, high)]
    assert drawn == [True, False]
    assert "0.0 mL" in high.axes[1].get_title() and "0.0 mL" not in own.axes[1].get_title()
    # at its own threshold heat is drawn where the mask is, and nowhere else
    mask = studied.findings[0].mask[5] > 0
    assert mask.any() and np.array_equal(own.axes[1].images[1].get_alpha() > 0, mask)
