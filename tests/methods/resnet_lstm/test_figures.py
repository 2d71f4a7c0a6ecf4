"""What the pictures of ResNet-LSTM show, read back from them."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from ich_study.evaluate.truth import read_truth
from ich_study.methods.resnet_lstm.arms import recipe_results
from ich_study.methods.resnet_lstm.figures import (
    explored_slice,
    sequence_figure,
    volumes_figure,
)
from tests.methods.resnet_lstm.fakes import fake_heads
from tests.methods.resnet_lstm.test_pseudo_masks import labeller

STORE = fake_heads(3)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_every_network_has_its_line_and_slices_with_a_positive_label_are_shaded():
    slices = pd.DataFrame({"scan_id": "a", "slice_index": [2, 0, 1], "label": [True, False, pd.NA]})
    other = slices.assign(scan_id="b", probability=0.9)
    tables = {
        "one": pd.concat([slices.assign(probability=[0.3, 0.1, 0.2]), other]),
        "two": pd.concat([slices.assign(probability=[0.6, 0.4, 0.5]), other]),
    }
    axis = sequence_figure(tables, "a", 0.5).axes[0]
    lines = {line.get_label(): line.get_ydata() for line in axis.lines}
    assert np.allclose(lines["one"], [0.1, 0.2, 0.3])
    assert np.allclose(lines["two"], [0.4, 0.5, 0.6])
    shaded = [tuple(patch.get_extents().intervalx) for patch in axis.patches]
    middle = axis.transData.inverted().transform([(np.mean(shaded[0]), 0)])[0, 0]
    assert len(shaded) == 1 and middle == pytest.approx(2)


def test_the_explored_mask_is_that_of_the_recipe_and_threshold_that_were_chosen():
    network = labeller(source=STORE)
    truth = read_truth(STORE, STORE.index, network.preprocessing, brain=False, progress=False)
    number = int(np.flatnonzero(truth.positive())[0])
    row, inside = truth.rows.loc[number], truth.mask("any", np.array([number]))[0]
    channels = network.channels(row["scan_id"], [row["slice_index"]])
    for threshold in (0.3, 0.8):
        region = network.cams(channels)[0] > threshold
        found = recipe_results(network, channels[0].numpy(), region, inside).set_index("recipe")
        for recipe in network.recipes:
            figure = explored_slice(
                truth, network, network.recipes, number=number, recipe=recipe, threshold=threshold
            )
            titles = [axis.get_title() for axis in figure.axes]
            assert f"Dice {found.loc[recipe, 'dice']:.2f}" in titles[3]
            assert f"{recipe}, CAM > {threshold:g}" in figure.get_suptitle()
            shown = np.asarray(figure.axes[2].images[0].get_array())
            assert np.array_equal(
                shown > 0,
                network.label(channels[0].numpy(), region, network.recipes[recipe]).clusters > 0,
            )


def test_points_and_means_are_those_of_the_volumes_with_a_value():
    volumes = pd.DataFrame(
        {"method": ["a", "a", "b", "b"], "dice": [0.2, 0.4, 0.9, np.nan], "scan_id": list("wxyz")}
    )
    axis = volumes_figure(volumes, "dice", "title").axes[0]
    means = next(line for line in axis.lines if line.get_label() == "mean")
    assert np.allclose(means.get_xdata(), [0.3, 0.9])
    points = np.concatenate([part.get_offsets()[:, 0] for part in axis.collections])
    assert sorted(points) == pytest.approx([0.2, 0.4, 0.9])
