import numpy as np
import pandas as pd
import pytest
import torch

from ich_study.evaluate.scan_methods import OneScan
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.methods.hgi_sam.attention_maps import HGI_VARIANTS, hgi_sam
from ich_study.methods.hgi_sam.scan import open_method, recipes_of_run
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
    ((found, recipe),) = recipes_of_run(tmp_path, {"variant": "printed"}).items()
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
