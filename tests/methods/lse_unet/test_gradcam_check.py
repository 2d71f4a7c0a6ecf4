"""The difference between the shortcut and Grad-CAM is zero where they agree, and as large as it is
where they do not."""

import pytest
import torch

from ich_study.methods.lse_unet import gradcam_check
from ich_study.methods.lse_unet.network import create_lse_unet, lse_settings
from ich_study.methods.lse_unet.score_maps import lse_heatmaps
from ich_study.models.backbones import create_backbone
from tests.training.fakes import config, fake_store, parts

SMALL = {
    "num_init_features": 8,
    "growth_rates": [8] * 7,
    "num_blocks_list": [1] * 7,
    "ls_init_value": 1.0,
}


def test_the_shortcut_is_grad_cam_and_another_map_is_not(monkeypatch):
    settings = config(classes=("any", "IPH"))
    backbone = create_backbone("rdnet_tiny", 2, 3, options=SMALL, seed=8)
    model = create_lse_unet(backbone, 2, lse_settings("authors", {}), 1, 32).model.eval()
    store = fake_store(patients=3)
    rows = parts(store, 2)[1].head(5)
    arguments = (
        model,
        settings.preprocessing(backbone.input_mean, backbone.input_std),
        settings.classes,
        ["IPH", "any"],
        store,
        rows,
        torch.device("cpu"),
    )
    assert gradcam_check.shortcut_error(*arguments) < 1e-5

    def last_class_turned(model, inputs, classes):
        maps, logits = lse_heatmaps(model, inputs, classes)
        maps[:, -1] = maps[:, -1].flip(-1)
        return maps, logits

    monkeypatch.setattr(gradcam_check, "lse_heatmaps", last_class_turned)
    assert gradcam_check.shortcut_error(*arguments) > 0.1
    classes_exchanged = (*arguments[:2], ("IPH", "any"), *arguments[3:])
    monkeypatch.setattr(gradcam_check, "lse_heatmaps", lse_heatmaps)
    assert gradcam_check.shortcut_error(*classes_exchanged) == pytest.approx(
        gradcam_check.shortcut_error(*arguments), abs=1e-5
    )
