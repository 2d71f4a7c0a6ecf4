from unittest.mock import patch

import numpy as np
import pytest
import torch
from monai.losses import DiceLoss
from torch import nn

from ich_study.errors import DataError, ParameterError
from ich_study.methods.resnet_lstm.skull_removal import equalised, stripped_slice
from ich_study.methods.resnet_lstm.volumes import (
    UNetSettings,
    VolumeNetwork,
    VolumeSegmentation,
    combined_loss,
    create_unet,
    prepared_variants,
    resized_masks,
    segment,
    train_unet,
)
from ich_study.models.registry import load
from ich_study.models.weights import state_digest
from ich_study.training.config import LoopSettings
from tests.methods.resnet_lstm.fakes import SIDE, fake_heads

CPU = torch.device("cpu")
SMALL = UNetSettings(size=SIDE, depth=8, channels=(4, 8), strides=(2,), batch_size=2)


@pytest.mark.parametrize("epsilon", [1e-5, 1.0])
def test_equation_2_is_monais_dice_loss_over_the_batch_plus_cross_entropy(epsilon):
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 1, 4, 8, 8), (torch.rand(2, 1, 4, 8, 8) > 0.7).float()
    dice = DiceLoss(sigmoid=True, batch=True, smooth_nr=epsilon, smooth_dr=epsilon)(logits, targets)
    oracle = dice + nn.BCEWithLogitsLoss()(logits, targets)
    assert float(combined_loss(logits, targets, epsilon)) == pytest.approx(float(oracle), abs=1e-5)
    y, p = targets.double().numpy(), 1 / (1 + np.exp(-logits.double().numpy()))
    written = (
        1
        - (2 * (y * p).sum() + epsilon) / (y.sum() + p.sum() + epsilon)
        - (y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    )
    assert float(combined_loss(logits, targets, epsilon)) == pytest.approx(written, abs=1e-5)
    assert float(
        combined_loss(torch.full((1, 1, 2, 4, 4), -20.0), torch.zeros(1, 1, 2, 4, 4), 1.0)
    ) == pytest.approx(0, abs=1e-4)


@pytest.fixture(scope="module")
def heads():
    store = fake_heads(10)
    volumes = {
        scan: prepared_variants(volume, SIDE, [True])[True]
        for scan, volume in store.volumes.items()
    }
    return volumes, {scan: mask > 0 for scan, mask in store.masks.items()}, list(volumes)


def task(heads, **changes):
    volumes, masks, scans = heads
    return VolumeSegmentation(
        volumes,
        masks,
        (scans[:6], scans[6:8]),
        SMALL.changed(**changes),
        seed=1,
    )


def test_the_volume_is_prepared_slice_by_slice(heads):
    store = fake_heads(10)
    volumes, *_ = heads
    scan = next(iter(volumes))
    assert volumes[scan].dtype == np.uint8 and volumes[scan].shape == store.volumes[scan].shape
    assert np.array_equal(volumes[scan][2], equalised(stripped_slice(store.volumes[scan][2])))
    assert not np.array_equal(
        prepared_variants(store.volumes[scan], SIDE, [False])[False], volumes[scan]
    )
    assert prepared_variants(store.volumes[scan], 24, [True])[True].shape[1:] == (24, 24)


def test_it_learns_from_masks_what_generalises_and_the_file_is_read_back(heads, tmp_path):
    volumes, masks, scans = heads
    loop = LoopSettings(epochs=25, learning_rate=0.02, optimizer="adam")
    run = train_unet(task(heads), loop, tmp_path, {"arm": "test"})
    found = load(run.weights_path, CPU, VolumeNetwork, run.weights_sha256)
    model, settings = found.model, found.network.settings
    assert settings == SMALL
    dice = []
    for scan in scans[8:]:
        found = segment(model, volumes[scan], settings, CPU)
        assert (
            found.shape == volumes[scan].shape
            and found.dtype == np.float32
            and 0 <= found.min() <= found.max() <= 1
        )
        dice.append(
            2 * ((found > 0.5) & masks[scan]).sum() / ((found > 0.5).sum() + masks[scan].sum())
        )
    assert np.mean(dice) > 0.6, dice


def test_a_killed_training_ends_at_the_same_weights(heads, tmp_path):
    class Killed(Exception):
        """Stands for a kill."""

    loop = LoopSettings(epochs=3, learning_rate=0.01, optimizer="adam")
    whole = train_unet(task(heads), loop, tmp_path / "whole", {})
    with pytest.raises(Killed), patch("builtins.print", side_effect=Killed("now")):
        train_unet(task(heads), loop, tmp_path / "killed", {})
    resumed = train_unet(task(heads), loop, tmp_path / "killed", {})
    assert state_digest(resumed.model) == state_digest(whole.model)


@pytest.mark.parametrize("length", [1, 5, 8, 13, 30])
def test_volumes_of_any_length_keep_their_length(length):
    volume = np.random.default_rng(0).integers(0, 255, (length, SIDE, SIDE)).astype(np.uint8)
    assert segment(create_unet(SMALL).model.eval(), volume, SMALL, CPU).shape == volume.shape


def test_a_volume_of_one_patch_is_the_network_itself_and_padding_is_cut_off():
    model, volume = (
        create_unet(SMALL).model.eval(),
        np.random.default_rng(0).integers(0, 255, (8, SIDE, SIDE)).astype(np.uint8),
    )
    with torch.inference_mode():
        direct = (
            model.unet(torch.from_numpy(volume.astype(np.float32) / 255)[None, None])
            .sigmoid()[0, 0]
            .numpy()
        )
    assert np.allclose(segment(model, volume, SMALL, CPU), direct, atol=1e-5)


def test_patches_hold_volume_and_mask_alike_first_or_drawn_from_seed_and_epoch(heads):
    volumes, masks, scans = heads
    work = task(heads, depth=4, crop="first", batch_size=6)
    images, targets = next(iter(work.loaders(CPU)[0]))
    assert images.shape == targets.shape == (6, 1, 4, SIDE, SIDE)
    firsts = {volumes[scan][:4].tobytes(): masks[scan][:4] for scan in scans[:6]}
    for image, target in zip(images, targets):
        key = (image[0] * 255).round().numpy().astype(np.uint8).tobytes()
        assert np.array_equal(firsts[key], target[0].numpy() > 0)
    drawn = []
    for epoch in (0, 0, 1):
        loader, _ = task(heads, depth=4).loaders(CPU)
        loader.batches.set_epoch(epoch)
        drawn.append([images for images, _ in loader])
    assert all(torch.equal(a, b) for a, b in zip(drawn[0], drawn[1])) and not all(
        torch.equal(a, b) for a, b in zip(drawn[0], drawn[2])
    )
    padded, _ = next(iter(task(heads, depth=16).loaders(CPU)[0]))
    assert padded.shape[2] == 16 and not padded[:, :, 12:].any()


def test_what_cannot_be_trained_on_is_refused(heads):
    volumes, masks, scans = heads
    empty = {scan: np.zeros_like(mask) for scan, mask in masks.items()}
    parts = (scans[:6], scans[6:8])
    with pytest.raises(DataError, match="nothing to learn"):
        VolumeSegmentation(volumes, empty, parts, SMALL)
    with pytest.raises(DataError, match="at least one"):
        VolumeSegmentation(volumes, masks, ([], scans[6:]), SMALL)
    with pytest.raises(DataError, match="takes uint8"):
        segment(create_unet(SMALL).model, np.zeros((4, 20, 20), np.uint8), SMALL, CPU)
    for changes in (
        {"depth": 7},
        {"channels": (4,)},
        {"crop": "last"},
        {"epsilon": 0.0},
        {"overlap": 1.0},
        {"strides": (2, 2)},
    ):
        with pytest.raises(ParameterError):
            SMALL.changed(**changes)


def test_masks_change_grid_by_nearest_neighbour():
    mask = np.zeros((1, 4, 4), bool)
    mask[0, 1, 2] = True
    large = resized_masks(mask, (8, 8))
    assert large.sum() == 4 and large[0, 2:4, 4:6].all()
    assert np.array_equal(resized_masks(large, (4, 4)), mask)
