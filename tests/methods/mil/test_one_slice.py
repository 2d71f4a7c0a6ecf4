"""One slice: which one, the steps of the detector on it, and settings in shares of the map."""

import numpy as np
import pandas as pd
import pytest

from ich_study.methods.mil.network import WINDOWS, ReadyNetwork, create_mil, published_preprocessing
from ich_study.methods.mil.one_slice import (
    detector_in_shares,
    draw_detection,
    input_panels,
    largest_boxes,
    side_by_side,
    step_panels,
)
from ich_study.methods.mil.peaks import Detector
from tests.methods.mil.fakes import Spikes, skull_store, spiked_maps


def test_the_slices_with_most_box_area_are_shown_one_per_patient():
    rows = pd.DataFrame({"patient_id": ["a", "a", "b", "c"]}, index=[7, 8, 9, 10])
    boxes = [
        np.array(each, float).reshape(-1, 4)
        for each in (
            [[0, 0, 2, 2]],
            [[0, 0, 3, 3]],
            [[0, 0, 2, 2], [5, 5, 3, 2]],
            [],
        )
    ]
    assert largest_boxes(rows, boxes) == [2, 1]


def test_the_channels_are_named_by_their_windows_in_words():
    channels = np.arange(3 * 8 * 8, dtype=np.float32).reshape(3, 8, 8)
    panels = input_panels(WINDOWS, channels)
    assert [panel.title for panel in panels] == [
        "input: all HU, no window",
        "input: level 40, width 80 HU",
        "input: level 50, width 130 HU",
    ]
    for panel, channel in zip(panels, channels):
        assert panel.side == 8 and panel.window is None and (panel.image == channel).all()
    assert input_panels(["brain"], channels[:1])[0].title == "input: brain window"
    with pytest.raises(ValueError, match="argument"):
        input_panels(["brain"], channels)


def test_h_and_t_are_shares_of_the_range_of_the_map():
    likelihood = np.array([[-2.0, 6.0]])
    detector = detector_in_shares(likelihood, 0.25, 0.5, 3, "authors", True)
    assert detector == Detector(2.0, 2.0, 3, "authors", True)
    assert detector_in_shares(likelihood, 0, 0, 3) == Detector(0.0, -2.0, 3, "printed", False)


def test_each_step_shows_what_it_leaves_and_what_it_drops():
    likelihood = np.zeros((32, 32), np.float32)
    likelihood[5, 6], likelihood[5, 9], likelihood[20, 20] = 3.0, 2.0, 1.0
    boxes = np.array([[4.0, 4.0, 3.0, 3.0]])
    maxima, rising, far = step_panels(likelihood, Detector(0.1, 0.5, 4, "printed", False), boxes)
    assert [panel.points.tolist() for panel in (maxima, rising, far)] == [
        [[5, 6], [5, 9], [20, 20]],
        [[5, 6], [5, 9], [20, 20]],
        [[5, 6], [20, 20]],
    ]
    assert len(maxima.dropped) == 0 and far.dropped.tolist() == rising.points.tolist()
    assert far.title == "highest within d: 2" and far.boxes is boxes and far.side == 32


def test_a_reader_sees_the_slice_head_and_settings_that_were_chosen():
    slices = [Spikes("p00"), Spikes("q", [(3, 9, 2.0), (20, 20, 1.0)], [(9, 3, 1, 1)])]
    slices[1] = Spikes("q", slices[1].spikes, slices[1].boxes, scan="scan-p00")
    scored = {"attention": spiked_maps(slices, side=48), "max_pooling": None}
    chosen = {"slice": 1, "head": "attention", "h": 0.1, "T": 0.4, "d": 2}
    figure = draw_detection(scored, skull_store(), "printed", False, **chosen)
    assert figure.get_suptitle() == (
        "attention, printed: h=0.2, T=0.8, d=2; 1 boxes hit, 0 missed, 1 points in none"
    )
    assert figure.axes[0].get_title() == "patient q" and len(figure.axes) == 4
    higher = draw_detection(scored, skull_store(), "printed", False, **{**chosen, "T": 0.6})
    assert higher.get_suptitle().endswith("0 points in none")


@pytest.mark.parametrize("head", ["max_pooling", "attention"])
def test_printed_and_authors_run_with_their_own_network_order_and_border(head):
    networks = {}
    for name, seed in (("printed", 0), ("authors", 1)):
        backbone = create_mil(name, head, seed, blocks=1 if name == "printed" else None)
        backbone.model.eval()
        networks[name] = ReadyNetwork(backbone, published_preprocessing(64))
    hu = skull_store().volume("scan-p00")[0]
    figure = side_by_side(networks, hu, np.empty((0, 4)), 0.0, 0.0)
    # d as published for the head, of 64 pixels
    assert f"{head}, d = {2 if head == 'max_pooling' else 14} px" in figure.get_suptitle()
    shapes = [axis.images[0].get_array().shape for axis in figure.axes if axis.images]
    assert shapes == [(48, 48), (16, 16), *[(64, 64)] * 3, (48, 48), (8, 8), *[(64, 64)] * 4]
    steps = [axis.get_title().split(":")[0] for axis in figure.axes if axis.images]
    assert steps[2:5] == ["local maxima above T", "rising by h", "highest within d"]
    assert steps[7:] == [
        "local maxima above T",
        "off the blind border",
        "highest within d",
        "rising by h",
    ]
