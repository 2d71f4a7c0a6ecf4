import json
from dataclasses import asdict

import pandas as pd
import pytest
import torch

from ich_study.errors import WeightsError
from ich_study.evaluate.scan_methods import ScanRecipe, recipe_from
from ich_study.hashing import sha256_file
from ich_study.methods.mil.network import create_mil, published_preprocessing
from ich_study.methods.mil.peaks import Detector
from ich_study.models.weights import load_weights, read_metadata, save_weights, state_digest
from ich_study.new_scan.apply import SHIPPED, shipped
from tools import ship_weights
from tools.ship_weights import LARGEST, LARGEST_TOGETHER, compared, held_out, main, ship

RECORD = {
    "notebook": "05_mil_detector",
    "status": "ok",
    "git": {"commit": "c0ffee", "dirty": False},
    "hashes": {"data": {"phe_sich": "d" * 64}, "split": {"phe_sich": "5" * 64}},
    "parameters": {
        "variant": "printed",
        "test_part": "test",
        "data_dir": "no/such/run",
        "dataset": "phe_sich",
        "split": "phe_sich",
    },
}


@pytest.fixture
def run(tmp_path):
    network, grid = create_mil("printed", "max_pooling", blocks=1), published_preprocessing(32)
    described = {"architecture": network.describe(), "preprocessing": grid.describe()}
    folder = tmp_path / "run"
    save_weights(folder / "max_pooling" / "weights.safetensors", network.model, described)
    row = {"head": "max_pooling", **asdict(Detector(0.1, 0.5, 4, "printed", False))}
    pd.DataFrame([row]).to_csv(folder / "detectors.csv", index=False)
    named = {"method": "mil_max_pooling", "variant": "printed", "class": "any", "n": 15}
    numbers = [
        ("phe_sich/validation", "auroc", 0.9),
        ("phe_sich/test", "auroc", 0.8),
        ("phe_sich", "point_f1", 0.7),
    ]
    rows = []
    for dataset, metric, value in numbers:
        measured = {"value": value, "ci_low": value - 0.05, "ci_high": value + 0.05}
        rows.append({**named, "dataset": dataset, "metric": metric, **measured})
    pd.DataFrame(rows).to_csv(folder / "metrics.csv", index=False)
    (folder / "run.json").write_text(json.dumps(RECORD))
    return folder, network


def test_shipped_weights_are_those_of_the_run_with_its_recipe_and_a_card(run, tmp_path):
    folder, network = run
    (path,) = ship(str(folder), tmp_path / "weights")
    again = create_mil("printed", "max_pooling", seed=9, blocks=1)
    load_weights(path, again.model)
    assert state_digest(again.model) == state_digest(network.model)
    assert recipe_from(read_metadata(path), "file").thresholds == (0.5,)
    card = path.with_suffix(".md").read_text()
    for said in ("c0ffee", "5" * 64, "d" * 64, sha256_file(path), "CC BY 4.0", "must not be used"):
        assert said in card
    # held-out patients, not those of the validation part
    assert "| auroc | 0.800 | 0.750 to 0.850 | 15 |" in card and "0.900" not in card
    assert "| point_f1 | 0.700 |" in card


def test_a_card_takes_the_point_f1_that_08_measured_of_these_very_weights(run, tmp_path):
    folder, _ = run
    cross = tmp_path / "08"
    (path,) = ship(str(folder), tmp_path / "weights")
    rows = [("it_shipped", "phe_sich", 0.77), ("it", "phe_sich", 0.66), ("it_shipped", "bhx", 0.55)]
    table = pd.DataFrame(rows, columns=["method", "dataset", "value"])
    table = table.assign(metric="point_f1", ci_low=0.5, ci_high=0.8, n=15)
    cross.mkdir()
    pd.concat([table, table.assign(metric="auroc")]).to_csv(cross / "metrics.csv", index=False)
    weights = {"it": "0" * 64, "it_shipped": sha256_file(path)}
    (cross / "run.json").write_text(json.dumps({"hashes": {"weights": weights}}))
    assert compared(sha256_file(path), "phe_sich", cross)["value"].tolist() == [0.77]
    # of other weights it says nothing
    assert compared("f" * 64, "phe_sich", cross).empty


def test_the_card_of_a_run_without_point_f1_has_that_of_08(run, tmp_path, monkeypatch):
    folder, _ = run
    table = pd.read_csv(folder / "metrics.csv")
    table[table["metric"] != "point_f1"].to_csv(folder / "metrics.csv", index=False)
    row = pd.DataFrame(
        [{"metric": "point_f1", "value": 0.77, "ci_low": 0.5, "ci_high": 1, "n": 15}]
    )
    asked = []
    monkeypatch.setattr(ship_weights, "compared", lambda *known: asked.append(known) or row)
    (path,) = ship(str(folder), tmp_path / "weights")
    card = path.with_suffix(".md").read_text()
    assert "| auroc | 0.800 |" in card and "| point_f1 | 0.770 | 0.500 to 1.000 | 15 |" in card
    assert asked == [(sha256_file(path), "phe_sich")]


def test_half_precision_is_said_and_read_back_as_float32(run, tmp_path):
    folder, network = run
    sizes = {}
    for half in (False, True):
        (path,) = ship(str(folder), tmp_path / str(half), half=half)
        again = create_mil("printed", "max_pooling", seed=9, blocks=1)
        load_weights(path, again.model)
        sizes[half] = path.stat().st_size
        assert ("half precision" in path.with_suffix(".md").read_text()) == half
        pairs = zip(again.model.parameters(), network.model.parameters())
        for read, trained in pairs:
            assert read.dtype == torch.float32
            assert torch.equal(read, trained.half().float() if half else trained)
    assert sizes[True] < 0.7 * sizes[False]


@pytest.mark.parametrize(
    "change",
    [{"git": {"commit": "c0ffee", "dirty": True}}, {"hashes": {"data": {"rsna": "d" * 64}}}],
)
def test_weights_that_cannot_be_made_again_or_given_away_are_refused(run, tmp_path, change, capsys):
    folder, _ = run
    (folder / "run.json").write_text(json.dumps({**RECORD, **change}))
    with pytest.raises(WeightsError, match="openly licensed"):
        ship(str(folder), tmp_path / "weights")
    assert main([str(folder)]) == 1 and "openly licensed" in capsys.readouterr().err


def test_a_phantom_that_the_study_made_may_travel_and_the_card_says_so(run, tmp_path):
    folder, _ = run
    hashes = {"data": {"phe_sich": "d" * 64, "rsna": "e" * 64}, "split": {"phe_sich": "5" * 64}}
    hashes["split"]["mine"] = "6" * 64
    own = {
        **RECORD["parameters"],
        "data_dir": str(tmp_path / "data"),
        "train_with": {"rsna": "mine"},
    }
    (folder / "run.json").write_text(json.dumps({**RECORD, "hashes": hashes, "parameters": own}))
    (tmp_path / "data").mkdir()
    made = pd.DataFrame({"dataset": ["phe_sich", "rsna"], "synthetic": [False, True]})
    made.to_csv(tmp_path / "data" / "summary.csv", index=False)
    (path,) = ship(str(folder), tmp_path / "weights")
    card = path.with_suffix(".md").read_text()
    for said in ("CC BY 4.0", "synthetic phantom", "e" * 64, "6" * 64, "synthetic ones alone"):
        assert said in card
    # real RSNA has no licence that allows it
    made.assign(synthetic=False).to_csv(tmp_path / "data" / "summary.csv", index=False)
    with pytest.raises(WeightsError, match="rsna"):
        ship(str(folder), tmp_path / "weights")


def test_what_travels_is_small_and_has_its_card():
    sizes = [(SHIPPED / f"{name}.safetensors").stat().st_size for name in shipped()]
    assert max(sizes) <= LARGEST and sum(sizes) <= LARGEST_TOGETHER
    for name in shipped():
        card = (SHIPPED / f"{name}.md").read_text()
        assert sha256_file(SHIPPED / f"{name}.safetensors") in card
        assert "95 % interval" in card and "| point" in card


def test_a_card_of_hgi_sam_takes_the_whole_test_set_and_no_stage_or_fold():
    columns = ["dataset", "method", "variant", "class", "layer", "metric", "value"]
    rows = [
        ("phe_sich/fold_1", "swin_hgi_sam", "printed", "any", None, "auroc", 0.1),
        ("phe_sich", "swin_hgi_sam", "printed", "any", "stage 1", "pointing_game", 0.2),
        ("phe_sich", "swin_hgi_sam", "printed", "any", None, "pointing_game", 0.9),
        ("phe_sich", "swin_hgi_sam", "printed", "any", None, "auroc", 0.8),
        ("phe_sich", "swin_sam_binary", "printed", "any", None, "auroc", 0.3),
    ]
    recipe = ScanRecipe("hgi_sam", "swin_hgi_sam", "printed", ("any",), (0.5,), (0.5,), "labels")
    table = held_out(pd.DataFrame(rows, columns=columns), recipe, "phe_sich", "test")
    assert table["value"].tolist() == [0.9, 0.8]
