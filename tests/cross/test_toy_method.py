"""A sixth method is one row in ROOMS and one module with two functions."""

from __future__ import annotations

import json
import sys
import types

import torch

from ich_study.cross import measure
from ich_study.new_scan import apply
from tests.cross.fakes import SquareStore, method


def test_a_toy_method_enters_the_benchmark(tmp_path, monkeypatch):
    run = tmp_path / "toy"
    run.mkdir()
    (run / "run.json").write_text(
        json.dumps({"notebook": "10_toy", "status": "ok", "parameters": {}})
    )
    (run / "weights.bin").touch()
    room = types.ModuleType("ich_study.methods.toy.scan")
    room.recipes_of_run = lambda folder, parameters, every: [
        (folder / "weights.bin", method("bright").recipe)
    ]
    room.open_method = lambda path, recipe, device: method("bright")
    monkeypatch.setitem(sys.modules, "ich_study.methods.toy", types.ModuleType("toy"))
    monkeypatch.setitem(sys.modules, "ich_study.methods.toy.scan", room)
    monkeypatch.setitem(apply.ROOMS, "10_toy", "toy")
    opened = apply.open_methods([str(run)], torch.device("cpu"))
    store = SquareStore()
    entries = measure.measured(opened, store, store.truth(), 4.0, 0)
    assert [entry.name for entry in entries] == [
        "bright",
        "hu_threshold",
        "centred_blob",
        "random_map",
    ]
