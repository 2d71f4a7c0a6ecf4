"""Digests of the smoke study: a number that moves is seen on the machine they were made on, and on
another what does not depend on the processor is."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from ich_study.atomic import write_csv
from ich_study.schema import result_table
from tools import digests

ROOT = Path(__file__).resolve().parents[2]


def scores(value=0.25, method="lse_unet", metric="dice"):
    row = {"study": "000", "method": method, "metric": metric, "unit": "pixel", "value": value}
    return result_table([{**row, "dataset": "rsna", "class": "any", "n": 8}])


@pytest.fixture
def study(tmp_path):
    """Digests written of a small study, and a function that compares a changed one with them."""
    runs, committed = tmp_path / "runs", tmp_path / "digests.json"
    write_csv(runs / "02" / "metrics.csv", scores())
    write_csv(runs / "00_data" / "lesions.csv", pd.DataFrame({"volume_ml": [1.5]}))
    write_csv(runs / "02" / "history.csv", pd.DataFrame({"loss": [0.5], "seconds": [3.0]}))
    assert digests.main(["--write", "--runs", str(runs), "--file", str(committed)]) == 0

    def compare(*flags, **tables):
        for name, table in tables.items():
            write_csv(runs / "02" / f"{name}.csv", table)
        return digests.main(["--runs", str(runs), "--file", str(committed), *flags])

    return compare, committed


def on_another_machine(committed):
    content = json.loads(committed.read_text())
    content["machine"]["instructions"] = "another"
    committed.write_text(json.dumps(content))


def test_the_study_they_were_written_of_agrees(study, capsys):
    compare, _ = study
    assert compare("--exact", history=pd.DataFrame({"loss": [0.5], "seconds": [9.0]})) == 0
    assert "3 tables, their content compared with digests.json" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "line", "form_moved"),
    [
        ({"metrics": scores(value=0.2500001)}, "content moved: 02/metrics.csv", False),
        ({"history": pd.DataFrame({"loss": [0.6]})}, "content moved: 02/history.csv", False),
        ({"metrics": scores(metric="iou")}, "content moved: 02/metrics.csv", True),
        ({"metrics": scores(method="swin_sam")}, "headline moved: 02/metrics.csv", True),
        ({"history": pd.DataFrame({"loss": [0.5], "rate": [1]})}, "moved: 02/history.csv", True),
        ({"extra": scores()}, "new: 02/extra.csv", True),
        ({"metrics": scores(value=-0.25)}, "headline moved: 02/metrics.csv: rsna | lse_unet", True),
        ({"metrics": scores(value=0.35)}, "content moved: 02/metrics.csv", False),
    ],
)
def test_exactly_every_number_counts_and_else_what_was_measured_and_headlines(
    study, capsys, change, line, form_moved
):
    compare, _ = study
    assert compare("--exact", **change) == 1
    said = capsys.readouterr().out
    assert line in said and "make digests" in said
    assert compare() == form_moved


def test_splits_are_the_same_on_every_machine(study, tmp_path, capsys):
    split = tmp_path / "runs" / "00_data" / "splits" / "rsna.csv"
    arguments = ["--runs", str(tmp_path / "runs"), "--file", str(tmp_path / "digests.json")]
    write_csv(split, pd.DataFrame({"patient_id": ["p1"], "part": ["train"]}))
    assert digests.main(["--write", *arguments]) == digests.main(arguments) == 0
    write_csv(split, pd.DataFrame({"patient_id": ["p1"], "part": ["test"]}))
    assert digests.main(arguments) == 1
    assert "content moved: 00_data/splits/rsna.csv" in capsys.readouterr().out


def test_on_another_machine_an_exact_comparison_says_so(study, capsys):
    compare, committed = study
    on_another_machine(committed)
    assert compare() == compare("--exact") == 0
    assert capsys.readouterr().out.count("the digests were written on") == 1


def test_a_table_that_is_gone_is_named(study, tmp_path, capsys):
    compare, _ = study
    (tmp_path / "runs" / "02" / "history.csv").unlink()
    assert compare() == 1
    assert "missing: 02/history.csv" in capsys.readouterr().out


def test_no_runs_and_no_digests_are_errors(tmp_path, capsys):
    assert digests.main(["--write", "--runs", str(tmp_path / "runs")]) == 2
    assert digests.main(["--file", str(tmp_path / "none.json")]) == 2
    assert capsys.readouterr().err.count("error: ") == 2


def test_the_committed_digests_are_of_every_notebook():
    tables = json.loads(digests.COMMITTED.read_text())["tables"]
    notebooks = {path.stem for path in (ROOT / "params" / "smoke").glob("*.yaml")}
    assert {name.split("/")[0] for name in tables} == notebooks - {"resources"}


def test_the_committed_headlines_are_of_every_notebook_that_measures():
    tables = json.loads(digests.COMMITTED.read_text())["tables"]
    found = {name.split("/")[0] for name, table in tables.items() if table["headlines"]}
    silent = {"07_figures", "09_new_scan", "resources"}
    assert found == {path.stem for path in (ROOT / "params" / "smoke").glob("*.yaml")} - silent


def test_ci_compares_them_after_the_smoke_study():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    targets = [line.split()[1] for line in lines if line.startswith("make ")]
    assert targets == ["test", "smoke", "check-digests"]
