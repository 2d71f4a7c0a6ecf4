"""The committed page of parameters is what the notebooks and the models of settings say."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbformat import v4

from ich_study.datasets import READERS
from tools.parameters import PAGE, page

ROOT = Path(__file__).resolve().parents[2]
CELL = """\
output_dir: str  # where it goes
limit: int | None = None  # {name: value}; null: all
# How it is trained: settings of ich_study.methods.resnet_lstm.settings.LSTMSettings
lstm: dict = {"hidden": 8}
"""


def test_the_committed_page_is_current():
    written = page(sorted((ROOT / "notebooks").glob("*.ipynb")))
    committed = (ROOT / PAGE).read_text(encoding="utf-8")
    assert committed == written, f"{PAGE} is older than its sources: python -m tools.parameters"


def test_a_parameter_and_a_setting_say_type_default_range_and_meaning(tmp_path):
    cell = v4.new_code_cell(CELL, metadata={"tags": ["parameters"]})
    nbformat.write(v4.new_notebook(cells=[cell]), tmp_path / "01_toy.ipynb")
    lines = page([tmp_path / "01_toy.ipynb"]).splitlines()
    for line in (
        "## 01_toy",
        "| `output_dir` | `str` | required | where it goes |",
        "| `limit` | `int \\| None` | `null` | {name: value}; null: all |",
        "| `lstm` | `dict` | `{hidden: 8}` | How it is trained: settings of"
        " [LSTMSettings](#lstmsettings) |",
        "### LSTMSettings",
        "| `hidden` | `int`, > 0 | `256` | units per direction |",
    ):
        assert line in lines


def test_each_option_of_a_reader_says_what_it_means():
    options = page([]).split("## Options of readers", 1)[1]
    rows = [line for line in options.splitlines() if line.startswith("| `")]
    assert (
        "| `require_masks` | `bool` | `true` | False reads a part that has no label folder, with"
        " masks and labels unknown. |" in rows
    )
    assert "| `skip_bad` | `bool` | `false` | damaged files are left out and noted. |" in rows
    assert all(line.count(" | ") >= 3 and not line.endswith("|  |") for line in rows)
    assert [f"### {dataset}" in options for dataset in READERS] == [True] * len(READERS)
