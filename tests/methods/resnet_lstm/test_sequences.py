import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from ich_study.errors import ParameterError
from ich_study.evaluate.classification import predict
from ich_study.methods.resnet_lstm.network import LSTMSettings
from ich_study.methods.resnet_lstm.sequences import (
    HeadTask,
    SequenceTask,
    _pooled,
    first_slices,
    metadata_of,
    predict_sequences,
    refit_last_layer,
    train_sequences,
)
from ich_study.models.backbones import Backbone, create_backbone
from ich_study.models.registry import load
from ich_study.models.weights import state_digest
from ich_study.training.config import LoopSettings, TrainingConfig
from ich_study.training.learner import sampled_batches
from tests.training.fakes import SLICES, fake_store, parts

STORE = fake_store()
TRAIN, VALIDATION = parts(STORE)
CPU = torch.device("cpu")
CLASSIFIER = TrainingConfig(
    classes=("any",), size=32, normalisation="half", sampler="none", batch_size=32, seed=1
)
PREPROCESSING = CLASSIFIER.preprocessing()
LOOP = LoopSettings(epochs=6, learning_rate=0.002, optimizer="adamw", seed=1)


def task(**changes):
    arguments = {"volumes_per_batch": 2, "seed": 1, "cache_in_memory": True, **changes}
    return SequenceTask(STORE, (TRAIN, VALIDATION), ("any",), PREPROCESSING, **arguments)


def backbone():
    return create_backbone(
        "resnet18",
        1,
        options={"channels": [8, 16, 24, 32], "layers": [1, 1, 1, 1], "output_stride": 8},
        seed=1,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lstm")
    start, work = backbone(), task()
    run = train_sequences(start, LSTMSettings(hidden=16), work, LOOP, folder / "lstm", {})
    head = LoopSettings(epochs=40, learning_rate=0.02, optimizer="adam")
    described = metadata_of(PREPROCESSING, ("any",))
    classifier, sha256 = refit_last_layer(
        run.model, start, work, CLASSIFIER, head, folder / "head", described
    )
    return folder, start, work, run, classifier, sha256


def auroc(table):
    return roc_auc_score(table["label"].astype(bool), table["logit"])


def test_the_sequence_network_learns_what_generalises_to_other_patients(trained):
    *_, run, _, _ = trained
    assert auroc(predict_sequences(run.model, STORE, VALIDATION, PREPROCESSING, CPU)) > 0.85


def test_the_refitted_layer_stands_on_the_trained_backbone_and_is_as_good_as_scikit_learns(trained):
    folder, _, work, run, classifier, sha256 = trained
    for name, tensor in run.model.features.state_dict().items():
        assert torch.equal(tensor, classifier.model.state_dict()[name]), name
    ours = auroc(predict(classifier.model, PREPROCESSING, ("any",), STORE, VALIDATION, CPU))
    features, labels = (
        [part.numpy() for part in (_pooled(classifier.model, data, CPU), data.labels[:, 0])]
        for data in work.data
    )
    oracle = LogisticRegression(max_iter=2000).fit(features[0], features[1])
    assert ours > max(0.85, roc_auc_score(labels[1], oracle.decision_function(labels[0])) - 0.05)
    loaded = load(folder / "head" / "weights.safetensors", CPU, Backbone, sha256)
    assert state_digest(loaded.model) == state_digest(classifier.model)
    assert loaded.preprocessing == PREPROCESSING and loaded.metadata["classes"] == ["any"]


def test_decay_of_the_new_layer_is_scikit_learns_ridge_penalty(trained, tmp_path):
    """Mean loss plus decay/2 of the squared weights and bias is their C = 1 / (decay x slices);
    AdamW, which takes decay out of the step, ends elsewhere."""
    _, start, work, run, *_ = trained
    features, labels = _pooled(run.model.features, work.data[0], CPU), work.data[0].labels[:, 0]
    found = {}
    for optimizer in ("adam", "adamw"):
        head = LoopSettings(
            optimizer=optimizer, learning_rate=0.01, weight_decay=0.3, epochs=150, keep="last"
        )
        described = metadata_of(PREPROCESSING, ("any",))
        whole = CLASSIFIER.changed(batch_size=len(features))
        classifier, _ = refit_last_layer(
            run.model, start, work, whole, head, tmp_path / optimizer, described
        )
        found[optimizer] = classifier.model.get_classifier().weight[0].detach().numpy()
    oracle = LogisticRegression(
        C=1 / (0.3 * len(features)), fit_intercept=False, tol=1e-8, max_iter=5000
    )
    with_bias = np.c_[features.numpy(), np.ones(len(features))]
    expected = oracle.fit(with_bias, labels.numpy()).coef_[0, :-1]
    far = np.abs(found["adamw"] - expected).max()
    assert np.abs(found["adam"] - expected).max() < 0.02 * np.abs(expected).max() < far


def test_the_new_layer_learns_from_what_the_classifiers_sampler_draws(trained):
    _, _, work, *_ = trained
    features = tuple(_rows_as_features(data) for data in work.data)
    for sampler in ("none", "balanced"):
        config = CLASSIFIER.changed(sampler=sampler)
        drawn, _ = HeadTask(features, work, config).loaders(CPU)
        expected = sampled_batches(work.rows[0], config)
        for (rows, labels), batch in zip(drawn, expected, strict=True):
            assert rows[:, 0].tolist() == batch
            assert torch.equal(labels, work.data[0].labels[batch])
    positives = work.data[0].labels.sum()
    assert sum(len(labels) for _, labels in drawn) <= 2 * positives < len(features[0])


def _rows_as_features(data):
    return torch.arange(len(data)).float()[:, None]


def test_predictions_of_the_sequence_are_the_network_on_each_volume_in_slice_order(trained):
    *_, run, _, _ = trained
    shuffled = VALIDATION.sample(frac=1, random_state=0)
    table = predict_sequences(run.model, STORE, shuffled, PREPROCESSING, CPU)
    scan = table["scan_id"].iloc[0]
    with torch.inference_mode():
        inputs = PREPROCESSING.inputs(
            PREPROCESSING.resized(torch.from_numpy(STORE.volume(scan)))[:, None]
        )
        oracle = run.model(inputs, [SLICES])[:, 0].double().numpy()
    assert table["slice_index"].tolist()[:SLICES] == list(range(SLICES))
    assert np.allclose(table["logit"].to_numpy()[:SLICES], oracle, atol=1e-5)


def test_only_the_first_slices_take_part():
    kept = first_slices(TRAIN, 3)
    assert len(kept) == 3 * TRAIN["scan_id"].nunique() and kept["slice_index"].max() == 2
    assert len(first_slices(TRAIN, None)) == len(TRAIN)
    with pytest.raises(ParameterError):
        first_slices(TRAIN, 0)


def batches(epoch):
    loader, _ = task().loaders(CPU)
    loader.batches.set_epoch(epoch)
    return list(loader)


def test_batches_are_whole_volumes_in_an_order_of_seed_and_epoch():
    first, again, other = (batches(epoch) for epoch in (0, 0, 1))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, again))
    assert not all(torch.equal(a[0], b[0]) for a, b in zip(first, other))
    assert sum(len(labels) for _, _, labels in first) == len(TRAIN) and first[0][1] == [
        SLICES,
        SLICES,
    ]


def test_unknown_labels_take_no_part_in_the_loss():
    rows = TRAIN.assign(any=TRAIN["any"].mask(TRAIN["slice_index"] > 0))
    work = SequenceTask(STORE, (rows, VALIDATION), ("any",), PREPROCESSING)
    _, lengths, labels = next(iter(work.loaders(CPU)[0]))
    # the one known logit is 0, whose cross-entropy is log 2 whatever its label; the others are not
    logits = torch.arange(len(labels), dtype=torch.float32)[:, None]
    assert lengths == [SLICES] and not labels[0].isnan().any()
    assert float(work.loss(logits, labels)) == pytest.approx(float(np.log(2)), abs=1e-5)
    assert work.weight(labels) == 1
