"""The report of a small study: what stands in it, that a number leads to its run, that every link
leads to a file, and that nothing comes from a network."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from matplotlib.figure import Figure
from nbformat import v4

from ich_study import manifest
from ich_study.published.claims import verdicts
from ich_study.schema import RESULT_COLUMNS
from tools.report import __main__ as report

COMMITS = {"00_data": "c", "01_backbones/a": "a", "01_backbones/b": "b", "02_lse_unet": "e"}
LATER = {"07_figures": "7", "08_cross_benchmark": "8"}
LABEL = "synthetic phantom, toy size"


def metrics(study: str, method: str, **more: object) -> pd.DataFrame:
    row = dict.fromkeys(RESULT_COLUMNS)
    row |= {"study": study, "method": method, "class": "any", "metric": "auroc", "seed": 1}
    return pd.DataFrame([{**row, "dataset": "rsna/test", "value": 0.5, "n": 30, **more}])


def finish(runs: Path, name: str, letter: str, status: str = "ok") -> None:
    """The executed notebook of a run and its record, as the runner leaves them."""
    folder = runs / name
    folder.mkdir(parents=True, exist_ok=True)
    study = name.split("/")[0]
    cells = [v4.new_markdown_cell(f"# {study}\n\n$x$"), v4.new_code_cell("1")]
    nbformat.write(v4.new_notebook(cells=cells), folder / f"{study}.ipynb")
    record = {
        "status": status,
        "command": f"python -m ich_study.run {study}",
        "started": "2026-01-02T03:04:05+00:00",
        "seconds": 60.0,
        "git": {"commit": letter * 40, "dirty": False},
        "parameters": {"data_dir": str(runs / "00_data"), "data_label": LABEL, "seed": 17},
        "hashes": {"data": {"rsna": "d" * 64}, "weights": {"trained": letter * 64}},
        "outputs": manifest.outputs(folder, frozenset({"run.json"})),
    }
    (folder / "run.json").write_text(json.dumps(record))


def toy_runs(root: Path, later: bool = True, synthetic: bool = True) -> Path:
    runs = root / "runs" / "toy"
    for name in (*COMMITS, *(LATER if later else ())):
        (runs / name).mkdir(parents=True)
    summary = pd.DataFrame({"dataset": ["rsna"], "synthetic": [synthetic]})
    summary.to_csv(runs / "00_data" / "summary.csv", index=False)
    for name in COMMITS:
        study, _, arm = name.partition("/")
        if study != "00_data":
            metrics(study, arm or "lse_unet").to_csv(runs / name / "metrics.csv", index=False)
    if later:
        figures, cross = runs / "07_figures", runs / "08_cross_benchmark"
        columns = ("row", "column", "reading", "printed", "ours", "difference", "study", "method")
        cells = [
            ("A", "any", "ours", "0.95", "0.500", "-0.45", "01_backbones", "a"),
            ("B", "any", "ours", "0.95", "0.600", "-0.35", "01_backbones", "b"),
            ("A", "SDH", "ours", "0.95", "", "", "", ""),
            ("Ours", "any", "ours", "0.96", "0.700", "-0.26", "02_lse_unet", "lse_unet"),
        ]
        table = pd.DataFrame(cells, columns=columns)
        table.to_csv(figures / "lse_unet_table_1_long.csv", index=False)
        measured = [metrics("01_backbones", each) for each in ("a", "b")]
        ledger = verdicts(pd.concat(measured), synthetic=True)
        decided = ledger["study"].eq("02_lse_unet").idxmax()
        ledger.loc[decided, ["verdict", "sentence"]] = ["supported", "It finds <all> of them."]
        ledger.to_csv(figures / "claims.csv", index=False)
        choose = pd.DataFrame({"dataset": ["rsna"], "method": ["lse_unet"], "dice": [0.12345]})
        choose.to_csv(cross / "choose.csv", index=False)
        Figure().savefig(cross / "quality_cost.png", dpi=10)
        metrics("08_cross_benchmark", "lse_unet").to_csv(cross / "metrics.csv", index=False)
    for name, letter in {**COMMITS, **(LATER if later else {})}.items():
        finish(runs, name, letter)
    return runs


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("study")
    report.build(toy_runs(root), root / "report")
    # it can be moved
    return Path(shutil.move(root / "report", tmp_path_factory.mktemp("moved") / "report"))


def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def test_every_link_leads_to_a_file_and_every_anchor_to_its_place(written):
    wrong, seen = [], 0
    for page in written.rglob("*.html"):
        found = soup(page)
        for tag in found.find_all(href=True) + found.find_all(src=True):
            url = tag.get("href") or tag.get("src")
            if url.startswith("data:image/") or (tag.name == "a" and url.startswith("http")):
                continue
            name, _, anchor = url.partition("#")
            target = (page.parent / name).resolve() if name else page
            seen += 1
            there = target.is_file() and target.is_relative_to(written)
            if not there or (anchor and soup(target).find(id=anchor) is None):
                wrong.append((page.name, url))
    assert seen > 100
    assert wrong == []


def test_the_choice_names_methods_as_its_picture_does(written):
    figure = soup(written / "index.html").find("h2", id="choice").find_next("table")
    assert [cell.text for cell in figure.find_all("td")][:3] == ["RSNA", "LSE-UNet", "0.123"]


def test_nothing_is_loaded_from_a_network(written):
    for page in written.rglob("*.html"):
        found = soup(page)
        for name, attribute in (("link", "href"), ("script", "src"), ("img", "src")):
            for tag in found.find_all(name, attrs={attribute: True}):
                assert not re.match(r"(https?:)?//", tag[attribute]), (page, tag)
        assert found.find("iframe") is None
    style = (written / "style.css").read_text()
    assert "url(" not in style and "@import" not in style
    assert "prefers-color-scheme: dark" in style


def row_of(page: BeautifulSoup, *words: str) -> BeautifulSoup:
    rows = [row for row in page.find_all("tr") if {*words} <= {*row.stripped_strings}]
    assert len(rows) == 1
    return rows[0]


@pytest.mark.parametrize(
    ("words", "run", "letter"),
    [
        (("A", "0.95", "0.500"), "01_backbones/a", "a"),
        (("B", "0.95", "0.600"), "01_backbones/b", "b"),
        (("Ours", "0.96", "0.700"), "02_lse_unet", "e"),
    ],
)
def test_a_number_beside_a_printed_one_leads_to_its_run(written, words, run, letter):
    paper = written / "papers" / "lse_unet.html"
    links = row_of(soup(paper), *words).find_all("a")
    assert [link.text for link in links] == [run]
    text = (paper.parent / links[0]["href"]).read_text()
    for expected in (letter * 40, "d" * 64, letter * 64, "data_dir", "17"):
        assert expected in text
    for other in set("abe") - {letter}:
        assert other * 40 not in text


def test_a_printed_cell_without_a_number_is_left_out_and_counted(written):
    text = soup(written / "papers" / "lse_unet.html").text
    assert "SDH" not in text and "with 1 printed cells" in " ".join(text.split())


def test_the_first_page_goes_from_verdicts_to_choice_papers_runs_and_documents(written):
    page = soup(written / "index.html")
    order = [tag["id"] for tag in page.find_all("h2")]
    assert order == ["verdicts", "choice", "papers", "runs", "documents"]
    assert LABEL in page.h1.text and "synthetic phantom" in page.title.text
    claim = page.find("article")
    assert claim.find(class_="verdict").text == "supported"
    assert claim.blockquote.text == "It finds <all> of them."
    assert claim.a["href"] == "runs/02_lse_unet.html"
    assert row_of(page, "RSNA", "0.123").a["href"] == "runs/08_cross_benchmark.html"
    assert page.find("img")["src"] == "pictures/quality_cost.png"
    assert "All ended well" in page.text and "the verdicts nothing about the papers" in page.text
    assert page.find("h3", id="02_lse_unet").text.startswith("02 · LSE-UNet: "), "in words"
    record = soup(written / "runs" / "02_lse_unet.html")
    assert record.find("a", string="00_data")["href"] == "00_data.html"


def test_what_has_not_run_is_said_and_a_run_that_failed_is_named(tmp_path):
    runs = toy_runs(tmp_path, later=False, synthetic=False)
    finish(runs, "02_lse_unet", "e", status="failed")
    (runs / "01_backbones" / "a" / "metrics.csv").write_text("edited")
    text = soup(report.build(runs, tmp_path / "report")).text
    assert "no verdicts" in text and "no figure" in text and "real scans" in text
    assert "2 of them did not end well" in text and "All numbers" not in text
    assert "02_lse_unet/run.json: the run is not finished, its status is 'failed'" in text
    assert "01_backbones/a/run.json: changed since the run: metrics.csv" in text
    assert str(tmp_path) not in text


def test_without_a_run_it_says_what_to_do(tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    assert report.main([str(tmp_path / "runs"), "--target", str(tmp_path / "report")]) == 2
    assert "no run to report on; run the study first" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_it_replaces_a_report_and_nothing_else(tmp_path, capsys):
    runs, target = toy_runs(tmp_path, later=False), tmp_path / "report"
    target.mkdir()
    (target / "thesis.txt").write_text("mine")
    assert report.main([str(runs), "--target", str(target)]) == 2
    assert "holds other files" in capsys.readouterr().err
    (target / "thesis.txt").unlink()
    assert report.main([str(runs), "--target", str(target)]) == 0
    (target / "runs" / "stale.html").touch()
    assert report.main([str(runs), "--target", str(target)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"report: {target / 'index.html'}"
    assert not (target / "runs" / "stale.html").exists()
    assert target.stat().st_mode & 0o777 == 0o755  # a colleague may read it
