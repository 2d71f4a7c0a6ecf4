from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from ich_study.methods.hgi_sam import figures
from ich_study.methods.hgi_sam.figures import (
    comparison_figure,
    explore_figure,
    heat_steps,
    layer_figure,
    layer_steps,
    weight_steps,
)
from tests.evaluate.fakes import truth_of

HU = np.zeros((2, 16, 16), np.int16) + 30
TRUTH = np.zeros(HU.shape, bool)
TRUTH[:, 4:8, 4:8] = True


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_the_layer_figure_has_a_row_per_slice_and_method():
    class StagedHeat:
        stages = (0, 1)

        def every_stage(self):
            return self

        def layers(self, index):
            return {stage: torch.rand(len(index), 4, 4) for stage in self.stages}

        def read(self, index):
            return np.zeros((len(index), 1, 16, 16), np.float32)

    heats = {"swin_sam_binary": StagedHeat(), "swin_hgi_sam": StagedHeat()}
    masks = dict.fromkeys(heats, TRUTH)
    figure = layer_figure(truth_of(TRUTH), heats, masks, np.array([1, 0]), "title")
    assert len(figure.axes) == 4 * 6 + 1, "and a colour bar"
    assert [axis.get_ylabel() for axis in figure.axes[:-1:6]] == [
        "Swin-SAM binary",
        "Swin-HGI-SAM",
    ] * 2
    titles = [axis.get_title() for axis in figure.axes[:6]]
    assert titles == ["slice", "truth", "layer 1", "layer 2", "fused", "mask"]
    boxes = [np.array([[4.0, 4.0, 4.0, 4.0]])] * 2
    boxed = replace(truth_of(TRUTH), kind="boxes", annotated=boxes)
    figure = layer_figure(boxed, heats, masks, np.array([1, 0]), "title")
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named == ["truth: box", "predicted mask"]
    assert len(figure.axes[1].patches) == 1 and not figure.axes[1].collections


def test_colours_say_who_drew_what():
    found = np.zeros(HU.shape, bool)
    found[:, 6:10, 4:8] = True
    figure = comparison_figure(
        truth_of(TRUTH), {"swin_hgi_sam": found, "unet": TRUTH}, np.arange(2), "title"
    )
    assert [axis.get_title() for axis in figure.axes[:3]] == [
        "slice",
        "Swin-HGI-SAM",
        "U-Net (supervised)",
    ]
    painted = figure.axes[1].images[0].get_array()
    automatic, truth, both, plain = painted[9, 5], painted[4, 5], painted[6, 5], painted[0, 0]
    assert len({tuple(np.round(colour, 3)) for colour in (automatic, truth, both, plain)}) == 4
    assert (
        automatic[0] > automatic[2]
        and truth[2] > truth[0]
        and both[0] > both[2]
        and plain[0] == plain[2]
    )
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {
        "automatic only",
        "truth only",
        "both",
    }


def test_the_steps_of_a_slice_say_what_they_are():
    heat = torch.zeros(16, 16)
    heat[4:8, 4:6] = 0.3
    shown, masked = heat_steps("printed", heat, truth_of(TRUTH), 0, 0.3)
    # half of the truth is found, the pixels at the threshold among it
    assert masked.title == "printed\nat 0.3: Dice 0.67" and masked.outline.sum() == 8
    assert shown.image.max() == np.float32(0.3) and shown.kind == "heat"
    healthy = heat_steps("x", heat, truth_of(TRUTH & False), 0, 0.3)
    assert healthy[1].title.endswith("no truth")
    stages = layer_steps("alike", {2: torch.eye(4)[None]}, TRUTH[0])
    assert stages[0].title == "alike, stage 3\n4 x 4 patches"
    assert stages[0].image.shape == (16, 16) and stages[0].image[0, 0] == 1
    weights = weight_steps({0: torch.tensor([[1.0, 2.0, 4.0], [0.0, 1.0, 2.0]])})[0]
    assert weights.title == "head weights, stage 1\n2 blocks down, 3 heads"
    assert weights.image.tolist() == [[0.25, 0.5, 1], [0, 0.25, 0.5]]


def test_the_slice_that_is_asked_for_is_explored(monkeypatch):
    asked = []

    def heat_and_logits(method, model, inputs, brain, variant):
        asked.append((model, method, variant, int(inputs), int(brain.sum())))
        return torch.zeros(1, 16, 16), torch.zeros(1, 2)

    monkeypatch.setattr(figures, "heat_and_logits", heat_and_logits)
    networks = {"two_outputs": "its classifier", "binary": "another"}
    brain = np.ones(TRUTH.shape, bool)
    brain[1, :, 8:] = False
    truth = truth_of(TRUTH, brain=brain)
    figure = explore_figure(
        truth, networks, lambda rows: (None, torch.tensor(rows.index[0])), 1, "swin_hgi_sam", 0.5
    )
    assert asked == [
        ("its classifier", "swin_hgi_sam", "printed", 1, 128),
        ("its classifier", "swin_hgi_sam", "norm_of_head", 1, 128),
        ("its classifier", "swin_hgi_sam", "authors", 1, 128),
    ]
    assert len(figure.axes) == 8 and "slice 1" in figure.get_suptitle()
    titles = " ".join(axis.get_title() for axis in figure.axes)
    assert "norm of head" in titles and "_" not in titles
