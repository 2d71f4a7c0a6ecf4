import numpy as np
import pytest
import torch

from ich_study.errors import DataError, MapError, OtherRunError, ParameterError
from ich_study.methods.hgi_sam.segmentation import (
    SliceSegmentation,
    hemorrhage_probability,
    masks_on_grid,
    train_segmenter,
)
from ich_study.methods.hgi_sam.segmentation_baselines import SegmentationNetwork, create_segmenter
from ich_study.models.registry import load
from tests.training.fakes import FakeStore, config, fake_store, parts


class MaskedStore(FakeStore):
    """Blood is what is brighter than 48 HU after a little smoothing: exactly the blobs."""

    def has_mask(self, scan_id):
        return not scan_id.endswith("unmasked")

    def mask(self, scan_id):
        volume = self.volume(scan_id).astype(float)
        summed = (
            sum(np.roll(volume, (dr, dc), (1, 2)) for dr in (-1, 0, 1) for dc in (-1, 0, 1)) / 9
        )
        return (summed > 48).astype(np.uint8) * 6


PLAIN = fake_store(patients=16)
STORE = MaskedStore(PLAIN.index, PLAIN.volumes, PLAIN.content_hash)
TRAIN, VALIDATION = parts(STORE, 11)
CPU = torch.device("cpu")


def settings(**changes):
    given = {
        "optimizer": "adamw",
        "epochs": 6,
        "batch_size": 8,
        "sampler": "inverse_frequency",
        "monitor": "valid_loss",
        "augmentation": "hgi_sam",
        "learning_rate": 3e-3,
        "normalisation": "half",
        "cache_in_memory": True,
        **changes,
    }
    return config(**given)


def trained(folder, train=TRAIN, validation=VALIDATION, source=STORE, **changes):
    network = create_segmenter("unet", 3, {"channels": [8, 16]}, seed=1)
    return network, train_segmenter(network, settings(**changes), source, train, validation, folder)


def dice_on(model, rows):
    truth = masks_on_grid(STORE, rows, settings().preprocessing()).numpy() > 0
    found = hemorrhage_probability(model, settings().preprocessing(), STORE, rows, CPU) > 0.5
    return 2 * (truth & found).sum() / (truth.sum() + found.sum())


def test_it_segments_blood_in_patients_it_has_not_seen(tmp_path):
    network, run = trained(tmp_path)
    untrained = dice_on(
        create_segmenter("unet", 3, {"channels": [8, 16]}, seed=1).model.eval(), VALIDATION
    )
    assert dice_on(run.model, VALIDATION) > 0.6 > 0.3 > untrained
    found = load(run.weights_path, CPU, SegmentationNetwork)
    loaded, preprocessing = found.network, found.preprocessing
    one = hemorrhage_probability(loaded.model, preprocessing, STORE, VALIDATION, CPU, batch_size=3)
    assert np.allclose(
        one, hemorrhage_probability(run.model, preprocessing, STORE, VALIDATION, CPU), atol=1e-5
    )
    assert (
        network.describe() == loaded.describe()
        and run.history["valid_loss"].iloc[-1] < run.history["valid_loss"].iloc[0]
    )


def test_the_loss_is_half_dice_of_hemorrhage_half_cross_entropy():
    task = SliceSegmentation(settings(augmentation="none"), STORE, TRAIN, VALIDATION)
    inputs, masks = next(iter(task.loaders(CPU)[0]))
    model = create_segmenter("unet", 3, {"channels": [4, 8]}).model
    logits = model(inputs)
    p = logits.softmax(1)
    truth = torch.cat([1 - masks, masks], 1).float()
    dice = 1 - (2 * (p * truth)[:, 1].sum() + 1e-5) / (p[:, 1].sum() + truth[:, 1].sum() + 1e-5)
    entropy = -(truth * p.log()).sum(1).mean()
    with torch.no_grad():
        assert float(task.loss(model(inputs), masks)) == pytest.approx(
            float(0.5 * dice + 0.5 * entropy), rel=1e-4
        )


def training_batches(task, epoch):
    loader, _ = task.loaders(CPU)
    loader.batches.set_epoch(epoch)
    return list(loader)


def test_masks_follow_their_slices_through_order_and_augmentation():
    plain = settings(augmentation_options={"noise_probability": 0.0})
    task = SliceSegmentation(plain, STORE, TRAIN, VALIDATION)
    for inputs, masks in training_batches(task, 3):
        bright, blood = inputs[:, 0], masks[:, 0].bool()
        inside = [float(image[mask].mean()) for image, mask in zip(bright, blood) if mask.sum() > 3]
        assert all(value > 0.2 for value in inside)
    first, again = ([inputs for inputs, _ in training_batches(task, 3)] for _ in range(2))
    assert all(torch.equal(one, two) for one, two in zip(first, again))


def test_a_killed_run_ends_at_the_same_weights_and_other_settings_are_another_run(
    tmp_path, monkeypatch
):
    whole = trained(tmp_path / "whole", epochs=3)[1]
    original = SliceSegmentation._augmented

    def killed(self, device, rows, epoch, number):
        if epoch == 2:
            raise KeyboardInterrupt
        return original(self, device, rows, epoch, number)

    monkeypatch.setattr(SliceSegmentation, "_augmented", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", epochs=3)
    monkeypatch.setattr(SliceSegmentation, "_augmented", original)
    resumed = trained(tmp_path / "cut", epochs=3)[1]
    assert all(
        torch.equal(one, two)
        for one, two in zip(whole.model.state_dict().values(), resumed.model.state_dict().values())
    )
    with pytest.raises(OtherRunError):
        trained(tmp_path / "cut", epochs=3, seed=9)


def test_what_cannot_be_learnt_from_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds hemorrhage"):
        trained(tmp_path, train=TRAIN[~TRAIN["any"].astype(bool)], sampler="none")
    with pytest.raises(DataError, match="empty"):
        trained(tmp_path, validation=VALIDATION.head(0))
    unmasked = MaskedStore(
        STORE.index, {**STORE.volumes, "unmasked": STORE.volumes["fake-scan000"]}, "other"
    )
    with pytest.raises(DataError, match="scan unmasked has no mask"):
        trained(tmp_path, train=TRAIN.assign(scan_id="unmasked"), source=unmasked)
    with pytest.raises(ParameterError, match="multiple of 2"):
        trained(tmp_path, size=33)


def test_a_broken_network_is_named():
    network = create_segmenter("unet", 3, {"channels": [4, 8]})
    network.model.head.bias.data.fill_(float("nan"))
    with pytest.raises(MapError, match="not finite"):
        hemorrhage_probability(
            network.model.eval(), settings().preprocessing(), STORE, VALIDATION, CPU
        )
