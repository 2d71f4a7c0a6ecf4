"""Every committed notebook is clean and short, and every parameters file of every scale fits its
notebook."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest

from ich_study import params
from ich_study.cross import measure as cross_measure
from ich_study.datasets import open_dataset
from ich_study.evaluate.truth import read_truth, truth_kind, with_known
from ich_study.methods import mil
from ich_study.phantom.write_cq500 import write_cq500
from ich_study.store import build_store
from tests.integrity.test_bad_inputs import scan
from tools import notebook_hygiene as hygiene

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NOT_PARAMETERS = {"resources.yaml"}
SINGLE = [
    path for path in sorted((ROOT / "params").glob("*/*.yaml")) if path.name not in NOT_PARAMETERS
]
ARMS = sorted((ROOT / "params").glob("*/[0-9]*/*.yaml"))
VARIANTS = sorted((ROOT / "params").glob("*/variants/*.yaml"))

FIRST = """# Title
**Question** which? **Paper** none. **Inputs** scans. **Outputs** a table.
**Command** `python -m ich_study.run n`.
Expected time 1 minute, memory 1 GB."""


def needs_notebook(path: Path) -> Path:
    if not path.is_file():
        pytest.skip(f"notebooks/{path.name} is not there yet")
    return path


def test_there_are_notebooks():
    if not NOTEBOOKS:
        pytest.skip("no notebooks yet")
    assert all(path.stem[:2].isdigit() and path.stem[2] == "_" for path in NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_clean(path):
    assert hygiene.problems(path) == []


@pytest.mark.parametrize("path", SINGLE, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_parameters_fit_their_notebook(path):
    notebook = needs_notebook(ROOT / "notebooks" / f"{path.stem}.ipynb")
    if (path.parent / path.stem).is_dir():
        known = params.declared(notebook)
        optional = {
            name: params.Parameter(name, each.annotation, each.default, False)
            for name, each in known.items()
        }
        params.check(optional, params.read_file(path), path.stem)
    else:
        params.load(notebook, [path])


@pytest.mark.parametrize("path", ARMS, ids=lambda path: "-".join(path.parts[-3:])[:-5])
def test_parameters_of_an_arm_fit_their_notebook(path):
    notebook = needs_notebook(ROOT / "notebooks" / f"{path.parent.name}.ipynb")
    common = path.parent.with_suffix(".yaml")
    params.load(notebook, [*([common] if common.is_file() else []), path])


@pytest.mark.parametrize("path", VARIANTS, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_parameters_of_a_variant_fit_their_notebook_and_say_how_it_is_run(path):
    notebook, scale = path.stem.split(".")[0], path.parent.parent
    common = scale / f"{notebook}.yaml"
    found = params.load(ROOT / "notebooks" / f"{notebook}.ipynb", [common, path])
    assert found["output_dir"] == f"runs/{scale.name}/variants/{path.stem}"
    folder = f"params/{scale.name}"
    said = f"{notebook} -f {folder}/{notebook}.yaml -f {folder}/variants/{path.name}"
    assert said in path.read_text()


@pytest.mark.parametrize(
    "path",
    [path for path in SINGLE if path.stem in ("03_resnet_lstm", "04_swin_hgi_sam")],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_a_sampled_training_is_not_monitored_by_the_loss_of_a_part_that_is_not_sampled(path):
    """Among many negatives an epoch that calls nothing has the lowest loss, and would be kept."""
    notebook = ROOT / "notebooks" / f"{path.stem}.ipynb"
    classifier = params.complete(notebook, params.load(notebook, [path]))["classifier"]
    if classifier.get("sampler", "none") != "none":
        assert classifier.get("monitor", "valid_loss") != "valid_loss"


def write(
    path: Path,
    *code: str,
    first: str = FIRST,
    parameters: str = 'output_dir: str = "runs/n"',
    **changes,
) -> Path:
    cells = [
        nbformat.v4.new_markdown_cell(first),
        nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
    ]
    cells += [nbformat.v4.new_code_cell(source) for source in code]
    notebook = nbformat.v4.new_notebook(
        cells=cells, metadata=changes.get("metadata", hygiene.METADATA)
    )
    for key, value in changes.get("last", {}).items():
        notebook.cells[-1][key] = value
    nbformat.write(notebook, path)
    return path


def test_a_clean_notebook_has_no_problems(tmp_path):
    assert hygiene.problems(write(tmp_path / "n.ipynb", "import os", "print(os.sep)")) == []


STREAM = nbformat.v4.new_output("stream", text="x")


@pytest.mark.parametrize(
    ("code", "changes", "says"),
    [
        (["import os"], {"last": {"outputs": [STREAM]}}, "outputs"),
        (["import os"], {"last": {"execution_count": 3}}, "execution count"),
        (["import os"], {"last": {"metadata": {"collapsed": True}}}, "metadata"),
        (
            ["import os"],
            {
                "metadata": {
                    **hygiene.METADATA,
                    "kernelspec": {"name": "my-env", "display_name": "x"},
                }
            },
            "no kernel of your own",
        ),
        (
            ["import os"],
            {"first": "# Title\nQuestion, paper, inputs, outputs, command, time."},
            "memory",
        ),
        (["import os"], {"parameters": "output_dir = str(3)"}, "not a literal"),
        (["import os"], {"parameters": "epochs: int = 3"}, "output_dir"),
        (["import os", "import sys"], {}, "import in one cell"),
        (["x = 1"], {}, "imports in none"),
        (["import os", "def f():\n    return 1"], {}, "defines a function"),
        (["import os", "class A:\n    pass"], {}, "defines a function or class"),
        (["import os", "%matplotlib inline"], {}, "not plain Python"),
        (["import os", "x = '/home/someone/data'"], {}, "path of one machine"),
        (["import os", *["x = 1"] * 34], {}, "37 cells"),
        (["import os", "x = 1\n" * 150], {}, "151 statements"),
    ],
)
def test_what_a_notebook_must_not_be(tmp_path, code, changes, says):
    found = hygiene.problems(write(tmp_path / "n.ipynb", *code, **changes))
    assert any(says in problem for problem in found), found


def test_a_file_that_is_no_notebook_is_a_problem(tmp_path):
    (tmp_path / "n.ipynb").write_text("{}")
    assert "not a valid notebook" in hygiene.problems(tmp_path / "n.ipynb")[0]


def test_fix_strips_what_a_run_leaves_and_keeps_tags(tmp_path):
    kernel = {
        "kernelspec": {"name": "my-env", "display_name": "x"},
        "language_info": {"name": "python", "version": "3.11"},
    }
    path = write(
        tmp_path / "n.ipynb",
        "import os",
        metadata=kernel,
        last={"outputs": [STREAM], "execution_count": 3},
    )
    sources = [cell.source for cell in nbformat.read(path, as_version=4).cells]
    assert hygiene.main(["--fix", str(path)]) == 0
    fixed = nbformat.read(path, as_version=4)
    assert [cell.source for cell in fixed.cells] == sources and fixed.cells[1].metadata.tags == [
        "parameters"
    ]
    assert hygiene.fix(path) is False


def test_the_command_line_reports_problems(tmp_path, capsys, monkeypatch):
    path = write(tmp_path / "n.ipynb", "x = 1")
    assert hygiene.main([str(path)]) == 1
    assert "n.ipynb: should import in one cell" in capsys.readouterr().err
    monkeypatch.setenv("ICH_STUDY_ROOT", str(tmp_path))
    assert hygiene.main([]) == 2


@pytest.mark.parametrize(
    "again",
    [path for path in ARMS if path.stem.endswith("_seed_2")],
    ids=lambda path: path.parts[-3],
)
def test_a_repeated_arm_differs_in_its_seed_alone(again):
    first = again.with_name(f"{again.stem.removesuffix('_seed_2')}.yaml")
    own, other = (
        {name: given.value for name, given in params.read_file(path).items()}
        for path in (first, again)
    )
    differing = {name for name in own | other if own.get(name) != other.get(name)}
    assert differing == {"arm", "seed", "output_dir"}


def test_after_a_cell_that_failed_nbval_skips_the_others(tmp_path):
    shutil.copy(ROOT / "notebooks" / "conftest.py", tmp_path)
    cells = [nbformat.v4.new_code_cell(code) for code in ("1 / 0", "a", "b")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "n.ipynb")
    options = ["-p", "no:cacheprovider", "--nbval-lax", "--nbval-current-env"]
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, *options, "n.ipynb"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 failed, 2 skipped" in done.stdout, done.stdout + done.stderr


def test_00_takes_two_data_sets_that_name_scans_alike():
    """INSTANCE 2022 and PhysioNet both have a scan 049: each is checked for gaps by itself."""
    notebook = nbformat.read(ROOT / "notebooks" / "00_data.ipynb", as_version=4)
    check = next(cell.source for cell in notebook.cells if "has gaps" in cell.source)
    loop = check.split("assert index[")[0]
    slices = {"dataset": ["instance2022"] * 3 + ["physionet"] * 2, "scan_id": "049"}
    index = pd.DataFrame({**slices, "slice_index": [0, 1, 2, 0, 1]})
    exec(loop, {"index": index})
    with pytest.raises(AssertionError, match=r"049.* has gaps"):
        exec(loop, {"index": index.drop(index=1)})


@pytest.fixture(scope="module")
def two_series(tmp_path_factory):
    """Rows and store of a CQ500 phantom: two studies with hemorrhage, one with a second series, and
    one of a fracture alone."""
    root = tmp_path_factory.mktemp("cq500")
    healthy = replace(scan(3), mask=np.zeros_like(scan(3).mask))
    write_cq500(root / "source", iter([scan(1), scan(2), healthy]))
    reads = pd.read_csv(root / "source" / "reads.csv")
    reads.loc[2, [f"R{reader}:Fracture" for reader in (1, 2, 3)]] = 1
    reads.to_csv(root / "source" / "reads.csv", index=False)
    reader = open_dataset("cq500", root / "source", other_pathologies="leave_out")
    store = build_store(reader, root, workers=1)
    rows = store.index
    study = SimpleNamespace(
        stores={"cq500": store}, rows=lambda *_: rows, rows_together=lambda *_: rows
    )
    return SimpleNamespace(Study=SimpleNamespace(open=lambda *_, **__: study), study=study)


def run_cell(number: str, line: str, **names: object) -> dict[str, object]:
    """Runs the first cell of a notebook that holds `line`, to its last table."""
    path = next((ROOT / "notebooks").glob(f"{number}_*.ipynb"))
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells]
    exec(next(cell for cell in cells if line in cell).split("\nparts_table")[0], names)
    return names


LEFT_OUT = "10 of 30 slices, 1 scans as a whole: CQ500-CT-0_SHARP"


def test_05_leaves_out_a_second_series_and_says_so(two_series, capsys):
    """On real CQ500 it stopped: the boxes are unknown in 32 slices."""
    given = dict.fromkeys(("output_dir", "data_dir", "split", "boxes_split"), "")
    given |= {"dataset": "cq500", "boxes_dataset": "cq500", "train_with": {}, "truth": "boxes"}
    given |= {"bootstrap_replicates": 10, "seed": 1}
    given |= {"tune_part": "tune", "test_part": "test", "assert_all_disjoint": lambda *_: None}
    boxed = run_cell("05", "boxed = {", mil=mil, Study=two_series.Study, **given)["boxed"]
    said = capsys.readouterr().out
    assert set(boxed) == {"tune", "test"} and said.count(LEFT_OUT) == 2
    assert "2 boxes in 2 of 3 series" in said
    assert "unknown: CQ500-CT-0_SHARP" in said
    assert "with another pathology left out: CQ500-CT-2" in said
    for rows in boxed.values():
        boxes, _ = mil.grid_boxes(two_series.study.stores["cq500"], rows, 64, "boxes")
        assert [len(rows), sum(map(len, boxes))] == [20, 2]


def test_08_leaves_out_a_second_series_and_says_so(two_series, capsys):
    measured = SimpleNamespace(
        check_unseen=lambda *_: [],
        common_grid=cross_measure.common_grid,
        tested_rows=cross_measure.tested_rows,
    )
    given = {"tests": {"cq500": "cq500/test"}, "opened": {}, "grid": 64, "pd": pd}
    given |= {"truth_kind": truth_kind, "with_known": with_known, "read_truth": read_truth}
    truths = run_cell("08", "truths = {}", study=two_series.study, measure=measured, **given)
    assert len(truths["truths"]["cq500"]) == 20 and LEFT_OUT in capsys.readouterr().out
