"""The ranges of numbers that notebooks have by themselves: of real parameters, and enforced before
a run starts."""

from __future__ import annotations

import pytest

from ich_study import params, paths
from ich_study.inputs.shared import SharedNumbers
from ich_study.run import command

NOTEBOOKS = {
    path.stem: params.declared(path)
    for path in sorted((paths.project_root() / "notebooks").glob("0*.ipynb"))
}
BAD = [
    ("05_mil_detector", "bootstrap_replicates", "0", "is 0; expected a number above 0 (in -p)"),
    ("05_mil_detector", "seed", "-1", "is -1; expected 0 or more"),
    ("05_mil_detector", "compared_epochs", "-1", "is -1; expected 0 or more"),
    ("05_mil_detector", "minimum_auroc", "1.5", "is 1.5; expected at most 1"),
    ("06_cam_benchmark", "batch_size", "0", "is 0; expected a number above 0"),
    ("04_swin_hgi_sam", "fold_count", "1", "is 1; expected 2 or more"),
    ("00_data", "phantom_positive_fraction", ".nan", "expected a finite number"),
    ("05_mil_detector", "size", "0", "'size' in -p: 05_mil_detector does not declare it; it is a"),
    ("05_mil_detector", "training", "{size: 0}", "training.size is 0; expected a number above 0"),
]


@pytest.mark.parametrize(("notebook", "name", "text", "says"), BAD)
def test_a_bad_number_ends_with_2_before_anything_starts(
    tmp_path, capsys, monkeypatch, notebook, name, text, says
):
    monkeypatch.setattr(command, "run", lambda plan: pytest.fail("it started"))
    asked = [notebook, "-p", name, text, "--output-dir", str(tmp_path / "run")]
    assert command.main(asked) == 2
    said = capsys.readouterr().err
    assert name in said and says in said


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("bootstrap_replicates", "1", 1), ("seed", "0", 0), ("minimum_auroc", "null", None)],
)
def test_a_good_number_is_taken(name, text, value):
    planned = command.plan("05_mil_detector", [], [(name, text)])
    assert planned.values == {name: value}


def test_every_range_is_of_a_parameter_and_lets_its_default_through():
    declared = [each for notebook in NOTEBOOKS.values() for each in notebook.values()]
    assert set(SharedNumbers.model_fields) <= {each.name for each in declared}
    for each in declared:
        assert each.problems(each.default) == [], each.name


def test_a_number_that_notebooks_share_has_a_range():
    having = [
        {
            name
            for name, each in notebook.items()
            if each.annotation.split(" ")[0] in ("int", "float")
        }
        for notebook in NOTEBOOKS.values()
    ]
    shared = {name for names in having for name in names if sum(name in s for s in having) > 1}
    assert {"seed", "bootstrap_replicates"} <= shared <= set(SharedNumbers.model_fields)
