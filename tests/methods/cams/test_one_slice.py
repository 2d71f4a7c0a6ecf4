"""One slice through the method: what is drawn, and what the variants come to."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from ich_study.evaluate.truth import read_truth
from ich_study.inputs.slices import network_view
from ich_study.methods.cams import one_slice
from ich_study.methods.cams.cams import library_scaled
from ich_study.methods.cams.capture import Captured
from ich_study.methods.cams.recipe import CamRecipe, load_subject
from tests.methods.cams.fakes import masked_store, truth_part, write_run

TRUTH = truth_part(1, 2)  # a slice with a lesion of 20 pixels, and one without


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture
def drawn(monkeypatch):
    steps = []

    def draw(some, title, columns=7):
        steps.extend(some)
        return plt.figure()

    monkeypatch.setattr(one_slice, "steps_figure", draw)
    return steps


def test_every_array_on_the_way_is_drawn(drawn):
    generator = torch.Generator().manual_seed(0)
    activations = torch.randn(2, 3, 4, 4, generator=generator)
    gradients = torch.zeros(2, 3, 4, 4)
    gradients[:, 1] = -2.0  # the channel of the largest weight
    raw = torch.randn(2, 4, 4, generator=generator)
    channels = torch.rand(2, 2, 24, 24, generator=generator)
    captured = Captured(activations, gradients)
    one_slice.method_figure(TRUTH, 0, channels, captured, {"one": raw, "two": -raw}, "t")
    titles = [step.title for step in drawn]
    assert titles[:2] == ["seen: channel 1", "seen: channel 2"] and [
        title.split("\n")[0] for title in titles[-2:]
    ] == [
        "one",
        "two",
    ]
    assert np.array_equal(drawn[1].image, channels[0, 1].numpy())
    assert np.allclose(drawn[2].image, activations[0].abs().mean(0).numpy())
    assert np.allclose(drawn[3].image, -2 / 3)
    assert titles[4].startswith("A, k = 1") and titles[5] == "G, k = 1"
    assert np.array_equal(drawn[4].image, activations[0, 1].numpy())
    assert np.array_equal(drawn[6].image, -drawn[7].image) and drawn[6].image.shape == (24, 24)
    for step in drawn[6:]:
        assert np.array_equal(step.truth, TRUTH.mask("any", 0))
        assert np.array_equal(step.under, TRUTH.hu[0])


def test_variants_are_the_raw_map_and_the_librarys_scaling():
    raw, other = torch.randn(2, 6, 6), torch.randn(2, 6, 6)
    found = one_slice.variant_maps(raw, other, 2 * other + 1, 24)
    assert list(found) == [
        "Grad-CAM, raw",
        "Grad-CAM, printed",
        "AblationCAM, printed",
        "AblationCAM, library",
    ]
    assert found["Grad-CAM, raw"].min() < 0
    for name, low in zip(list(found)[1:], (raw, other, 2 * other + 1)):
        assert np.array_equal(found[name], library_scaled(low, 24).numpy())


def test_results_of_variants_on_a_lesion_and_on_a_healthy_slice():
    lesion = TRUTH.mask("any", 0)
    maps = {
        "raw": np.stack([lesion * 2.0, np.full((24, 24), 0.5)]),
        # stretched to its own maximum the healthy slice is marked as a whole
        "stretched": np.stack([lesion * 1.0, np.ones((24, 24))]),
    }
    found = one_slice.variant_results(maps, lesion)
    assert found["Dice"].tolist() == [1.0, 1.0] and found["threshold"].tolist() == [2.0, 1.0]
    assert found["healthy peak"].tolist() == [0.25, 1.0]
    assert found["healthy marked"].tolist() == [0.0, 1.0]
    alone = one_slice.variant_results({"raw": maps["raw"][:1]}, lesion)
    assert np.isnan(alone["healthy peak"].item()) and alone["Dice"].item() == 1


def test_variants_share_a_scale_between_slices_and_are_outlined_at_their_threshold(drawn):
    heat = np.stack([np.full((24, 24), 0.2), np.full((24, 24), -0.8)])
    heat[0, :2] = 0.4
    one_slice.variants_figure(TRUTH, [0, 1], {"raw": heat}, {"raw": 0.4}, "t")
    assert [step.title for step in drawn] == [
        "raw\nlesion, up to 0.4",
        "raw\nno lesion, up to -0.8",
    ]
    assert [step.limit for step in drawn] == [0.8, 0.8]
    assert [int(step.outline.sum()) for step in drawn] == [48, 0]


def test_settings_stand_side_by_side():
    table = one_slice.settings_table()
    assert len(table.columns) == 3 and table.index.is_unique
    assert table.loc["AblationCAM writes into channel k"].tolist()[:2] == ["0", "0"]


def test_the_browser_draws_the_map_that_is_asked_for(tmp_path, drawn):
    store = masked_store()
    write_run(tmp_path)
    subject = load_subject(tmp_path, "any", "cpu")
    rows = store.index[store.index["any"].astype(bool)].iloc[:3]
    truth = read_truth(store, rows, subject.preprocessing, brain=False)
    recipe = CamRecipe(("HiResCAM", "GradCAM"), ablations=("zero",))
    browser = one_slice.Browser(subject, recipe, store, truth)
    browser(index=2, method="grad_cam", depth="[-2]", threshold=0.5)
    _, inputs = network_view(store, truth.rows.iloc[[2]], subject.preprocessing, subject.device)
    raw = recipe.maps(subject.model, inputs, subject.target)["grad_cam", "[-2]"]
    (step,) = drawn
    assert step.title == "GradCAM [-2]" and step.image.max() <= raw.max() + 1e-6
    assert np.array_equal(step.outline, step.image >= 0.5 * step.image.max())
    assert np.array_equal(step.truth, truth.mask("any", 2))


def test_the_peak_over_that_of_an_empty_map_is_unknown_and_no_division():
    empty, healthy = np.zeros((8, 8)), np.ones((8, 8))
    truth = np.eye(8, dtype=bool)
    with np.errstate(all="raise"):
        found = one_slice.variant_results({"raw": np.stack([empty, healthy])}, truth)
    assert np.isnan(found.loc["raw", "healthy peak"])
    known = one_slice.variant_results({"raw": np.stack([2 * healthy, healthy])}, truth)
    assert known.loc["raw", "healthy peak"] == 0.5
