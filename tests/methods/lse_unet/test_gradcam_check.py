"""The difference between the shortcut and Grad-CAM is zero where they agree, and as large as it is
where they do not."""

import numpy as np
import torch

from ich_study.methods.lse_unet import gradcam_check
from ich_study.methods.lse_unet.network import create_lse_unet, lse_settings
from ich_study.methods.lse_unet.score_maps import lse_heatmaps
from ich_study.models.backbones import create_backbone

SMALL = {
    "num_init_features": 8,
    "growth_rates": [8] * 7,
    "num_blocks_list": [1] * 7,
    "ls_init_value": 1.0,
}


def test_the_shortcut_is_grad_cam_and_another_map_is_not(monkeypatch):
    backbone = create_backbone("rdnet_tiny", 3, 3, options=SMALL, seed=8)
    model = create_lse_unet(backbone, 3, lse_settings("authors", {}), 1, 32).model.eval()
    inputs = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert gradcam_check.shortcut_error(model, inputs, [2, 0]) < 1e-5

    def last_class_turned(model, inputs, classes):
        maps, logits = lse_heatmaps(model, inputs, classes)
        maps[:, -1] = maps[:, -1].flip(-1)
        return maps, logits

    monkeypatch.setattr(gradcam_check, "lse_heatmaps", last_class_turned)
    assert gradcam_check.shortcut_error(model, inputs, [2, 0]) > 0.1


def test_each_class_has_its_own_grad_cam():
    backbone = create_backbone("rdnet_tiny", 3, 3, options=SMALL, seed=8)
    model = create_lse_unet(backbone, 3, lse_settings("authors", {}), 1, 32).model.eval()
    inputs = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    both = gradcam_check.gradcam_heatmaps(model, inputs, [2, 0])
    turned = gradcam_check.gradcam_heatmaps(model, inputs, [0, 2])
    assert both.shape == (2, 2, 32, 32)
    np.testing.assert_allclose(both[:, ::-1], turned, atol=1e-6)
    assert np.abs(both - turned).max() > 0.1
