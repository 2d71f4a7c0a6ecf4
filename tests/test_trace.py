"""Which run made a number: a cell of a run's table, of its published copy and of 07's tables leads
to the run's record; runs that failed, changed or are missing are named."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest

from ich_study import manifest, trace
from ich_study.errors import StudyError
from ich_study.published import publish
from ich_study.schema import RESULT_COLUMNS

COMMITS = {"00_data": "c" * 40, "01_backbones/a": "a" * 40, "01_backbones/b": "b" * 40}


def result(method: str, value: float) -> pd.DataFrame:
    row = dict.fromkeys(RESULT_COLUMNS)
    row |= {"study": "01_backbones", "method": method, "class": "any", "metric": "auroc"}
    return pd.DataFrame([{**row, "dataset": "rsna/test", "value": value, "n": 3}])


def record(folder, **changes):
    """A run's record as the runner writes it."""
    name = folder.name if folder.name.startswith("0") else f"{folder.parent.name}/{folder.name}"
    content = {
        "status": "ok",
        "command": f"python -m ich_study.run {name}",
        "git": {"commit": COMMITS[name], "dirty": False},
        "parameters": {"output_dir": str(folder), "data_dir": str(folder.parents[1] / "00_data")},
        "hashes": {"data": {"rsna": "d" * 64}, "weights": {"trained": "e" * 64}},
        "outputs": manifest.outputs(folder, frozenset({"run.json"})),
    }
    (folder / "run.json").write_text(json.dumps({**content, **changes}))


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("ICH_STUDY_ROOT", str(tmp_path))
    folder = tmp_path / "runs"
    for name in COMMITS:
        (folder / name).mkdir(parents=True)
    summary = pd.DataFrame({"dataset": ["rsna"], "synthetic": [True]})
    summary.to_csv(folder / "00_data" / "summary.csv", index=False)
    for arm, value in (("a", 0.123456789), ("b", 0.9)):
        result(arm, value).to_csv(folder / "01_backbones" / arm / "metrics.csv", index=False)
    for name in COMMITS:
        record(folder / name)
    (folder / "07_figures").mkdir()
    table = pd.DataFrame({"method": ["a", "b"], "class": "any", "printed": "0.95"})
    table.to_csv(folder / "07_figures" / "table_1_lse_unet.csv", index=False)
    begun = {"status": "begun", "command": "python -m ich_study.run 07_figures"}
    (folder / "07_figures" / "run-failed.json").write_text(json.dumps(begun))
    return folder


def test_a_cell_names_its_run_and_what_that_read(runs, capsys):
    table = runs / "01_backbones" / "a" / "metrics.csv"
    assert trace.main([str(table), "1"]) == 0
    said = capsys.readouterr().out
    for words in ("a" * 40, "d" * 64, "e" * 64, "state: ok", "(data_dir), ok, commit " + "c" * 40):
        assert words in said
    assert "b" * 40 not in said and "0.123456789" in said


def test_a_row_of_07_finds_the_runs_of_its_numbers_in_the_published_copy_too(
    runs, tmp_path, capsys
):
    publish.publish_small(runs, runs / "07_figures", tmp_path / "figures")
    for root in (runs, tmp_path / "figures"):
        assert trace.main([str(root / "07_figures" / "table_1_lse_unet.csv"), "2"]) == 0
        said = capsys.readouterr().out
        assert "b" * 40 in said and "a" * 40 not in said
    published = tmp_path / "figures"
    assert set(trace.run_table(published)["state"]) == {"ok"}
    assert manifest.run_problem(published / "07_figures") is None
    number = pd.read_csv(published / "01_backbones" / "a" / "metrics.csv")["value"]
    assert number.tolist() == [0.12346]
    (published / "01_backbones" / "a" / "metrics.csv").write_text("edited")
    assert "changed since" in manifest.run_problem(published / "01_backbones" / "a")


def test_a_claim_finds_the_methods_of_both_sides(runs):
    claim = pd.Series({"study": "01_backbones", "left": "method=a", "right": "method=b"})
    found = trace.runs_of(runs / "07_figures" / "claims.csv", claim)
    assert [path.name for path in found] == ["07_figures", "a", "b"]
    difference = pd.Series({"first": "a", "second": "a"})
    table = runs / "07_figures" / "differences.csv"
    for numbers in (None, trace.numbers_below(runs)):  # read for one row, or once for many
        found = trace.runs_of(table, difference, numbers)
        assert [path.name for path in found] == ["07_figures", "a"]
    assert trace.study_of(table, claim) == trace.study_of(table, difference) == "01_backbones"
    proposed = runs / "07_figures" / "lse_unet_table_2.csv"
    assert trace.study_of(proposed, difference) == "02_lse_unet"


@pytest.mark.parametrize(
    ("table", "row", "says"),
    [("absent.csv", "1", "no table"), ("01_backbones/a/metrics.csv", "2", "rows 1 to 1")],
)
def test_what_is_not_there_is_exit_2(runs, capsys, table, row, says):
    assert trace.main([str(runs / table), row]) == 2
    assert says in capsys.readouterr().err


def test_runs_are_sound_there_and_of_one_data(runs):
    assert set(trace.check_runs(runs, ["00_data", "01_backbones"])["state"]) == {"ok"}
    (runs / "08_later").mkdir()
    (runs / "08_later" / "run-failed.json").write_text('{"status": "begun"}')
    assert set(trace.check_runs(runs, [])["state"]) == {"ok"}, "a later notebook is running"
    assert set(trace.run_folders(runs, later=True)) - set(trace.run_folders(runs)) == {
        runs / "07_figures",
        runs / "08_later",
    }
    with pytest.raises(StudyError, match="02_lse_unet: there is no run"):
        trace.check_runs(runs, ["02_lse_unet"])
    record(runs / "01_backbones" / "a", hashes={"data": {"rsna": "0" * 64}})
    table = trace.check_runs(runs, []).set_index("run")
    assert table["other_data"].to_dict()["01_backbones/a"] == "rsna"
    record(runs / "01_backbones" / "a", status="failed")
    with pytest.raises(StudyError, match=r"a/run\.json: the run is not finished.*'failed'"):
        trace.check_runs(runs, [])
    (runs / "01_backbones" / "a" / "run.json").unlink()
    table = trace.check_runs(runs, []).set_index("run")
    assert table["state"].to_dict()["01_backbones/a"] == "unrecorded"
    shutil.rmtree(runs / "01_backbones")
    with pytest.raises(StudyError, match="01_backbones: there is no run"):
        trace.check_runs(runs, ["01_backbones"])
