"""Maps and what is computed of them on a GPU against the CPU, and what memory they leave."""

import pytest
import torch

from ich_study.inputs.devices import peak_memory_mib
from ich_study.methods.cams.cams import CAM_METHODS, cam_maps, library_scaled
from ich_study.methods.cams.faithfulness import (
    deletion_and_insertion,
    removal_ranks,
    road_combined,
)
from ich_study.methods.cams.layers import timm_layers
from ich_study.methods.hgi_sam.attention_maps import hgi_sam, swin_sam
from ich_study.methods.lse_unet.network import create_lse_unet, lse_settings
from ich_study.methods.lse_unet.score_maps import lse_heatmaps
from ich_study.methods.mil.network import create_mil
from ich_study.models.backbones import create_backbone
from tests.methods.cams.cam_networks import images, network
from tests.methods.hgi_sam.swins import slices, tiny_swin

pytestmark = pytest.mark.gpu
SMALL_RDNET = {"num_init_features": 8, "growth_rates": [8] * 7, "num_blocks_list": [1] * 7}


def on_both(model, inputs, compute, device):
    """What `compute(model, inputs)` gives on the CPU and on the GPU, the latter brought back."""
    found = []
    for place in (torch.device("cpu"), device):
        found.append(compute(model.to(place), inputs.to(place)))
    model.to("cpu")
    return found


def close(first, second, tolerance):
    return torch.allclose(first.cpu().float(), second.cpu().float(), atol=tolerance, rtol=0)


@pytest.mark.parametrize("precision, tolerance", [("fp32", 1e-3), ("bf16", 0.2)])
def test_all_nine_cams_are_the_cpus(cuda, precision, tolerance):
    model, inputs = network("tf_efficientnetv2_b0"), images(3, 64)

    def maps(model, inputs):
        return cam_maps(model, inputs, timm_layers(model), precision=precision)

    cpu, gpu = on_both(model, inputs, maps, cuda)
    assert len(cpu) == 3 * len(CAM_METHODS) and set(gpu) == set(cpu)
    for key, raw in gpu.items():
        assert raw.device.type == cuda.type
        scaled = [library_scaled(each.cpu(), 64) for each in (cpu[key], raw)]
        if precision == "fp32":
            assert close(*scaled, tolerance), key
        else:
            assert float((scaled[0] - scaled[1]).abs().mean()) < tolerance, key


def test_attention_maps_are_the_cpus(cuda):
    targets = torch.tensor([1, 0, 1])
    for compute in (
        lambda model, inputs: swin_sam(model, inputs).fused,
        lambda model, inputs: hgi_sam(model, inputs, targets.to(inputs.device)).fused,
    ):
        cpu, gpu = on_both(tiny_swin(), slices(3), compute, cuda)
        assert gpu.device.type == cuda.type and close(cpu, gpu, 1e-6) and float(cpu.max()) > 0


def test_score_maps_and_mil_maps_are_the_cpus(cuda):
    encoder = create_backbone("rdnet_tiny", 3, 3, options=SMALL_RDNET)
    lse = create_lse_unet(encoder, 3, lse_settings("authors", {})).model.eval()
    mil = create_mil("printed", "attention").model.eval()
    with torch.no_grad():
        for model, compute in (
            (lse, lambda model, inputs: lse_heatmaps(model, inputs, [0, 1, 2])[0]),
            (mil, lambda model, inputs: model.likelihood(inputs)[1]),
        ):
            cpu, gpu = on_both(model, images(2, 64), compute, cuda)
            assert close(cpu, gpu, 2e-3) and float(cpu.abs().max()) > 0


def test_faithfulness_is_the_cpus(cuda):
    """Deletion, insertion and ROAD, whose shares a GPU solves together."""
    generator = torch.Generator().manual_seed(2)
    channels, maps = (
        torch.rand(*shape, generator=generator) for shape in ((4, 1, 48, 48), (4, 48, 48))
    )

    def score(altered):
        return (altered * 2 - 1).mean((1, 2, 3)).sigmoid()

    found = []
    for device in (torch.device("cpu"), cuda):
        here, ranks = channels.to(device), removal_ranks(maps.to(device), 0)
        found.append(
            [
                *deletion_and_insertion(score, here, ranks, 6, "mean", "blur"),
                road_combined(score, here, ranks, (0.2, 0.5, 0.8), 0.01, 0),
            ]
        )
    for cpu, gpu in zip(*found):
        assert gpu.device.type == cuda.type and close(cpu, gpu, 1e-4)


def test_maps_leave_no_memory_behind(cuda):
    model, inputs = network("tf_efficientnetv2_b0").to(cuda), images(4, 64).to(cuda)
    try:
        cam_maps(model, inputs, timm_layers(model))  # the first call keeps cuDNN's workspace
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated(cuda)
        for _ in range(3):
            cam_maps(model, inputs, timm_layers(model))
        torch.cuda.synchronize()
        assert torch.cuda.memory_allocated(cuda) == before
        assert peak_memory_mib(cuda) * 2**20 > before
    finally:
        model.to("cpu")
