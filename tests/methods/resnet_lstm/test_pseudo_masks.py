import numpy as np
import pytest
import torch

from ich_study.ct.windows import WINDOWS, apply_window
from ich_study.errors import ParameterError
from ich_study.methods.resnet_lstm import pseudo_masks
from ich_study.methods.resnet_lstm.class_activation import (
    cam_region,
    class_activation,
    scaled_cam,
)
from ich_study.methods.resnet_lstm.pseudo_labels import as_grey
from ich_study.methods.resnet_lstm.pseudo_masks import CAM, PseudoLabeller, cached_masks
from ich_study.methods.resnet_lstm.settings import CamRegion, ClusterRecipe
from ich_study.models.backbones import create_backbone
from ich_study.training.config import TrainingConfig
from tests.methods.resnet_lstm.fakes import SIDE, fake_heads

STORE = fake_heads(3)
RECIPES = {"kmeans": ClusterRecipe(), "follow_up": ClusterRecipe(choice="brightest")}


def labeller(weights="a" * 64, cam=None, recipes=None, source=STORE, network_seed=2, **changes):
    config = TrainingConfig(**{"classes": ("any",), "size": 32, "normalisation": "half", **changes})
    backbone = create_backbone(
        "resnet10t",
        1,
        config.in_channels,
        options={"channels": [8, 8, 16, 16], "output_stride": 8},
        seed=network_seed,
    )
    backbone.model.eval()
    return PseudoLabeller(
        backbone,
        config.preprocessing(),
        weights,
        source,
        cam or CamRegion(),
        recipes or RECIPES,
        torch.device("cpu"),
    )


def wanted(fill=None):
    if fill is not None:
        return {scan: np.full(len(volume), fill) for scan, volume in STORE.volumes.items()}
    return {scan: (mask > 0).any((1, 2)) for scan, mask in STORE.masks.items()}


def test_masks_lie_in_the_cam_region_on_wanted_slices_only_and_come_back_from_disk(
    tmp_path, monkeypatch
):
    made = cached_masks(labeller(), wanted(), tmp_path, "test")
    assert set(made) == {CAM, *RECIPES}
    for scan, chosen in wanted().items():
        assert made[CAM][scan].shape == (len(STORE.volumes[scan]), 32, 32)
        assert not made[CAM][scan][~chosen].any() and made[CAM][scan][chosen].any((1, 2)).all()
        assert (made["kmeans"][scan] <= made[CAM][scan]).all() and made["kmeans"][scan].any()

    def never(*arguments):
        raise AssertionError("made again")

    monkeypatch.setattr(PseudoLabeller, "masks", never)
    again = cached_masks(labeller(), wanted(), tmp_path, "test")
    assert all(
        np.array_equal(again[name][scan], made[name][scan]) for name in made for scan in made[name]
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"weights": "b" * 64},
        {"cam": CamRegion(threshold=0.5)},
        {"cam": CamRegion(relu=True)},
        {"recipes": {"kmeans": ClusterRecipe(clusters=3)}},
        {"windows": ("subdural",)},
    ],
)
def test_another_network_recipe_or_input_is_another_key(changed):
    scan, slices = "scan000", np.array([1, 2])
    assert (
        labeller(**changed).key(scan, slices)
        != labeller().key(scan, slices)
        == labeller().key(scan, slices)
    )
    assert labeller().key(scan, slices) != labeller().key(scan, slices[:1])


def test_a_file_of_another_key_is_made_again(tmp_path, monkeypatch):
    calls = []
    original = PseudoLabeller.masks
    monkeypatch.setattr(
        PseudoLabeller,
        "masks",
        lambda self, scan, slices: calls.append(scan) or original(self, scan, slices),
    )
    cached_masks(labeller(), wanted(), tmp_path, "test")
    cached_masks(labeller(weights="b" * 64), wanted(), tmp_path, "test")
    cached_masks(labeller(weights="b" * 64), wanted(), tmp_path, "test")
    assert calls == [*STORE.volumes, *STORE.volumes]


def test_after_a_kill_only_the_scans_left_are_made(tmp_path, monkeypatch):
    calls, original = [], PseudoLabeller.masks

    def killed(self, scan, slices):
        calls.append(scan)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, scan, slices)

    monkeypatch.setattr(PseudoLabeller, "masks", killed)
    with pytest.raises(KeyboardInterrupt):
        cached_masks(labeller(), wanted(), tmp_path, "test")
    cached_masks(labeller(), wanted(), tmp_path, "test")
    assert calls == ["scan000", "scan001", "scan001", "scan002"]


def test_no_wanted_slices_give_empty_masks_and_wrong_recipes_are_refused(tmp_path):
    assert not any(
        mask.any()
        for mask in cached_masks(labeller(), wanted(fill=False), tmp_path, "test")[CAM].values()
    )
    with pytest.raises(ParameterError, match="taken"):
        labeller(recipes={"cam": ClusterRecipe()})
    with pytest.raises(ParameterError, match="stack_depth"):
        labeller(stack_depth=3)
    assert pseudo_masks.CAM == "cam"


def test_what_is_clustered_is_the_grey_the_network_sees():
    slice_hu = STORE.volumes["scan001"][3]
    wrapped = labeller(window_scaling="wrapped", normalisation="grey_255", size=SIDE)
    shown = wrapped.channels("scan001", np.array([3]))[0].numpy()
    assert np.array_equal(as_grey(shown), np.mod(slice_hu, 256))
    windowed = labeller(size=SIDE).channels("scan001", np.array([3]))[0].numpy()
    expected = np.rint(apply_window(slice_hu, WINDOWS["brain"]) * 255).astype(np.uint8)
    assert np.array_equal(as_grey(windowed), expected)


def test_the_map_is_that_of_the_last_features_and_their_weights():
    network = labeller()
    channels = network.channels("scan001", [2, 3])
    features, weights = network.features(channels)
    scaled = scaled_cam(class_activation(features, weights), 32).numpy()
    assert np.allclose(scaled, network.cams(channels), atol=1e-6)
    assert np.allclose(
        features.mean((2, 3)) @ weights + network.backbone.model.get_classifier().bias.detach(),
        network.logits(channels.numpy()),
        atol=1e-4,
    )


def test_a_label_by_hand_is_the_mask_that_is_kept():
    network, slices = labeller(), np.array([2, 3])
    channels = network.channels("scan001", slices)
    kept = network.masks("scan001", slices)
    for number, (image, heat) in enumerate(zip(channels.numpy(), network.cams(channels))):
        region = cam_region(heat, network.cam)
        assert np.array_equal(region, kept[CAM][number])
        for name, recipe in RECIPES.items():
            label = network.label(image, region, recipe)
            assert np.array_equal(label.mask, kept[name][number])
            assert (label.logits is None) == (recipe.choice == "brightest")
