"""The command that turns published weights into a file for timm's networks, on synthetic files."""

import pytest
import timm
import torch

from ich_study.convert_weights import main
from ich_study.hashing import sha256_file
from ich_study.models.backbones import create_backbone
from ich_study.models.sources import read_source
from tests.models.test_conversions import as_published

SMALL = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}


def test_lite0(tmp_path, capsys):
    model = timm.create_model("tf_efficientnet_lite0", num_classes=3)
    torch.save(as_published(model), tmp_path / "in.pth")
    target = tmp_path / "out.safetensors"
    assert main(["lite0", str(tmp_path / "in.pth"), str(target)]) == 0
    assert sha256_file(target) in capsys.readouterr().out
    loaded = create_backbone("tf_efficientnet_lite0", 1, weights=f"file:{target}")
    assert torch.equal(loaded.model.conv_head.weight, model.conv_head.weight)
    assert loaded.input_std == (0.5, 0.5, 0.5)
    assert loaded.weights_licence is None, "of a file that nobody knows"


def test_a_resnet_of_ct_has_no_classifier_and_five_axes(tmp_path):
    flat = timm.create_model("resnet152", num_classes=0, **SMALL).state_dict()
    solid = {
        name: tensor[:, :, None].expand(-1, -1, 2, -1, -1) / 2 if tensor.ndim == 4 else tensor
        for name, tensor in flat.items()
    }
    torch.save({"state_dict": solid, "meta": {"layers": 152}}, tmp_path / "in.pt")
    target = tmp_path / "out.safetensors"
    assert main(["resnet152-ct", str(tmp_path / "in.pt"), str(target)]) == 0
    loaded = create_backbone("resnet152", 2, weights=f"file:{target}", options=SMALL)
    assert torch.allclose(loaded.model.conv1.weight, flat["conv1.weight"])
    assert loaded.model.fc.out_features == 2
    assert read_source(f"file:{target}").mean == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("name", ["gone.pth", "text.pth"])
def test_what_cannot_be_read_is_said_and_writes_nothing(tmp_path, capsys, name):
    (tmp_path / "text.pth").write_text("no weights")
    assert main(["lite0", str(tmp_path / name), str(tmp_path / "out.safetensors")]) == 1
    assert name in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()
