from unittest.mock import patch

import pytest
import torch
from sklearn.metrics import roc_auc_score

from ich_study.errors import ParameterError
from ich_study.evaluate.classification import predict
from ich_study.methods.hgi_sam.swin import create_swin
from ich_study.methods.hgi_sam.train import fine_tune, train_swins
from ich_study.models.backbones import Backbone
from ich_study.models.registry import load
from ich_study.models.weights import load_weights
from tests.training.fakes import config, fake_store, parts

TINY = {
    "img_size": 32,
    "patch_size": 2,
    "window_size": 4,
    "embed_dim": 12,
    "depths": [2, 2],
    "num_heads": [2, 2],
    "drop_path_rate": 0.0,
}
STORE = fake_store(patients=20)
TRAIN, VALIDATION = parts(STORE, 14)
SHARED = {
    "size": 32,
    "loss": "focal",
    "epochs": 5,
    "batch_size": 8,
    "learning_rate": 2e-3,
    "optimizer": "adamw",
    "normalisation": "half",
    "cache_in_memory": True,
    "seed": 2,
}

TUNING, HEAD = (
    {"loss": "cross_entropy_two_outputs", "learning_rate": 3e-4, "epochs": 2},
    {"learning_rate": 1e-2, "epochs": 1},
)


def create(settings):
    return create_swin(settings.outputs, settings.in_channels, options=TINY, seed=1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder, lines = tmp_path_factory.mktemp("swins"), []
    with patch("builtins.print", lines.append):
        found = train_swins(
            create, SHARED, ["any", "SDH"], TUNING, HEAD, STORE, TRAIN, VALIDATION, folder
        )
    return found, lines, folder


def auroc(run, two_outputs=False):
    predictions = predict(
        run.model,
        run.preprocessing,
        run.config.classes,
        STORE,
        VALIDATION,
        run.device,
        two_outputs=two_outputs,
    )
    rows = predictions[predictions["class"] == "any"]
    return roc_auc_score(rows["label"].astype(bool), rows["logit"])


def test_all_three_swins_find_blood_in_other_patients(runs):
    found, lines, _ = runs
    assert [auroc(run, name == "two_outputs") > 0.8 for name, run in found.items()] == [True] * 3
    assert [run.config.outputs for run in found.values()] == [
        1,
        2,
        2,
    ] and "multi_label: 2 outputs" in " ".join(lines)


def test_the_head_stage_moves_the_head_alone_and_the_second_stage_starts_from_it(runs):
    found, _, folder = runs
    path = folder / "two_outputs" / "head" / "weights.safetensors"
    head = load(path, torch.device("cpu"), Backbone).model.state_dict()
    parent, child = found["binary"].model.state_dict(), found["two_outputs"].model.state_dict()
    body = [name for name in parent if not name.startswith("head.fc")]
    assert (
        all(torch.equal(parent[name], head[name]) for name in body)
        and head["head.fc.weight"].shape[0] == 2
    )
    assert any(not torch.equal(head[name], child[name]) for name in body)
    assert float((head["head.fc.weight"] - child["head.fc.weight"]).abs().max()) < 0.02


def test_started_again_it_loads_what_is_there(runs):
    found, _, folder = runs
    again = train_swins(
        create,
        SHARED,
        ["any", "SDH"],
        TUNING,
        HEAD,
        STORE,
        TRAIN,
        VALIDATION,
        folder,
    )
    assert all(again[name].weights_sha256 == run.weights_sha256 for name, run in found.items())


def test_without_head_stage_everything_is_trained_at_once_and_the_loss_must_have_two_outputs(
    runs, tmp_path
):
    found, _, _ = runs
    settings = config(
        loss="cross_entropy_softmaxed",
        epochs=1,
        learning_rate=1e-4,
        normalisation="half",
        max_train_batches=2,
    )
    run = fine_tune(
        found["binary"].weights_path,
        settings,
        None,
        STORE,
        TRAIN,
        VALIDATION,
        tmp_path,
    )
    load_weights(tmp_path / "all" / "weights.safetensors", run.model)
    assert (
        not (tmp_path / "head").exists() and 0.3132 <= run.history["valid_loss"].iloc[0] <= 1.3133
    )
    with pytest.raises(ParameterError, match="is 'bce'; expected one of"):
        fine_tune(found["binary"].weights_path, config(), None, STORE, TRAIN, VALIDATION, tmp_path)
    with pytest.raises(ParameterError, match="unknown setting 'rate'"):
        fine_tune(
            found["binary"].weights_path, settings, {"rate": 1}, STORE, TRAIN, VALIDATION, tmp_path
        )
