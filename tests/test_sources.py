"""What makes a stage: editing a module moves the marks of what it makes, and of nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest

from ich_study import sources
from tests.store import fake_reader

ROOT = Path(__file__).resolve().parents[1]
STORE = ("ich_study.datasets.bhsd", "ich_study.store.record")
TRAINING = ("ich_study.training.loop", "ich_study.training.learner", "ich_study.models.backbones")


def forget() -> None:
    for each in (sources.modules, sources._tree, sources.imported, sources._syntax_hash):
        each.cache_clear()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package, which a test may edit; returns a function that adds a line."""
    copy = tmp_path / "ich_study"
    shutil.copytree(ROOT / "ich_study", copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(sources, "PACKAGE", copy)
    forget()

    def edit(name: str, text: str) -> None:
        with (copy / name).open("a") as stream:
            stream.write(text)

    yield edit
    forget()


def moved(before: dict[str, str], after: dict[str, str]) -> set[str]:
    assert before.keys() == after.keys()
    return {name.removeprefix("ich_study/") for name in before if before[name] != after[name]}


def test_an_edit_moves_what_it_makes_and_nothing_else(package):
    def marks() -> list[dict[str, str]]:
        return [
            sources.code_marks(STORE),
            sources.code_marks(TRAINING),
            sources.code_marks(TRAINING, exact=False),
        ]

    before = marks()
    for name in ("datasets/nifti.py", "integrity/scan.py", "training/losses.py", "errors.py"):
        package(name, "\nCHANGED = 1\n")
    for name in ("figures/style.py", "datasets/rsna.py", "methods/mil/peaks.py"):
        package(name, "\nCHANGED = 1\n")
    package("training/task.py", '\n# a remark\n"""and a text that stands alone"""\n')
    forget()
    store, training, training_syntax = map(moved, before, marks())
    assert store == {"datasets/nifti.py", "integrity/scan.py", "errors.py"}
    assert training == {"training/losses.py", "errors.py", "training/task.py"}
    assert training_syntax == {"training/losses.py", "errors.py"}, "a comment costs a training"


def test_names_that_a_module_puts_together_are_imports_too():
    readers = sources.made_by(["ich_study.datasets"])
    assert {"ich_study.datasets.bhsd", "ich_study.datasets.nifti", "nibabel"} <= readers
    rooms = sources.imported("ich_study.new_scan.apply")
    assert {"ich_study.methods.mil.scan", "ich_study.methods.cams.scan"} <= rooms
    charts = sources.notebook_imports(sources.PACKAGE.parent / "notebooks" / "07_figures.ipynb")
    assert {"ich_study.methods.cams.figures", "ich_study.cross.figures"} <= charts
    assert "ich_study.methods.mil.study" not in rooms


def test_a_name_that_a_package_passes_on_is_its_own_modules():
    found = sources.imports_of("from ich_study.store import Store\nfrom ich_study import ct\n")
    assert found == {"ich_study.store.read", "ich_study.ct"}
    assert "ich_study.store.build" not in sources.made_by(found)


def test_tables_and_versions_are_marks_too():
    marks = sources.code_marks(["ich_study.published.claims"])
    assert marks["ich_study/published/claims.csv"] and marks["numpy"].count(".") == 2
    dicom = sources.code_marks(["ich_study.datasets.dicom_series"])
    assert dicom["python-gdcm"] != "absent", "DICOM is decoded by it, though nobody imports it"


def test_a_room_is_left_out_with_what_it_alone_imports():
    start = ["ich_study.figures.style", "ich_study.hashing"]
    assert "matplotlib" in sources.made_by(start)
    kept = sources.made_by(start, without=sources.DRAWS)
    assert "ich_study.hashing" in kept and "matplotlib" not in kept


def test_a_module_of_ones_own_is_hashed_as_a_file():
    assert fake_reader
    assert len(sources.code_marks(["tests.store.fake_reader"])["tests.store.fake_reader"]) == 16
    assert sources.code_marks(["no_such_module"])["no_such_module"] == "unknown"


def test_a_notebook_imports_what_its_code_cells_say(tmp_path):
    cells = [
        nbformat.v4.new_markdown_cell("import nothing"),
        nbformat.v4.new_code_cell("from ich_study.ct import windows"),
    ]
    path = tmp_path / "n.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    assert sources.notebook_imports(path) == {"ich_study.ct.windows"}


@pytest.mark.parametrize(
    "stage",
    [STORE, TRAINING, ("ich_study.methods.cams.recipe",), ("ich_study.methods.hgi_sam.maps",)],
)
def test_what_takes_long_does_not_depend_on_what_only_draws(stage):
    assert not [name for name in sources.made_by(stage) if name.startswith(sources.DRAWS)]


def test_a_table_is_part_of_what_reads_it_and_of_nothing_else():
    loop = sources.code_marks(["ich_study.training.loop"])
    assert "ich_study/sources.py" in loop  # which names the module that opens tables
    assert not [name for name in loop if name.endswith(".csv")]
    claims = sources.code_marks(["ich_study.published.claims"])
    assert "ich_study/published/claims.csv" in claims
