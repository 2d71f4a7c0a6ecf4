"""Papermill, called directly, tells of our parameters what our own command tells."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from nbformat import NotebookNode
from papermill.translators import papermill_translators

from ich_study.params import declared
from ich_study.run.papermill_plugin import WholeParameters

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def inspected(source):
    found = WholeParameters.inspect(NotebookNode(source=source))
    return [(each.name, each.inferred_type_name, each.default, each.help) for each in found]


def test_a_union_and_a_comment_above_are_read():
    source = "# slices to show\n# at most\ncount: int | None = None\nseed: int = 1  # of all"
    assert inspected(source) == [
        ("count", "int | None", "None", "slices to show at most"),
        ("seed", "int", "1", "of all"),
    ]


def test_a_cell_of_another_form_is_read_as_papermill_reads_it():
    source = "import os\nsize = 3  # of it\n"
    found = [(each.name, each.default) for each in papermill_default(source)]
    assert (
        [(name, default) for name, _, default, _ in inspected(source)] == found == [("size", "3")]
    )


def papermill_default(source):
    return super(WholeParameters, WholeParameters).inspect(NotebookNode(source=source))


def test_papermill_itself_finds_the_plugin_and_every_parameter():
    notebook = NOTEBOOKS / "02_lse_unet.ipynb"
    command = [sys.executable, "-m", "papermill", "--help-notebook", str(notebook)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for name, parameter in declared(notebook).items():
        assert f"  {name}: {parameter.annotation} (default" in said
    assert "A run of 01_backbones whose classifier becomes the encoder" in said
    assert papermill_translators.find_translator("python3", "python") is WholeParameters
