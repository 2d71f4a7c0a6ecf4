from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ich_study.errors import DataError
from ich_study.methods.hgi_sam import folds
from ich_study.methods.hgi_sam.folds import supervised_masks, with_folds
from ich_study.methods.hgi_sam.segmentation import masks_on_grid
from ich_study.metrics.overlap import dice, overlap_counts
from ich_study.splits.split import make_folds
from tests.training.fakes import FakeStore, config, fake_store

PLAIN = fake_store(patients=8)


class MaskedStore(FakeStore):
    """Masks: what is far brighter than brain."""

    def has_mask(self, scan_id):
        return True

    def mask(self, scan_id):
        return (self.volume(scan_id) > 52).astype(np.uint8) * 6


STORE = MaskedStore(PLAIN.index, PLAIN.volumes, PLAIN.content_hash)
FOLDS = make_folds(STORE.index, 2, 0)
ROWS = with_folds(STORE.index, FOLDS)


def test_every_slice_is_segmented_by_a_network_that_never_saw_its_patient(tmp_path, capsys):
    settings = {
        "classes": ["any"],
        "size": 32,
        "optimizer": "adamw",
        "epochs": 4,
        "batch_size": 4,
        "learning_rate": 5e-3,
        "normalisation": "half",
        "monitor": "valid_loss",
        "sampler": "inverse_frequency",
        "seed": 3,
    }
    options = {"channels": [8, 16], "normalisation": "instance"}
    found, model = supervised_masks("unet", options, settings, STORE, ROWS, tmp_path, 0.2)
    truth = masks_on_grid(STORE, ROWS, config(size=32).preprocessing()).numpy() > 0
    assert dice(overlap_counts(found, truth).sum()) > 0.3 and not model.training
    assert (tmp_path / "unet_fold0").is_dir() and (tmp_path / "unet_fold1").is_dir()
    assert "fold 1: best epoch" in capsys.readouterr().out.splitlines()[-1]


def test_a_fold_is_segmented_by_the_network_trained_on_the_other_folds(tmp_path, monkeypatch):
    trained = {}

    def fake_training(network, config, store, train, validation, place):
        seen = set(train["patient_id"]) | set(validation["patient_id"])
        trained[place.name] = (seen, set(train["patient_id"]) & set(validation["patient_id"]))
        return SimpleNamespace(
            model=place.name, device=torch.device("cpu"), best_epoch=0, history=[0]
        )

    def fake_probability(model, preprocessing, store, rows, *_):
        tested = set(rows["patient_id"])
        seen, twice = trained[model]
        assert not seen & tested and not twice
        assert seen | tested == set(ROWS["patient_id"])
        # one pixel more than one half in fold 0, two in fold 1; the rest exactly at one half
        found = np.full((len(rows), 32, 32), 0.5, np.float32)
        found[:, 0, : 1 + int(model[-1])] = 0.51
        return found

    monkeypatch.setattr(folds, "train_segmenter", fake_training)
    monkeypatch.setattr(folds, "hemorrhage_probability", fake_probability)
    options = {"channels": [4, 8]}
    found, last = supervised_masks("unet", options, {"size": 32}, STORE, ROWS, tmp_path, 0.2)
    assert last == "unet_fold1" and set(trained) == {"unet_fold0", "unet_fold1"}
    assert found.sum((1, 2)).tolist() == (ROWS["fold"] + 1).tolist()


def test_folds_are_made_where_there_are_none():
    assert with_folds(STORE.index, None, 2, 0)["fold"].tolist() == ROWS["fold"].tolist()
    by_patient = ROWS.groupby("patient_id")["fold"].nunique()
    assert (by_patient == 1).all() and set(ROWS["fold"]) == {0, 1}


def test_patients_without_a_fold_are_named():
    with pytest.raises(DataError, match="1 patients of the index are in no fold"):
        with_folds(STORE.index, FOLDS.iloc[1:])
