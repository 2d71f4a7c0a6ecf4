import pytest
import torch

from ich_study.errors import ParameterError, WeightsError
from ich_study.methods.hgi_sam.swin import PAPER_NETWORK, create_swin, swin_from_parent
from ich_study.models.backbones import create_backbone
from ich_study.models.weights import save_weights

TINY = {
    "img_size": 32,
    "patch_size": 2,
    "window_size": 4,
    "embed_dim": 8,
    "depths": [2, 2],
    "num_heads": [2, 2],
}


def saved(folder, outputs=1, **changes):
    swin = create_swin(outputs, options=TINY, seed=4)
    path = folder / "weights.safetensors"
    save_weights(path, swin.model, {"architecture": {**swin.describe(), **changes}})
    return swin, path


def test_the_papers_network_has_its_windows_heads_and_depths():
    with torch.device("meta"):
        import timm

        model = timm.create_model(PAPER_NETWORK, num_classes=2)
    stages = [[block.window_size[0] for block in stage.blocks] for stage in model.layers]
    tokens = [stage.output_resolution[0] for stage in model.layers]
    assert [len(stage) for stage in stages] == [2, 2, 18, 2] and {
        size for stage in stages for size in stage
    } == {12}
    assert tokens == [96, 48, 24, 12] and [
        stage.blocks[0].attn.num_heads for stage in model.layers
    ] == [4, 8, 16, 32]
    assert [stage.blocks[1].shift_size[0] for stage in model.layers] == [6, 6, 6, 0]


def test_the_child_has_the_parents_body_and_a_new_head(tmp_path):
    parent, path = saved(tmp_path)
    child = swin_from_parent(path, 2, seed=1)
    own = child.model.state_dict()
    assert (
        own["head.fc.weight"].shape[0] == child.outputs == 2 and child.weights_source == path.name
    )
    body = [name for name in own if not name.startswith("head.fc")]
    assert (
        all(torch.equal(own[name], parent.model.state_dict()[name]) for name in body)
        and len(body) == len(own) - 2
    )
    assert torch.equal(
        swin_from_parent(path, 2, seed=1).model.head.fc.weight, child.model.head.fc.weight
    )
    assert not torch.equal(
        swin_from_parent(path, 2, seed=2).model.head.fc.weight, child.model.head.fc.weight
    )
    assert all(weight.requires_grad for weight in child.model.parameters())
    assert torch.equal(swin_from_parent(path, 1).model.head.fc.weight, parent.model.head.fc.weight)


def test_head_only_freezes_the_body_and_says_so(tmp_path):
    _, path = saved(tmp_path)
    child = swin_from_parent(path, 2, trained="head")
    trained = [name for name, weight in child.model.named_parameters() if weight.requires_grad]
    assert trained == ["head.fc.weight", "head.fc.bias"] and child.describe()["trained"] == "head"


def test_checkpoints_of_other_networks_are_refused(tmp_path):
    _, path = saved(tmp_path, options={**TINY, "embed_dim": 16})
    with pytest.raises(WeightsError, match="of another shape"):
        swin_from_parent(path, 2)
    resnet = create_backbone("resnet10t", 1)
    save_weights(path, resnet.model, {"architecture": resnet.describe()})
    with pytest.raises(WeightsError, match="is a ResNet; expected a Swin"):
        swin_from_parent(path, 2)
    save_weights(path, resnet.model, {"other": 1})
    with pytest.raises(WeightsError, match="describes no network of this study"):
        swin_from_parent(path, 2)


def test_what_is_no_swin_of_pairs_is_refused():
    with pytest.raises(ParameterError, match="is a ResNet"):
        create_swin(1, name="resnet10t")
    with pytest.raises(ParameterError, match=r"\[2, 3\] blocks"):
        create_swin(1, options={**TINY, "depths": [2, 3]})
