"""The check of the paper scale: what it plans for the scale as committed, that it hides no override, and, slow, the check itself."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from ich_study import paper_scale_check as check
from ich_study import split_plan
from ich_study.errors import ParameterError, StudyError
from ich_study.params import read_file
from ich_study.phantom import cohort

ROOT = Path(__file__).resolve().parents[1]
PAPER = ROOT / "params" / "paper"
ALLOWED_ON_GPU = {"workers", "pretrained", "epochs", "max_train_batches", "max_validation_batches", "minimum_auroc", "data_label"}
ALLOWED_ON_CPU = ALLOWED_ON_GPU | {"device", "precision", "num_workers", "batch_size"}


@pytest.mark.parametrize(("cuda", "allowed"), [(True, ALLOWED_ON_GPU), (False, ALLOWED_ON_CPU)])
def test_every_run_of_the_scale_is_planned_and_only_counts_weights_and_device_are_overridden(tmp_path, cuda, allowed):
    jobs = check.plan_jobs(PAPER, tmp_path, cuda=cuda)
    arms = sorted(path.stem for path in (PAPER / "01_backbones").glob("*.yaml"))
    assert [job.name for job in jobs] == ["00_data", *(f"01_backbones/{arm}" for arm in arms), "07_figures"]
    for job in jobs:
        plan, changed = check.planned(job)
        assert set(changed) <= allowed, job.name
        assert plan.folder.is_relative_to(tmp_path)
        original = {name: setting.value for file in job.files for name, setting in read_file(file).items()}
        kept = {name: value for name, value in original.items() if name not in changed and not name.endswith("_dir")}
        assert {name: plan.parameters[name] for name in kept} == kept, job.name


def test_an_override_that_changes_nothing_is_not_called_one(tmp_path):
    scratch = next(job for job in check.plan_jobs(PAPER, tmp_path) if job.name.endswith("densenet121_scratch"))
    assert scratch.overrides["pretrained"] is False and "pretrained" not in check.planned(scratch)[1]


def test_some_arms_leave_out_what_needs_the_others(tmp_path):
    assert [job.name for job in check.plan_jobs(PAPER, tmp_path, ["resnet152"])] == ["00_data", "01_backbones/resnet152"]
    with pytest.raises(ParameterError, match=r"resnet512.*resnet152"):
        check.plan_jobs(PAPER, tmp_path, ["resnet512"])


@pytest.mark.parametrize("file", ["10_new.yaml", "10_new/arm.yaml"])
def test_a_notebook_that_the_check_does_not_know_is_an_error(tmp_path, file):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("")
    with pytest.raises(ParameterError, match="10_new"):
        check.plan_jobs(tmp_path, tmp_path / "work")


def test_the_phantom_fills_every_split_of_the_scale():
    """On the labels of the patients' specifications: every part and fold is there, with two patients in each test part."""
    specs = cohort.cohort_specs(check.PATIENTS, **check.PHANTOM)
    assert all(spec.subtypes and spec.slices == check.PHANTOM["slices"] for group in specs.values() for spec in group)
    rows = [
        {"dataset": name, "patient_id": f"{number}", "scan_id": f"{name}-{number}", "slice_index": i,
         "any": i % 3 > 0, **{label: i % 3 > 0 and label in spec.subtypes for label in ("IPH", "IVH", "SAH", "SDH", "EDH")}}
        for name, group in specs.items() for number, spec in enumerate(group) for i in range(spec.slices)
    ]
    index = pd.DataFrame(rows).astype(dict.fromkeys(("any", "IPH", "IVH", "SAH", "SDH", "EDH"), "boolean"))
    for name, plan in read_file(PAPER / "00_data.yaml")["splits"].value.items():
        split = split_plan.plan_split(index, name, plan, seed=666)
        parts = split["part"].nunique() if "part" in split else split["fold"].nunique()
        assert parts == {"parts": len(plan.get("fractions", [])), "folds": plan.get("k"), "slices": 2}[plan["kind"]], name
        assert plan["kind"] != "parts" or plan["dataset"] == "cq500" or (split["part"] == "test").sum() >= 2, name


def test_data_roots_are_read_from_the_scale_and_others_are_refused(tmp_path):
    assert check.data_leaves(PAPER)["physionet"] == "ct-ich" and set(check.data_leaves(PAPER)) == set(cohort.WRITERS)
    for root in ("/data/rsna", "$ICH_DATA/a/b"):
        (tmp_path / "00_data.yaml").write_text(f"data_roots: {{rsna: {root}}}\n")
        with pytest.raises(ParameterError, match="rsna"):
            check.data_leaves(tmp_path)


def test_the_data_lie_where_the_scale_looks_for_them(tmp_path, monkeypatch):
    def written(root, patients, **options):
        folders = {name: root / name for name in patients}
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "scan").touch()
        return folders

    monkeypatch.setattr(check, "write_cohort", written)
    for _ in range(2):
        data = check.write_data(PAPER, tmp_path, workers=1)
    assert (data / "rsna-intracranial-hemorrhage-detection" / "scan").is_file() and (data / "ct-ich" / "scan").is_file()


def test_a_users_own_folder_is_not_taken(tmp_path):
    (tmp_path / "mine").touch()
    with pytest.raises(ParameterError, match="--work"):
        check._claim(tmp_path)
    check._claim(tmp_path / "new")
    check._claim(tmp_path / "new")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A scale of tiny notebooks with arms `good`, `other` and `bad`, which fails; gives a function that runs it."""
    monkeypatch.setenv("ICH_STUDY_ROOT", str(tmp_path))
    parameters = 'output_dir: str = "runs/x"\nfail: bool = False\nworkers: int = 16\ndata_dir: str = ""\nruns_dir: str = ""\n'
    parameters += 'data_label: str = ""\npretrained: bool = True\nepochs: int = 9\nminimum_auroc: float = 0.5\n'
    parameters += "max_train_batches: int | None = None\nmax_validation_batches: int | None = None\n"
    code = "from ich_study import manifest\nassert not fail, 'asked to fail'\nmanifest.record(output_dir, data={'rsna': 'a' * 64})"
    (tmp_path / "notebooks").mkdir()
    scale = tmp_path / "params" / "paper"
    (scale / "01_backbones").mkdir(parents=True)
    for name in check.OVERRIDES:
        cells = [nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell(code)]
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"language_info": {"name": "python"}})
        nbformat.write(notebook, tmp_path / "notebooks" / f"{name}.ipynb")
        (scale / f"{name}.yaml").write_text("")
    (scale / "01_backbones" / "bad.yaml").write_text("fail: true\n")
    (scale / "01_backbones" / "good.yaml").write_text("epochs: 7\n")
    (scale / "01_backbones" / "other.yaml").write_text("")
    return lambda: check.run_jobs(check.plan_jobs(scale, tmp_path / "work", cuda=True), print).set_index("run")


def test_a_failing_arm_stops_only_what_needs_it_and_good_ones_on_the_same_data_are_kept(small, tmp_path, capsys):
    first = small()
    assert first["state"].to_dict() == {
        "00_data": "ok", "01_backbones/bad": "failed", "01_backbones/good": "ok", "01_backbones/other": "ok", "07_figures": "not run",
    }
    assert "asked to fail" in first.loc["01_backbones/bad", "error"] and "01_backbones/bad" in first.loc["07_figures", "error"]
    assert "epochs: 7 -> 2" in capsys.readouterr().out and (first.loc["01_backbones/good", ["seconds", "peak_memory_mb"]] > 0).all()
    (tmp_path / "params" / "paper" / "01_backbones" / "bad.yaml").write_text("")
    record = tmp_path / "work" / "01_backbones" / "other" / "run.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "hashes": {"data": {"rsna": "b" * 64}}}))
    second = small()
    assert second["state"].to_dict() == {
        "00_data": "ok", "01_backbones/bad": "ok", "01_backbones/good": "kept", "01_backbones/other": "ok", "07_figures": "ok",
    }
    text = check.summary(second.reset_index(), 5, cuda=False)
    assert "5 of the scale's 5 runs" in text and "not checked: the papers' device" in text


def test_the_command_line_tells_planning_errors_from_failed_runs(monkeypatch, capsys):
    outcomes = iter([True, False, StudyError("wrong")])

    def checked(*_):
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(check, "check", checked)
    assert [check.main([]) for _ in range(3)] == [0, 1, 2]
    assert "wrong" in capsys.readouterr().err


@pytest.mark.slow
def test_the_paper_scale_runs(tmp_path):
    assert check.check(tmp_path / "work")
