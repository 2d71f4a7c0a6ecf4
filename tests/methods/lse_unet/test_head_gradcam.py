import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from ich_study.errors import MapError
from ich_study.methods.lse_unet.head_gradcam import head_gradcam
from ich_study.methods.lse_unet.score_maps import raw_maps, scaled_heatmaps
from ich_study.models.backbones import create_backbone
from tests.training.fakes import config, fake_store

ARMS = {
    "resnet152": ({"channels": [8, 8, 16, 16], "layers": [1, 1, 1, 1]}, "layer4"),
    "resnetrs200": (
        {"channels": [8, 8, 16, 16], "layers": [1, 1, 1, 1], "stem_width": 8},
        "layer4",
    ),
    "densenet121": ({"growth_rate": 4, "block_config": [2, 2, 2, 2]}, "features"),
    "rdnet_tiny": (
        {
            "num_init_features": 8,
            "growth_rates": [8] * 7,
            "num_blocks_list": [1] * 7,
            "ls_init_value": 1.0,
        },
        "norm_pre",
    ),
}
INPUTS = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 3, 64, 64))).float()


def classifier(name):
    return create_backbone(name, 4, 3, options=ARMS[name][0], seed=3).model.eval()


@pytest.mark.parametrize("name", sorted(ARMS))
def test_it_is_pytorch_grad_cam_before_global_pooling(name):
    model = classifier(name)
    maps, logits = head_gradcam(model, INPUTS, [0, 2])
    assert torch.allclose(logits, model(INPUTS), atol=1e-5) and not maps.requires_grad
    cam = GradCAM(model=model, target_layers=[model.get_submodule(ARMS[name][1])])
    ours = scaled_heatmaps(maps, 64).numpy()
    for place, target in enumerate([0, 2]):
        theirs = cam(input_tensor=INPUTS, targets=[ClassifierOutputTarget(target)] * 3)
        assert np.abs(ours[:, place] - theirs).max() < 1e-3
    cam.activations_and_grads.release()


def test_it_leaves_no_gradient_and_works_inside_no_grad():
    model = classifier("rdnet_tiny")
    with torch.no_grad():
        maps, _ = head_gradcam(model, INPUTS, [1])
    assert maps.shape == (3, 1, 2, 2) and all(
        parameter.grad is None for parameter in model.parameters()
    )


def test_maps_of_a_store_and_broken_weights():
    store, model = fake_store(1), classifier("resnet152")
    names = ("any", "IPH", "SDH", "EDH")
    preprocessing = config(size=64).preprocessing((0.5,), (0.5,))
    maps, logits = raw_maps(
        head_gradcam,
        model,
        preprocessing,
        names,
        ["SDH", "any"],
        store,
        store.index,
        torch.device("cpu"),
        batch_size=3,
    )
    assert maps.shape == (8, 2, 2, 2) and logits.shape == (8, 2)
    with torch.no_grad():
        model.fc.weight[1] = float("inf")
    with pytest.raises(MapError, match="Grad-CAM before global pooling"):
        head_gradcam(model, INPUTS, [1])
