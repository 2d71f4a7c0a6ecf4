from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score

from ich_study.errors import DataError, ParameterError, StudyError, WeightsError
from ich_study.evaluate.classification import predict
from ich_study.models.weights import read_metadata, save_weights
from ich_study.training.learner import train_classifier
from tests.training.fakes import config, fake_store, network, parts

STORE = fake_store()
TRAIN, VALIDATION = parts(STORE)


def trained(folder, train=TRAIN, validation=VALIDATION, report=lambda line: None, **changes):
    settings = config(**changes)
    with patch("builtins.print", report):
        return train_classifier(network(settings), settings, STORE, train, validation, folder)


def auroc_of(run, rows=VALIDATION):
    predictions = predict(run.model, run.preprocessing, run.config.classes, STORE, rows, run.device)
    return roc_auc_score(rows["any"].to_numpy(bool), predictions["logit"])


def test_it_learns_what_generalises_to_other_patients_and_nothing_from_shuffled_labels(tmp_path):
    settings = {"epochs": 6, "augmentation": "lse_unet", "monitor": "valid_loss"}
    run = trained(tmp_path / "true", **settings)
    assert auroc_of(run) > 0.9
    rng = np.random.default_rng(0)
    shuffled = [
        rows.assign(any=pd.array(rng.permutation(rows["any"].to_numpy(bool)), dtype="boolean"))
        for rows in (TRAIN, VALIDATION)
    ]
    chance = trained(tmp_path / "shuffled", *shuffled, **{**settings, "keep": "last"})
    predictions = predict(
        chance.model, chance.preprocessing, ("any",), STORE, VALIDATION, chance.device
    )
    assert abs(roc_auc_score(shuffled[1]["any"].to_numpy(bool), predictions["logit"]) - 0.5) < 0.25


def test_training_goes_on_from_first_weights_and_says_whom_they_learned_from(tmp_path):
    first = trained(tmp_path / "first", epochs=2, max_train_batches=4)
    others = TRAIN[TRAIN["patient_id"] == TRAIN["patient_id"].iloc[0]]
    still = {"epochs": 1, "max_train_batches": 1, "learning_rate": 1e-12, "optimizer": "sgd"}
    settings = {**still, "first_weights": str(first.weights_path)}
    run = trained(tmp_path / "second", others, **settings)
    # a step of next to nothing; statistics of batch normalisation are no parameters
    for one, other in zip(first.model.parameters(), run.model.parameters()):
        assert torch.allclose(one, other, atol=1e-6)
    other_start = trained(tmp_path / "other", others, **still)
    assert not torch.allclose(
        next(first.model.parameters()), next(other_start.model.parameters()), atol=1e-3
    )
    said = read_metadata(run.weights_path)
    assert said["first_weights"] == first.weights_sha256
    assert said["patients"] == read_metadata(first.weights_path)["patients"]
    # other first weights in the same place are another training
    save_weights(first.weights_path, run.model, {**said, "note": "other"})
    with pytest.raises(StudyError, match="first weights"):
        trained(tmp_path / "second", others, **settings)
    save_weights(first.weights_path, run.model, {"preprocessing": said["preprocessing"]})
    with pytest.raises(WeightsError, match="which patients"):
        trained(tmp_path / "third", others, **settings)


def test_history_report_and_checkpoint_say_what_happened(tmp_path):
    lines = []
    run = trained(
        tmp_path,
        report=lines.append,
        epochs=3,
        keep="last",
        classes=("any", "SDH"),
        schedule="step",
        step_epochs=1,
    )
    scores = ["auroc", "auroc_mean", "f1", "accuracy"]
    assert run.history.columns.tolist() == [
        "epoch",
        "train_loss",
        "valid_loss",
        *scores,
        "learning_rate",
        "seconds",
    ]
    assert run.history["learning_rate"].tolist() == pytest.approx([3e-3, 3e-4, 3e-5])
    assert len(lines) == 3 and lines[2].startswith(f"{tmp_path.name}, epoch 3/3: train loss")
    assert pd.read_csv(tmp_path / "history.csv").shape == (3, 9)
    predictions = predict(
        run.model, run.preprocessing, run.config.classes, STORE, VALIDATION, run.device
    )
    truth, logits = (
        VALIDATION["any"].to_numpy(bool),
        predictions.loc[predictions["class"] == "any", "logit"].to_numpy(),
    )
    last = run.history.iloc[-1]
    assert last["auroc"] == pytest.approx(roc_auc_score(truth, logits), abs=1e-6)
    assert last["f1"] == pytest.approx(f1_score(truth, logits > 0, zero_division=0))
    assert last["accuracy"] == pytest.approx(
        np.mean(np.asarray(truth, bool) == (np.asarray(logits) > 0))
    )
    other = roc_auc_score(
        VALIDATION["SDH"].to_numpy(bool), predictions.loc[predictions["class"] == "SDH", "logit"]
    )
    assert last["auroc_mean"] == pytest.approx((last["auroc"] + other) / 2, abs=1e-6)
    metadata = read_metadata(run.weights_path)
    assert (
        metadata["classes"] == ["any", "SDH"]
        and metadata["epoch"] == 2
        and metadata["preprocessing"]["size"] == 32
    )
    assert (run.device_name, run.stopped_early) == ("cpu", False) and run.peak_memory_mib > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd", "schedule": "one_cycle", "momentum": 0.9},
        {"optimizer": "adamw", "weight_decay": 0.01, "schedule": "cosine"},
        {"loss": "focal", "sampler": "balanced"},
        {"loss": "cross_entropy_two_outputs", "sampler": "inverse_frequency"},
        {"precision": "bf16"},
        {"channels_last": True, "cache_in_memory": True},
        {"stack_depth": 3, "windows": ("brain", "bone"), "augmentation": "hgi_sam"},
        {"window_scaling": "minmax", "normalisation": "pretrained", "num_workers": 2},
    ],
)
def test_every_setting_trains(tmp_path, changes):
    run = trained(tmp_path, **{"epochs": 1, "max_train_batches": 3, **changes})
    assert np.isfinite(run.history["train_loss"]).all()


def test_what_must_not_change_the_weights_does_not(tmp_path):
    runs = [
        trained(tmp_path / str(number), augmentation="lse_unet", **changes)
        for number, changes in enumerate([{}, {"cache_in_memory": True}, {"num_workers": 1}])
    ]
    tensors = [run.model.state_dict() for run in runs]
    assert all(
        torch.equal(tensors[0][name], other[name]) for other in tensors[1:] for name in tensors[0]
    )
    other = trained(tmp_path / "seed", augmentation="lse_unet", seed=4)
    assert not torch.equal(other.model.conv_stem.weight, runs[0].model.conv_stem.weight)


@pytest.mark.parametrize("channels_last", [True, False])
def test_a_network_that_is_only_loaded_lies_in_memory_and_predicts_as_the_trained_one(
    tmp_path, channels_last
):
    fresh, loaded = (trained(tmp_path, channels_last=channels_last, epochs=1) for _ in range(2))
    strides = [
        [parameter.stride() for parameter in run.model.parameters()] for run in (fresh, loaded)
    ]
    assert strides[0] == strides[1]
    logits = [
        predict(run.model, run.preprocessing, run.config.classes, STORE, VALIDATION, run.device)[
            "logit"
        ]
        for run in (fresh, loaded)
    ]
    assert logits[0].equals(logits[1])


def test_the_best_epoch_is_kept_and_patience_ends_the_training(tmp_path):
    run = trained(
        tmp_path, epochs=30, early_stopping_patience=2, learning_rate=0.03, monitor="valid_loss"
    )
    losses = run.history["valid_loss"]
    assert run.stopped_early and len(losses) < 30
    assert run.best_epoch == losses.idxmin() == len(losses) - 3
    predictions = predict(run.model, run.preprocessing, ("any",), STORE, VALIDATION, run.device)
    truth, logits = VALIDATION["any"].to_numpy(float), predictions["logit"].to_numpy()
    assert losses.min() == pytest.approx(
        np.mean(np.logaddexp(0, logits) - truth * logits), rel=1e-2, abs=1e-5
    )


def test_unknown_labels_are_left_out(tmp_path):
    half = TRAIN.assign(any=TRAIN["any"].mask(TRAIN["slice_index"] % 2 == 0))
    run = trained(tmp_path, half, epochs=1)
    assert np.isfinite(run.history.loc[0, "train_loss"])
    unknown = VALIDATION.assign(any=pd.array([pd.NA] * len(VALIDATION), dtype="boolean"))
    with pytest.raises(StudyError, match="monitored auroc has no value in epoch 0"):
        trained(tmp_path / "none", validation=unknown)


def test_a_loss_that_is_not_finite_names_epoch_and_batch(tmp_path):
    with pytest.raises(StudyError, match=r"the loss is nan in epoch 0, batch [1-9]"):
        trained(tmp_path, optimizer="sgd", learning_rate=1e30)
    assert not (tmp_path / "state.pt").exists()


def test_what_does_not_fit_is_refused_before_training(tmp_path, monkeypatch):
    settings = config(classes=("any", "IPH"))
    with pytest.raises(
        ParameterError, match="needs 2 outputs and 3 input channels; the network has 1 and 3"
    ):
        train_classifier(network(config()), settings, STORE, TRAIN, VALIDATION, tmp_path)
    with pytest.raises(DataError, match="empty"):
        trained(tmp_path, TRAIN.head(0))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ParameterError, match="sees no CUDA device"):
        trained(tmp_path, device="cuda")
    with pytest.raises(ParameterError, match="needs CUDA"):
        trained(tmp_path, precision="amp")
    assert not any(tmp_path.iterdir())
