import subprocess
import sys
from pathlib import Path

import torch

from ich_study.inputs.preprocessing import Preprocessing
from ich_study.methods.lse_unet.network import LSE_VARIANTS, create_lse_unet
from ich_study.methods.mil.network import create_mil
from ich_study.models.backbones import create_backbone
from ich_study.models.weights import (
    known_patients,
    load_weights,
    read_metadata,
    read_tensors,
    save_weights,
)
from tools.first_weights import main

ROOT = Path(__file__).resolve().parents[2]


def checkpoint(folder, largest):
    network = create_backbone(
        "resnet10t", 1, 1, options={"layers": [1, 1, 1, 1], "channels": [4, 4, 4, 4]}
    )
    with torch.no_grad():
        network.model.get_classifier().weight.mul_(largest)
    grid = Preprocessing(("brain",), "fixed", 1, 32, "none", (0.5,), (0.5,))
    described = {"architecture": network.describe(), "preprocessing": grid.describe()}
    save_weights(
        folder / "weights.safetensors",
        network.model,
        described | {"classes": ["any"], "patients": {"instance2022": ["a" * 16]}},
    )
    return folder / "weights.safetensors"


def test_half_precision_without_patients(tmp_path):
    source, target = checkpoint(tmp_path, 1), tmp_path / "small.safetensors"
    assert main([str(source), str(target)]) == 0
    said = read_metadata(target)
    assert said["patients"] == {} and said["classes"] == ["any"]
    floats = [each for each in read_tensors(target).values() if each.is_floating_point()]
    assert floats and all(each.dtype == torch.float16 for each in floats)


def test_of_an_lse_unet_its_encoder_is_kept(tmp_path):
    options = {"growth_rates": [16] * 7, "num_blocks_list": [1] * 7, "num_init_features": 16}
    network = create_lse_unet(
        create_backbone("rdnet_tiny", 1, 3, options=options), 1, LSE_VARIANTS["authors"]
    )
    grid = Preprocessing(("brain",), "fixed", 1, 32, "none", (0.5,), (0.5,))
    described = {"architecture": network.describe(), "preprocessing": grid.describe()}
    save_weights(tmp_path / "whole.safetensors", network.model, described | {"classes": ["any"]})
    target = tmp_path / "encoder.safetensors"
    assert main([str(tmp_path / "whole.safetensors"), str(target), "--encoder"]) == 0
    # as first weights of another network it loads strictly; its head is drawn anew
    again = create_backbone("rdnet_tiny", 6, 3, f"file:{target}", options=options, seed=5)
    kept, loaded = network.model.encoder.network.state_dict(), again.model.state_dict()
    assert kept and all(name.startswith("head.") for name in set(loaded) - set(kept))
    for name, tensor in kept.items():
        assert torch.allclose(loaded[name], tensor, atol=1e-3), name


def test_of_a_network_without_an_encoder_none_is_kept(tmp_path, capsys):
    target = tmp_path / "small.safetensors"
    assert main([str(checkpoint(tmp_path, 1)), str(target), "--encoder"]) == 1
    assert "holds no LSE-UNet" in capsys.readouterr().err and not target.exists()


def test_a_whole_network_is_what_training_goes_on_from(tmp_path):
    network = create_mil("printed", "max_pooling", channels=(4, 4, 4), blocks=1)
    grid = Preprocessing(("brain",), "fixed", 1, 32, "none", (0.5,), (0.5,))
    described = {"architecture": network.describe(), "preprocessing": grid.describe()}
    described |= {"classes": ["any"], "patients": {"rsna": ["a" * 16]}}
    save_weights(tmp_path / "whole.safetensors", network.model, described)
    target = tmp_path / "first.safetensors"
    # in a process of its own, which knows only the networks that the tool itself imports
    command = [sys.executable, "-m", "tools.first_weights"]
    subprocess.run([*command, tmp_path / "whole.safetensors", target], check=True, cwd=ROOT)
    again = create_mil("printed", "max_pooling", seed=5, channels=(4, 4, 4), blocks=1)
    load_weights(target, again.model)
    for name, tensor in network.model.state_dict().items():
        assert torch.allclose(again.model.state_dict()[name].float(), tensor.float(), atol=1e-3)
    assert known_patients(target) == {}


def test_large_logits_may_move_by_their_share(tmp_path):
    assert main([str(checkpoint(tmp_path, 1000)), str(tmp_path / "small.safetensors")]) == 0


def test_weights_that_half_precision_changes_are_refused(tmp_path, capsys):
    # beyond 65,504 half precision knows no number
    source, target = checkpoint(tmp_path, 1e7), tmp_path / "small.safetensors"
    assert main([str(source), str(target)]) == 1
    assert "half precision moves a logit by" in capsys.readouterr().err and not target.exists()
