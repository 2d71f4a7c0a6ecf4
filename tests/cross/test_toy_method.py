"""A sixth method is one row in ROOMS and one module with two functions: the how-to's own."""

from __future__ import annotations

import json
import sys
import types

import pandas as pd
import torch

from ich_study.cross import figures, measure, tables
from ich_study.evaluate.rows import Rows
from ich_study.new_scan import apply
from ich_study.schema import result_table
from tests.cross.fakes import SquareStore
from tests.test_readme import example, run

HEADING = "A method of your own in notebook 08"


def test_a_toy_method_goes_through_the_benchmark(tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    record = {"notebook": "10_mine", "status": "ok", "parameters": {}}
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "weights.pt").write_bytes(b"written by no training of this study")
    room = types.ModuleType("ich_study.methods.mine.scan")
    vars(room).update(run(example(HEADING, "python")))
    monkeypatch.setitem(sys.modules, "ich_study.methods.mine", types.ModuleType("mine"))
    monkeypatch.setitem(sys.modules, "ich_study.methods.mine.scan", room)
    monkeypatch.setitem(apply.ROOMS, "10_mine", "mine")
    opened = apply.open_methods([str(folder)], torch.device("cpu"))
    store = SquareStore()
    truth = store.truth()
    assert measure.check_unseen(opened, truth.rows) == ["brightness"]
    entries = measure.measured(opened, store, truth, 4.0, 0)
    scored = tables.score_all(entries, truth, 2, 0, tables.shown_slices(truth, 1))
    results = result_table(tables.result_rows(scored, truth, Rows("08", "squares", 50, 0)))
    cost = tables.cost_table(scored).assign(dataset="squares")
    choose = tables.choosing_table(results, cost).set_index("method")
    assert choose.index[0] == "brightness" and choose["dice, own threshold"].iloc[0] > 0.9
    rivals = ("hu_threshold", "centred_blob", "random_map")
    said = {"brightness": "not said", **dict.fromkeys(rivals, "nothing")}
    assert choose["learned from"].to_dict() == said


def test_a_star_marks_a_method_that_learned_from_the_same_data_set():
    row = {"dataset": "squares", "metric": "dice", "unit": "pixel", "class": "any"}
    values = {"home": 0.9, "abroad": 0.8, "silent": 0.7, "hu_threshold": 0.1}
    dice = pd.DataFrame([{**row, "method": name, "value": value} for name, value in values.items()])
    cost = pd.DataFrame({"dataset": "squares", "method": list(values)})
    cost = cost.assign(milliseconds=[3.0, 2.0, 1.0, float("nan")], rival=[False] * 3 + [True])
    learned = ["phe_sich (3), squares (5)", "more_squares (5)", "not said", "nothing"]
    for known, stars in ((cost.assign(**{"learned from": learned}), 1), (cost, 0)):
        figure = figures.quality_cost_figure(dice.assign(ci_low=0.0, ci_high=1.0), known, "toy")
        told = figure.axes[0].get_xlabel()
        assert told.count("home*:") == told.count("*  learned from other") == stars
        assert told.count("*") == 2 * stars and "abroad:" in told and "silent:" in told
