import numpy as np
import pandas as pd
import pytest
import torch

from ich_study.evaluate.scan_methods import OneScan
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.methods.hgi_sam.attention_maps import HGI_VARIANTS, hgi_sam, swin_grad_cam, swin_sam
from ich_study.methods.hgi_sam.scan import open_method, recipes_of_run
from ich_study.methods.hgi_sam.segmentation_baselines import create_segmenter
from ich_study.methods.hgi_sam.swin import create_swin
from ich_study.models.weights import save_weights
from tests.new_scan.heads import head

OPTIONS = {
    "img_size": 64,
    "window_size": 4,
    "embed_dim": 8,
    "depths": [2, 2, 2, 2],
    "num_heads": [2, 2, 2, 2],
}


def test_a_run_gives_the_threshold_without_masks_and_its_heat_in_the_brain(tmp_path):
    network = create_swin(2, 3, options=OPTIONS, seed=2)
    grid = Preprocessing(("brain",), "fixed", 1, 64, "none", (0.5,), (0.5,))
    described = {"architecture": network.describe(), "preprocessing": grid.describe()}
    path = tmp_path / "two_outputs" / "all" / "weights.safetensors"
    save_weights(path, network.model, {**described, "classes": ["any"], "two_outputs": True})
    rows = [
        ("0", 0.9, "masks-validation", "swin_hgi_sam"),
        ("", 0.2, "labels", "swin_sam_binary"),
        ("", 0.3, "labels", "swin_hgi_sam"),
    ]
    table = pd.DataFrame(rows, columns=["fold", "threshold", "threshold_source", "method"])
    table.to_csv(tmp_path / "thresholds.csv", index=False)
    ((found, recipe),) = recipes_of_run(tmp_path, {"variant": "printed"})
    assert found == path and recipe.thresholds == (0.3,) and recipe.source == "labels"
    hu, _ = head(10)  # more slices than a batch holds
    scan = OneScan("scan", hu, (3.0, 2.8))
    said = open_method(path, recipe, torch.device("cpu")).say(scan)
    heat = said.heat.read(slice(None))[:, 0]
    assert not heat[~scan.brain].any() and heat.max() == pytest.approx(1, abs=1e-5)
    inputs = grid.inputs(torch.from_numpy(hu)[9:, None])
    inside = torch.from_numpy(scan.brain[9:])
    alone = hgi_sam(network.model.eval(), inputs, 1, inside, HGI_VARIANTS["printed"])
    assert heat[9:] == pytest.approx(alone.fused.detach().numpy(), abs=1e-4)
    logits = network.model(inputs).detach().numpy()
    expected = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    assert said.probability[9:, 0] == pytest.approx(expected, abs=1e-4)


def test_every_method_of_table_1_with_its_own_network_and_threshold(tmp_path):
    grid = Preprocessing(("brain",), "fixed", 1, 64, "none", (0.5,), (0.5,))
    swins = {}
    for seed, (name, classes, two) in enumerate(
        [
            ("binary", ["any"], False),
            ("multi_label", ["IPH", "any"], False),
            ("two_outputs", ["any"], True),
        ]
    ):
        network = swins[name] = create_swin(
            2 if two else len(classes), 3, options=OPTIONS, seed=seed
        )
        place = tmp_path / name / ("all" if two else "")
        described = {"architecture": network.describe(), "preprocessing": grid.describe()}
        metadata = {**described, "classes": classes, "two_outputs": two}
        save_weights(place / "weights.safetensors", network.model, metadata)
    unet = create_segmenter("unet", 3, {"channels": [4, 8]}, 3)
    described = {"architecture": unet.describe(), "preprocessing": grid.describe()}
    save_weights(tmp_path / "unet_fold0" / "weights.safetensors", unet.model, described)
    methods = ("swin_grad_cam", "swin_sam_multi_label", "swin_sam_binary", "swin_hgi_sam")
    rows = [("", 0.1 * (number + 1), "labels", name) for number, name in enumerate(methods)]
    columns = ["fold", "threshold", "threshold_source", "method"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "thresholds.csv", index=False)
    parameters = {"variant": "printed", "supervised_networks": {"unet": {}, "swin_unetr": {}}}
    found = {r.name: (path, r) for path, r in recipes_of_run(tmp_path, parameters, every=True)}
    assert list(found) == [*methods, "supervised_unet"]  # no Swin-UNETR was trained
    assert found["swin_sam_multi_label"][1].thresholds == (0.2,)
    hu, _ = head(3)
    scan = OneScan("scan", hu, (3.0, 2.8))
    said = {}
    for name, (path, recipe) in found.items():
        answer = open_method(path, recipe, torch.device("cpu")).say(scan)
        said[name] = answer.heat.read(slice(None))[:, 0], answer.probability[:, 0]
    inputs, inside = grid.inputs(torch.from_numpy(hu)[:, None]), torch.from_numpy(scan.brain)
    multi = swin_sam(swins["multi_label"].model.eval(), inputs, inside)
    assert said["swin_sam_multi_label"][0] == pytest.approx(multi.fused.detach().numpy(), abs=1e-4)
    called = multi.logits[:, 1].sigmoid().detach().numpy()  # of `any`, the second output
    assert said["swin_sam_multi_label"][1] == pytest.approx(called, abs=1e-4)
    cam, _ = swin_grad_cam(swins["two_outputs"].model.eval(), inputs, 1, inside)
    assert said["swin_grad_cam"][0] == pytest.approx(cam.detach().numpy(), abs=1e-4)
    with torch.no_grad():
        blood = unet.model.eval()(inputs).softmax(1)[:, 1].numpy()
    assert said["supervised_unet"][0] == pytest.approx(blood, abs=1e-4)
    assert said["supervised_unet"][1] == pytest.approx(blood.max((1, 2)), abs=1e-4)
