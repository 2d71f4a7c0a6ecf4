import time

import pytest
import torch

from ich_study.errors import ParameterError
from ich_study.methods.hgi_sam import timing
from ich_study.methods.hgi_sam.segmentation_baselines import create_segmenter
from ich_study.methods.hgi_sam.swin import create_swin
from ich_study.methods.hgi_sam.timing import (
    method_calls,
    milliseconds_rows,
    milliseconds_table,
    slice_input,
)
from ich_study.schema import result_table
from tests.training.fakes import config, fake_store

CPU = torch.device("cpu")
STORE = fake_store(patients=2)
PREPROCESSING = config(size=48).preprocessing()


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
    rows = result_table(
        milliseconds_rows(table.reset_index(), {"study": "04_swin_hgi_sam", "class": "any"})
    )
    assert rows["metric"].unique().tolist() == ["milliseconds"] and rows["n"].tolist() == [9, 9]
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
    assert calls["swin_hgi_sam"]().fused.shape == (1, 32, 32) and calls["unet"]().shape == (
        1,
        32,
        32,
    )
    assert len(milliseconds_table(calls, 3, CPU)) == 5


def test_a_method_is_timed_on_the_network_that_it_explains(monkeypatch):
    seen = {}
    for name in ("swin_grad_cam", "swin_sam", "hgi_sam"):

        def note(model, *arguments, name=name, **settings):
            seen.setdefault(name, []).append((model, *arguments[1:]))

        monkeypatch.setattr(timing, name, note)
    models = {name: name for name in ("binary", "multi_label", "two_outputs")}
    for call in method_calls(models, torch.zeros(1, 3, 32, 32), "printed").values():
        call()
    assert seen == {
        "swin_grad_cam": [("two_outputs", 1)],
        "swin_sam": [("multi_label",), ("binary",)],
        "hgi_sam": [("two_outputs", 1)],
    }


def test_the_positive_slice_is_timed():
    rows = STORE.index.assign(any=False)
    first = PREPROCESSING.inputs(torch.from_numpy(STORE.volume("fake-scan000")[:1])[None])
    assert torch.equal(slice_input(STORE, rows, PREPROCESSING, CPU), first)
    rows.loc[rows.index[5], "any"] = True
    fifth = PREPROCESSING.inputs(torch.from_numpy(STORE.volume("fake-scan000")[5:6])[None])
    assert torch.equal(slice_input(STORE, rows, PREPROCESSING, CPU), fifth)
