"""The check of the paper scale: what it plans for the scale as committed, that it hides no
override, and, slow, the check itself."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from ich_study.errors import ParameterError, StudyError
from ich_study.params import declared, read_file
from ich_study.phantom import cohort
from ich_study.splits import plan as split_plan
from ich_study.training.config import TrainingConfig
from tools import paper_scale_check as check, paper_scale_plan as plan

ROOT = Path(__file__).resolve().parents[2]
PAPER = ROOT / "params" / "paper"
COUNTS = {
    "workers",
    "epochs",
    "max_train_batches",
    "max_validation_batches",
    "folds",
    "bootstrap_replicates",
    "mask_free_slices",
    "timing_repeats",
    "tuning_initial",
    "tuning_iterations",
    "max_positives",
    "max_negatives",
    "trust_slices",
    "faithfulness_steps",
    "road_shares",
    "sanity_slices",
    *("train", "validation", "test"),  # scans of each part
}
WANTED_OF_RESULTS = {"minimum_auroc", "pointing_above"}
ALLOWED_ON_GPU = COUNTS | WANTED_OF_RESULTS | {"weights", "data_label", "main_part"}
ALLOWED_ON_CPU = ALLOWED_ON_GPU | {
    "device",
    "precision",
    "num_workers",
    "batch_size",
    "map_batch_size",
}


@pytest.mark.parametrize(("cuda", "allowed"), [(True, ALLOWED_ON_GPU), (False, ALLOWED_ON_CPU)])
def test_every_run_of_the_scale_is_planned_and_only_counts_weights_and_device_are_overridden(
    tmp_path, cuda, allowed
):
    jobs = plan.plan_jobs(PAPER, tmp_path, cuda=cuda)
    arms = sorted(path.stem for path in (PAPER / "01_backbones").glob("*.yaml"))
    rest = (
        "02_lse_unet",
        "03_resnet_lstm",
        "04_swin_hgi_sam",
        "05_mil_detector",
        "06_cam_benchmark",
        "07_figures",
        "08_cross_benchmark",
    )
    variants = {f"variants/{path.stem}" for path in (PAPER / "variants").glob("*.yaml")}
    assert len(variants) >= 9 and {job.name for job in jobs} - variants < {job.name for job in jobs}
    assert [job.name for job in jobs if job.name not in variants] == [
        "00_data",
        *(f"01_backbones/{arm}" for arm in arms),
        *rest,
    ]
    for job in jobs:
        planned, changed = plan.planned(job)
        assert {name.rpartition(".")[2] for name in changed} <= allowed, job.name
        assert planned.folder.is_relative_to(tmp_path)
        original = {}
        for file in job.files:
            given = {name: setting.value for name, setting in read_file(file).items()}
            original = plan.merged(original, given)
        assert original.pop("output_dir") == f"runs/paper/{job.name}"
        touched = {name.partition(".")[0] for name in changed} | set(job.places)
        kept = {name: value for name, value in original.items() if name not in touched}
        assert {name: planned.parameters[name] for name in kept} == kept, job.name
        assert "runs/" not in json.dumps(planned.values).replace(str(tmp_path), ""), job.name


def test_overrides_of_an_entry_leave_the_rest_of_its_dictionary_to_the_scale(tmp_path):
    job = next(job for job in plan.plan_jobs(PAPER, tmp_path) if job.name == "03_resnet_lstm")
    planned, changed = plan.planned(job)
    given = read_file(PAPER / "03_resnet_lstm.yaml")
    assert planned.parameters["backbone"] == given["backbone"].value | {"weights": None}
    assert changed["classifier.epochs"] == (100, 2) and "classifier.size" not in changed
    assert planned.parameters["classifier"]["size"] == given["classifier"].value["size"] == 512


def test_no_reduced_default_of_a_notebook_stands_in_for_a_setting_of_the_scale(tmp_path):
    """A notebook's defaults are a small network on a small phantom; where they differ from the
    training's own, the scale has to speak."""
    for job in plan.plan_jobs(PAPER, tmp_path):
        given = {name for file in job.files for name in read_file(file)}
        trained = TrainingConfig().describe()
        if job.notebook == "01_backbones":
            trained |= {"dataset": None, "split": None}
        if job.notebook in ("02_lse_unet", "05_mil_detector"):
            trained |= {"first_weights": {}}  # by arm or head
        notebook = declared(ROOT / "notebooks" / f"{job.notebook}.ipynb")
        for name in set(trained) & set(notebook) - given - {"seed"}:
            assert notebook[name].default == trained[name], (
                f"{job.name}: {name} is the notebook's default {notebook[name].default}"
            )


def test_an_override_that_changes_nothing_is_not_called_one(tmp_path):
    scratch = next(
        job for job in plan.plan_jobs(PAPER, tmp_path) if job.name.endswith("densenet121_scratch")
    )
    assert scratch.overrides["backbone"] == {"weights": None}
    changed = plan.planned(scratch)[1]
    assert "backbone.weights" not in changed and "training.epochs" in changed


def test_a_choice_brings_what_it_reads(tmp_path):
    def names(*only):
        return [job.name for job in plan.plan_jobs(PAPER, tmp_path, only)]

    assert names("variants/02_lse_unet.bhsd_authors")[:2] == [
        "00_data",
        "variants/00_data.bhsd_authors",
    ]
    assert names("01_backbones/resnet152") == ["00_data", "01_backbones/resnet152"]
    baselines = ("densenet121", "densenet121_scratch", "rdnet_tiny", "resnet152", "resnetrs200")
    assert names("02_lse_unet") == [
        "00_data",
        *(f"01_backbones/{arm}" for arm in baselines),
        "02_lse_unet",
    ]
    assert names("05_mil_detector", "03_resnet_lstm") == [
        "00_data",
        "03_resnet_lstm",
        "05_mil_detector",
    ]
    assert names("07_figures") == [
        name for name in names() if not name.startswith(("variants/", "08_"))
    ]
    with pytest.raises(ParameterError, match=r"resnet512.*resnet152"):
        names("01_backbones/resnet512")


@pytest.mark.parametrize("file", ["10_new.yaml", "10_new/arm.yaml"])
def test_a_notebook_that_the_check_does_not_know_is_an_error(tmp_path, file):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("")
    with pytest.raises(ParameterError, match="10_new"):
        plan.plan_jobs(tmp_path, tmp_path / "work")


@pytest.mark.parametrize(
    "named",
    ["runs/paper/01_backbones/gone", "runs/smoke/01_backbones/default", "runs/paper/07_figures"],
)
def test_a_run_that_is_not_the_scales_or_comes_later_is_an_error(tmp_path, named):
    scale = tmp_path / "paper"
    scale.mkdir()
    (scale / "00_data.yaml").write_text("")
    (scale / "06_cam_benchmark.yaml").write_text(
        f"data_dir: runs/paper/00_data\nclassifier_run: {named}\n"
    )
    with pytest.raises(ParameterError, match=f"classifier_run of 06_cam_benchmark names {named}"):
        plan.plan_jobs(scale, tmp_path / "work")


def test_the_phantom_fills_every_split_of_the_scale():
    """On the labels of the patients' specifications: every part and fold is there, with two
    patients in each test part."""
    specs = cohort.cohort_specs(check.PATIENTS, **check.PHANTOM)
    assert all(
        spec.subtypes and spec.slices == check.PHANTOM["slices"]
        for group in specs.values()
        for spec in group
    )
    rows = [
        {
            "dataset": name,
            "patient_id": f"{number}",
            "scan_id": f"{name}-{number}",
            "slice_index": i,
            "any": i % 3 > 0,
            **{
                label: i % 3 > 0 and label in spec.subtypes
                for label in ("IPH", "IVH", "SAH", "SDH", "EDH")
            },
        }
        for name, group in specs.items()
        for number, spec in enumerate(group)
        for i in range(spec.slices)
    ]
    index = pd.DataFrame(rows).astype(
        dict.fromkeys(("any", "IPH", "IVH", "SAH", "SDH", "EDH"), "boolean")
    )
    scale = read_file(PAPER / "00_data.yaml")["splits"].value
    for name, kind in plan.merged(scale, plan.OVERRIDES["00_data"]["splits"]).items():
        split = split_plan.plan_split(index, name, kind, seed=666)
        parts = split["part"].nunique() if "part" in split else split["fold"].nunique()
        assert (
            parts
            == {
                "parts": len(kind.get("fractions", [])),
                "folds": kind.get("k"),
                "slices": 2,
                "scans": len(kind.get("scans", [])) + 1,  # the others are unused
            }[kind["kind"]]
        ), name
        tested = "test" in kind.get("fractions", kind.get("scans", {}))
        assert not tested or (split["part"] == "test").sum() >= 2, name


def test_data_roots_are_read_from_the_scale_and_others_are_refused(tmp_path):
    assert check.data_leaves(PAPER)["physionet"] == "ct-ich" and set(
        check.data_leaves(PAPER)
    ) == set(cohort.WRITERS)
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
    assert (data / "rsna-intracranial-hemorrhage-detection" / "scan").is_file() and (
        data / "ct-ich" / "scan"
    ).is_file()


def test_a_users_own_folder_is_not_taken(tmp_path):
    (tmp_path / "mine").touch()
    with pytest.raises(ParameterError, match="--work"):
        check._claim(tmp_path)
    check._claim(tmp_path / "new")
    check._claim(tmp_path / "new")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Runs a scale of tiny notebooks: arms `good`, `other`, and `bad`, which fails; 05 reads `good`
    and 06 `other`."""
    monkeypatch.setenv("ICH_STUDY_ROOT", str(tmp_path))
    notebooks = ("00_data", "01_backbones", "05_mil_detector", "06_cam_benchmark", "07_figures")
    monkeypatch.setattr(plan, "OVERRIDES", {name: {"epochs": 2} for name in notebooks})
    parameters = (
        'output_dir: str = "runs/x"\nfail: bool = False\nepochs: int = 9\nruns_dir: str | None ='
        " None\n"
    )
    code = "from ich_study import manifest\nassert not fail, 'asked to fail'\n"
    code += "manifest.record(output_dir, data={'rsna': 'a' * 64}, split={'its own': 'c' * 64})"
    (tmp_path / "notebooks").mkdir()
    scale = tmp_path / "params" / "paper"
    (scale / "01_backbones").mkdir(parents=True)
    for name in plan.OVERRIDES:
        cells = [
            nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(code),
        ]
        notebook = nbformat.v4.new_notebook(
            cells=cells, metadata={"language_info": {"name": "python"}}
        )
        nbformat.write(notebook, tmp_path / "notebooks" / f"{name}.ipynb")
        (scale / f"{name}.yaml").write_text("")
    (scale / "01_backbones" / "bad.yaml").write_text("fail: true\n")
    (scale / "01_backbones" / "good.yaml").write_text("epochs: 7\n")
    (scale / "01_backbones" / "other.yaml").write_text("")
    (scale / "05_mil_detector.yaml").write_text("runs_dir: runs/paper/01_backbones/good\n")
    (scale / "06_cam_benchmark.yaml").write_text("runs_dir: runs/paper/01_backbones/other\n")
    (scale / "07_figures.yaml").write_text("runs_dir: runs/paper\n")
    return lambda: check.run_jobs(
        plan.plan_jobs(scale, tmp_path / "work", cuda=True), print
    ).set_index("run")


def test_a_failing_run_stops_only_what_reads_it_and_good_ones_on_the_same_data_are_kept(
    small, tmp_path, capsys
):
    first = small()
    assert first["state"].to_dict() == {
        "00_data": "ok",
        "01_backbones/bad": "failed",
        "01_backbones/good": "ok",
        "01_backbones/other": "ok",
        "05_mil_detector": "ok",
        "06_cam_benchmark": "ok",
        "07_figures": "not run",
    }
    assert (
        "asked to fail" in first.loc["01_backbones/bad", "error"]
        and "01_backbones/bad" in first.loc["07_figures", "error"]
    )
    assert (
        "epochs: 7 -> 2" in capsys.readouterr().out
        and (first.loc["01_backbones/good", ["seconds", "peak_memory_mb"]] > 0).all()
    )
    (tmp_path / "params" / "paper" / "01_backbones" / "bad.yaml").write_text("")
    record = tmp_path / "work" / "01_backbones" / "other" / "run.json"
    record.write_text(
        json.dumps({**json.loads(record.read_text()), "hashes": {"data": {"rsna": "b" * 64}}})
    )
    second = small()
    assert second["state"].to_dict() == {
        "00_data": "ok",
        "01_backbones/bad": "ok",
        "01_backbones/good": "kept",
        "01_backbones/other": "ok",
        "05_mil_detector": "kept",
        "06_cam_benchmark": "ok",
        "07_figures": "ok",
    }
    text = check.summary(second.reset_index(), 7, cuda=False)
    assert "7 of the scale's 7 runs" in text and "not checked: the papers' device" in text


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
