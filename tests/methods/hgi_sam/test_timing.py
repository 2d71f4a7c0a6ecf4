import time

import pytest
import torch

from ich_study.errors import ParameterError
from ich_study.evaluate.rows import Rows
from ich_study.methods.hgi_sam.segmentation_baselines import create_segmenter
from ich_study.methods.hgi_sam.swin import create_swin
from ich_study.methods.hgi_sam.timing import (
    method_calls,
    milliseconds_rows,
    milliseconds_table,
)
from ich_study.schema import result_table

CPU = torch.device("cpu")


def test_the_median_says_what_a_call_takes_and_which_is_slower():
    table = milliseconds_table(
        {"quick": lambda: time.sleep(0.002), "slow": lambda: time.sleep(0.012)}, 9, CPU
    ).set_index("method")
    assert (
        2 <= table.loc["quick", "milliseconds"] < table.loc["slow", "milliseconds"]
        and table.loc["slow", "milliseconds"] >= 12
    )
    assert (table["ci_low"] <= table["milliseconds"]).all() and (
        table["milliseconds"] <= table["ci_high"]
    ).all()
    rows = Rows("04_swin_hgi_sam", "fake")
    found = result_table(milliseconds_rows(table.reset_index(), rows, "printed"))
    assert found[["metric", "n", "unit"]].drop_duplicates().to_numpy().tolist() == [
        ["milliseconds", 9, "slice"]
    ]
    assert found["value"].tolist() == table["milliseconds"].tolist()
    with pytest.raises(ParameterError, match="at least 3"):
        milliseconds_table({"quick": lambda: None}, 2, CPU)


def test_every_method_of_the_paper_is_timed():
    options = {
        "img_size": 32,
        "patch_size": 2,
        "window_size": 4,
        "embed_dim": 8,
        "depths": [2, 2, 2, 2],
        "num_heads": [2, 2, 2, 2],
    }
    outputs = {"binary": 1, "multi_label": 6, "two_outputs": 2}
    models = {
        name: create_swin(count, options=options).model.eval() for name, count in outputs.items()
    }
    models["unet"] = create_segmenter("unet", 3, {"channels": [4, 8]}).model.eval()
    calls = method_calls(models, torch.randn(1, 3, 32, 32), "printed")
    assert list(calls) == [
        "swin_grad_cam",
        "swin_sam_multi_label",
        "swin_sam_binary",
        "swin_hgi_sam",
        "unet",
    ]
    assert calls["swin_hgi_sam"]()[0].shape == calls["unet"]().shape == (1, 32, 32)
    assert len(milliseconds_table(calls, 3, CPU)) == 5
