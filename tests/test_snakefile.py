"""The graph of notebooks: order, fan-out, what is run again, and that no rule knows a partition.
Real snakemake, tiny notebooks."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from ich_study.run import command as runner

ROOT = Path(__file__).resolve().parents[1]
PARAMETERS = 'output_dir: str = "runs/default"\nepochs: int = 3\nrate: float = 0.1\n'
CODE = """import os
from ich_study import paths
assert epochs != 13
print('threads', os.environ['OMP_NUM_THREADS'])
(paths.resolve(output_dir) / "table.csv").write_text(str(epochs))
if epochs < 0:  # imported by name only
    from {package} import {module}
"""
IMPORTS = {
    "00_data": ("ich_study.datasets", "open_dataset"),
    "07_figures": ("ich_study.figures", "style"),
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A copy of the Snakefile, profiles and package over tiny notebooks, with a scale `tiny` of two
    arms."""
    tmp_path = tmp_path / "a checkout"
    tmp_path.mkdir()
    monkeypatch.setenv("ICH_STUDY_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "Snakefile", tmp_path)
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "ich_study", tmp_path / "ich_study", ignore=ignored)
    for name in re.findall(
        r'^    "(\d\d_\w+)": \[', (ROOT / "Snakefile").read_text(), re.MULTILINE
    ):
        package, module = IMPORTS.get(name, ("ich_study", "paths"))
        cells = [
            nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(CODE.format(package=package, module=module)),
        ]
        (tmp_path / "notebooks").mkdir(exist_ok=True)
        notebook = nbformat.v4.new_notebook(
            cells=cells, metadata={"language_info": {"name": "python"}}
        )
        nbformat.write(notebook, tmp_path / "notebooks" / f"{name}.ipynb")
    scale = tmp_path / "params" / "tiny"
    (scale / "01_backbones").mkdir(parents=True)
    (scale / "00_data.yaml").write_text("epochs: 5\n")
    (scale / "01_backbones.yaml").write_text("rate: 1.0\n")
    (scale / "01_backbones" / "a.yaml").write_text("epochs: 6\n")
    (scale / "01_backbones" / "b.yaml").write_text("epochs: 7\n")
    (scale / "07_figures.yaml").write_text("")
    return tmp_path


def snakemake(*arguments: str, scale: str = "tiny", fails: bool = False, more: str = "") -> str:
    command = [
        sys.executable,
        "-m",
        "snakemake",
        *(arguments or ("-c", "2")),
        "--config",
        f"scale={scale}",
        *more.split(),
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert bool(done.returncode) is fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def record(path: str) -> dict:
    return json.loads(Path("runs", "tiny", path, "run.json").read_text())


def started(output: str) -> list[str]:
    return re.findall(r"rule run_(\w+):", output)


def test_a_scale_runs_in_order_with_its_arms_and_then_only_what_changed(project):
    output = snakemake()
    assert (
        started(output)[0] == "00_data"
        and started(output)[-1] == "07_figures"
        and started(output).count("01_backbones") == 2
    )
    found = record("01_backbones/a")["parameters"]
    assert found == {"output_dir": "runs/tiny/01_backbones/a", "epochs": 6, "rate": 1.0}
    assert (
        record("01_backbones/b")["parameters"]["epochs"] == 7
        and record("00_data")["hardware"]["threads"] == "1"
    )
    assert len(re.findall(r"^\[01/b \d+ s\] done.*; \d of 4 runs", output, re.MULTILINE)) == 1
    assert "; 4 of 4 runs" in output
    assert "Nothing to be done" in snakemake()

    (project / "params" / "tiny" / "01_backbones" / "b.yaml").write_text("epochs: 8\n")
    assert started(snakemake("-n")) == ["01_backbones", "07_figures"]

    assert (
        runner.main(
            ["01_backbones", "-p", "epochs", "13", "--output-dir", "runs/tiny/01_backbones/a"]
        )
        == 1
    )
    assert started(snakemake("-n")).count("01_backbones") == 2, (
        "a run that failed on its own counts as done"
    )


def test_other_code_and_changed_outputs_are_run_again_and_what_follows(project):
    everything = ["00_data", "01_backbones", "01_backbones", "07_figures"]
    snakemake()
    nifti, style = project / "ich_study/datasets/nifti.py", project / "ich_study/figures/style.py"
    before = nifti.read_text()
    nifti.write_text(before + "\n# edited\n")
    assert started(snakemake("-n")) == everything
    nifti.write_text(before)
    assert "Nothing to be done" in snakemake("-n"), "the code is again what made the runs"
    style.write_text(style.read_text() + "\n# edited\n")
    assert started(snakemake("-n")) == ["07_figures"]

    # what plain papermill does in a finished run's folder
    (project / "runs" / "tiny" / "01_backbones" / "a" / "table.csv").write_text("13")
    (project / "runs" / "tiny" / "00_data" / "run.json").write_text("{broken")
    output = snakemake("-n")
    assert started(output) == everything
    assert "changed since the run: table.csv" in output and "run.json is damaged" in output


def test_names_are_data_and_never_commands(project):
    arms = project / "params" / "tiny" / "01_backbones"
    (arms / "a.yaml").rename(arms / "$(touch X) y.yaml")
    output = snakemake()
    assert not list(project.rglob("X")) and "01_backbones" in started(output)
    assert record("01_backbones/$(touch X) y")["parameters"]["epochs"] == 6
    assert "no name of a folder" in snakemake("-n", scale="../../x", fails=True)
    assert not (project.parent / "x").exists()


def test_a_failing_arm_stops_what_reads_it_and_nothing_else(project):
    (project / "params" / "tiny" / "01_backbones" / "a.yaml").write_text("epochs: 13\n")
    snakemake(fails=True)
    folder = project / "runs" / "tiny"
    assert record("01_backbones/b")["status"] == "ok"
    assert (
        not (folder / "01_backbones" / "a" / "run.json").exists()
        and not (folder / "07_figures" / "run.json").exists()
    )
    assert (
        json.loads((folder / "01_backbones" / "a" / "run-failed.json").read_text())["status"]
        == "failed"
    )
    (project / "params" / "tiny" / "01_backbones" / "a.yaml").write_text("epochs: 12\n")
    assert started(snakemake("-n")) == ["01_backbones", "07_figures"]


def test_a_scale_may_have_some_notebooks_and_no_arms(project):
    scale = project / "params" / "small"
    scale.mkdir()
    (scale / "00_data.yaml").write_text("")
    (scale / "01_backbones.yaml").write_text("epochs: 2\n")
    assert started(snakemake("-n", scale="small")) == ["00_data", "01_backbones"]


def test_an_unknown_scale_is_named_with_the_known_ones(project):
    output = snakemake("-n", scale="phantm", fails=True)
    assert "no scale 'phantm'" in output and "tiny" in output


def test_an_unknown_key_of_the_configuration_is_refused(project):
    assert "--config scal: unknown" in snakemake("-n", fails=True, more="scal=smoke")


def test_what_is_missing_for_the_last_run_is_said_before_the_first(project):
    last = project / "notebooks" / "07_figures.ipynb"
    content = nbformat.read(last, 4)
    content.cells[0].source += 'data_roots: dict = {"bhsd": "$ICH_NOWHERE/bhsd"}\n'
    nbformat.write(content, last)
    (project / "params" / "tiny" / "01_backbones" / "a.yaml").write_text("epoch: 6\n")
    output = snakemake(fails=True)
    assert "nothing was started" in output and not started(output)
    assert "uses $ICH_NOWHERE" in output and "did you mean 'epochs'" in output
    assert "Traceback" not in output and not list(project.glob("runs/*/*/run*.json"))


def test_resources_come_from_the_scale_and_are_checked(project):
    needs = project / "params" / "tiny" / "resources.yaml"
    needs.write_text("01_backbones: {threads: 2, mem_mb: 9000, gpu: 1}\n")
    output = snakemake("-n", "-c", "2")
    assert (
        output.count("threads: 2") == 2
        and output.count("gpu=1") == 2
        and output.count("mem_mb=9000") == 2
    )
    needs.write_text("01_backbones: {partition: fast}\n")
    assert "resources.yaml" in snakemake("-n", fails=True)


def test_a_cluster_ends_a_job_long_after_what_a_run_takes(project):
    needs = project / "params" / "tiny" / "resources.yaml"
    for minutes, most in ((3, 22), (1440, 2880), (4000, 4000)):
        needs.write_text(f"00_data: {{runtime: {minutes}}}\n")
        assert f"runtime={most}" in jobs_of(snakemake("-n"))["00_data"]


def test_what_others_wait_for_runs_first_and_then_what_takes_longest(project):
    scale = project / "params" / "tiny"
    for name in ("04_swin_hgi_sam", "05_mil_detector"):
        (scale / f"{name}.yaml").write_text("")
    for longer, other in (
        ("04_swin_hgi_sam", "05_mil_detector"),
        ("05_mil_detector", "04_swin_hgi_sam"),
    ):
        (scale / "resources.yaml").write_text(f"{longer}: {{runtime: 70}}\n")
        assert started(snakemake("-c", "1", "--forceall"))[1:5] == [
            "01_backbones",
            "01_backbones",
            longer,
            other,
        ]


def jobs_of(output: str) -> dict[str, str]:
    """Each rule that a dry run shows, and what it shows of it."""
    parts = re.split(r"^rule run_", output, flags=re.MULTILINE)[1:]
    return {part.split(":")[0]: part for part in parts}


def test_slurm_sends_to_the_partition_with_gpus_exactly_what_has_a_gpu(project):
    needs = project / "params" / "tiny" / "resources.yaml"
    slurm = ("-n", "--workflow-profile", "profiles/slurm")
    assert "slurm_partition=gpu" not in snakemake(*slurm), "of a scale that asks for none"
    needs.write_text("01_backbones: {gpu: 1}\n07_figures: {gpu: 2}\n")
    jobs = jobs_of(snakemake(*slurm))
    for name, gpus, partition in (
        ("00_data", 0, "cpu"),
        ("01_backbones", 1, "gpu"),
        ("07_figures", 2, "gpu"),
    ):
        assert f"gpu={gpus}" in jobs[name] and f"slurm_partition={partition}" in jobs[name]
    assert "partition" not in snakemake("-n"), "only the profile knows partitions"
    text = (ROOT / "Snakefile").read_text()
    assert "partition" not in text and "slurm" not in text


def test_a_gpu_is_asked_for_where_the_device_is_one():
    """Of every scale and notebook: resources.yaml against the device of the run."""
    for scale in sorted((ROOT / "params").glob("*/")):
        needs = scale / "resources.yaml"
        asked = yaml.safe_load(needs.read_text()) if needs.is_file() else {}
        for common in sorted(scale.glob("[0-9]*.yaml")):
            # a scale's variants are run by hand, on whatever device they name
            files = [
                file
                for file in scale.rglob(f"{common.stem}*.yaml")
                if file.parent.name != "variants"
            ]
            said = "".join(file.read_text() for file in files)
            wanted = bool(re.search(r"\bdevice: cuda\b", said))
            assert bool(asked.get(common.stem, {}).get("gpu")) is wanted, common


def test_a_notebook_waits_for_the_arms_that_its_parameters_name(project):
    scale = project / "params" / "tiny"
    (scale / "02_lse_unet.yaml").write_text("encoder_run: runs/tiny/01_backbones/b\n")
    (scale / "01_backbones" / "b.c.yaml").write_text("epochs: 8\n")
    jobs = jobs_of(snakemake("-n"))
    read = re.search(r"input: (.*)", jobs["02_lse_unet"])[1]
    assert "01_backbones/b/run.json" in read and "00_data/run.json" in read
    assert "01_backbones/a/" not in read and "01_backbones/b.c/" not in read
    assert all(f"01_backbones/{arm}/run.json" in jobs["07_figures"] for arm in ("a", "b", "b.c"))


@pytest.mark.parametrize("scale", sorted(path.name for path in (ROOT / "params").glob("*/")))
def test_the_graph_of_each_scale_is_complete_and_its_limits_are_above_what_runs_took(
    scale, tmp_path, monkeypatch
):
    notebooks = {path.stem for path in (ROOT / "params" / scale).glob("[0-9]*.yaml")}
    missing = sorted(
        name for name in notebooks if not (ROOT / "notebooks" / f"{name}.ipynb").is_file()
    )
    if missing or not notebooks:
        pytest.skip(f"scale {scale}: notebooks not there yet: {missing or 'all'}")
    for name in ("Snakefile", "profiles", "params", "notebooks", "ich_study"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    output = snakemake("-n", scale=scale)
    assert set(started(output)) == notebooks
    for notebook, job in jobs_of(output).items():
        memory, minutes = (
            int(re.search(rf"\b{name}=(\d+)", job)[1]) for name in ("mem_mb", "runtime")
        )
        for run in (ROOT / "figures" / scale).rglob(f"{notebook}/**/run.json"):
            took = json.loads(run.read_text())
            assert took["peak_memory_mb"] < memory, run
            assert took["seconds"] < 60 * minutes, run
