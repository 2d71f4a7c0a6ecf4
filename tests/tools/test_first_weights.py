import torch

from ich_study.inputs.preprocessing import Preprocessing
from ich_study.models.backbones import create_backbone
from ich_study.models.weights import read_metadata, read_tensors, save_weights
from tools.first_weights import main


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
    assert "patients" not in read_metadata(target) and read_metadata(target)["classes"] == ["any"]
    floats = [each for each in read_tensors(target).values() if each.is_floating_point()]
    assert floats and all(each.dtype == torch.float16 for each in floats)


def test_weights_that_half_precision_changes_are_refused(tmp_path, capsys):
    source, target = checkpoint(tmp_path, 1000), tmp_path / "small.safetensors"
    assert main([str(source), str(target)]) == 1
    assert "half precision moves a logit by" in capsys.readouterr().err and not target.exists()
