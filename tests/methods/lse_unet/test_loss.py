from unittest.mock import patch

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from ich_study.errors import ParameterError, StudyError
from ich_study.evaluate.classification import predict
from ich_study.methods.lse_unet.loss import LOSS_WEIGHTS, LSELoss
from ich_study.methods.lse_unet.network import LSENetwork, create_lse_unet, lse_settings
from ich_study.models.backbones import create_backbone
from ich_study.models.registry import load
from ich_study.training.learner import train_classifier
from tests.training.fakes import config, fake_store, parts

STORE = fake_store()
TRAIN, VALIDATION = parts(STORE)
RNG = np.random.default_rng(0)
LABELS = (RNG.random((3, 2)) < 0.5).astype(float)
SMALL = {
    "num_init_features": 16,
    "growth_rates": [16] * 7,
    "num_blocks_list": [1] * 7,
    "ls_init_value": 1.0,
}


def levels():
    scores = [RNG.normal(0, 2, (3, 2, side, side)) for side in (16, 8, 4, 2)]
    return [
        (torch.from_numpy(score).float(), torch.from_numpy(RNG.normal(0, 2, (3, 2))).float())
        for score in scores
    ]


def cross_entropy(logits, labels):
    x = logits.double().numpy()
    return (np.logaddexp(0, x) - labels * x).mean()


@pytest.mark.parametrize("weights", sorted(LOSS_WEIGHTS))
def test_it_is_equations_6_and_7_in_float64(weights):
    outputs, labels = levels(), torch.from_numpy(LABELS).float()
    alphas, betas = LOSS_WEIGHTS[weights].alphas, LOSS_WEIGHTS[weights].betas
    classification = sum(
        alpha * cross_entropy(logits, LABELS) for alpha, (_, logits) in zip(alphas, outputs)
    )
    scores = [score.double().numpy() for score, _ in outputs]
    halves = [
        score.reshape(3, 2, score.shape[2] // 2, 2, -1, 2).mean((3, 5)) for score in scores[:3]
    ]
    consistency = sum(
        beta * ((fine - coarse) ** 2).mean()
        for beta, fine, coarse in zip(betas, halves, scores[1:])
    )
    assert float(LSELoss(weights, True, [1.0, 1.0])(outputs, labels)) == pytest.approx(
        classification + consistency, rel=1e-5
    )
    assert float(LSELoss(weights, False, [1.0, 1.0])(outputs, labels)) == pytest.approx(
        classification, rel=1e-5
    )
    assert float(LSELoss(weights, True, [1.0, 1.0])(outputs[0][1], labels)) == pytest.approx(
        cross_entropy(outputs[0][1], LABELS), rel=1e-5
    )


def test_the_weights_are_those_of_section_4_and_of_the_code():
    assert LOSS_WEIGHTS["printed"].alphas == (2, 0.5, 0.25, 0.125) and LOSS_WEIGHTS[
        "authors"
    ].alphas == (1.5, 0.25, 0.125, 0.0625)
    assert LOSS_WEIGHTS["printed"].betas == LOSS_WEIGHTS["authors"].betas == (0.5, 0.25, 0.125)
    with pytest.raises(ParameterError, match="loss weights is 'paper'"):
        LSELoss("paper", True, [1.0])


def test_consistency_vanishes_for_levels_that_agree_and_pulls_on_both_sides():
    loss = LSELoss("printed", True, [1.0])
    agreeing = [(torch.full((1, 1, side, side), 0.7), torch.zeros(1, 1)) for side in (16, 8, 4, 2)]
    assert float(sum(loss.consistency_losses(agreeing))) == pytest.approx(0, abs=1e-12)
    outputs = [(score.requires_grad_(), logits) for score, logits in levels()]
    sum(loss.consistency_losses(outputs)).backward()
    assert all(score.grad.abs().sum() > 0 for score, _ in outputs)


def test_unknown_labels_do_not_count():
    outputs, labels = levels(), torch.from_numpy(LABELS).float()
    unknown = labels.clone()
    unknown[0] = float("nan")
    kept = [(score, logits[1:]) for score, logits in outputs]
    loss = LSELoss("printed", False, [1.0, 1.0])
    assert float(loss(outputs, unknown)) == pytest.approx(float(loss(kept, labels[1:])), rel=1e-5)


def network(settings, variant, seed=0):
    encoder = create_backbone(
        "rdnet_tiny", settings.outputs, settings.in_channels, options=SMALL, seed=seed
    )
    return create_lse_unet(encoder, settings.outputs, lse_settings(variant, {}), seed)


def trained(folder, variant="authors", consistency=True, report=lambda line: None, **changes):
    settings = config(**{"optimizer": "adamw", "monitor": "valid_loss", **changes})
    loss = LSELoss(variant, consistency, [1.0] * len(settings.classes))
    with patch("builtins.print", report):
        return train_classifier(
            network(settings, variant), settings, STORE, TRAIN, VALIDATION, folder, loss
        )


@pytest.mark.parametrize("variant", sorted(LOSS_WEIGHTS))
def test_it_learns_what_generalises_to_other_patients(tmp_path, variant):
    run = trained(tmp_path, variant, epochs=5, classes=("any", "SDH"))
    predictions = predict(
        run.model, run.preprocessing, run.config.classes, STORE, VALIDATION, run.device
    )
    for name in run.config.classes:
        logits = predictions.loc[predictions["class"] == name, "logit"]
        assert roc_auc_score(VALIDATION[name].to_numpy(bool), logits) > 0.85
    found = load(run.weights_path, run.device, LSENetwork)
    loaded, metadata = found.network, found.metadata
    assert (
        metadata["loss"]["consistency"] is True
        and metadata["architecture"]["settings"]["r"] == loaded.settings.r
    )
    assert all(
        torch.equal(tensor, loaded.model.state_dict()[name])
        for name, tensor in run.model.state_dict().items()
    )


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path):
    whole = trained(tmp_path / "whole", epochs=3)

    def kill(line):
        if ", epoch 1/3" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed", epochs=3, report=kill)
    lines = []
    resumed = trained(tmp_path / "killed", epochs=3, report=lines.append)
    assert lines[0].startswith("going on after epoch 1 of 3")
    assert all(
        torch.equal(tensor, resumed.model.state_dict()[name])
        for name, tensor in whole.model.state_dict().items()
    )
    with pytest.raises(StudyError, match=r"network loss: was .*, now"):
        trained(tmp_path / "whole", epochs=3, consistency=False)
