"""The order of the study's notebooks: `snakemake -c 2 --config scale=phantom`.

A scale is a folder params/<scale>. A notebook belongs to it when the folder has <notebook>.yaml; a
folder <notebook>/ beside that file makes one run per arm, <notebook>/<arm>.yaml over <notebook>.yaml.
A run is done when its run.json says so; notebooks, parameters and code that change are run again, and
what follows from them. Code that only draws is 07's alone; its stale pictures elsewhere are named. After a kill the same command goes on: finished runs are kept, training resumes
from its last epoch. Before the first run, parameters, data, runs, weights and devices of all are looked for. Several at once share the cores; OMP_NUM_THREADS keeps each to its own.
"""

import json
import re
import shlex
import sys
from pathlib import Path

import yaml

sys.path.insert(0, workflow.basedir)
from ich_study import atomic, manifest, sources
from ich_study.errors import StudyError
from ich_study.run import before, command, progress

# A notebook and the notebooks whose runs it reads. A new notebook is one line here.
READS = {
    "00_data": [],
    "01_backbones": ["00_data"],
    "02_lse_unet": ["00_data", "01_backbones"],
    "03_resnet_lstm": ["00_data"],
    "04_swin_hgi_sam": ["00_data"],
    "05_mil_detector": ["00_data"],
    "06_cam_benchmark": ["00_data", "01_backbones"],
    "07_figures": ["00_data", "01_backbones", "02_lse_unet", "03_resnet_lstm", "04_swin_hgi_sam", "05_mil_detector", "06_cam_benchmark"],
    "08_cross_benchmark": ["00_data", "02_lse_unet", "03_resnet_lstm", "04_swin_hgi_sam", "05_mil_detector", "06_cam_benchmark"],
    "09_new_scan": ["01_backbones", "02_lse_unet", "04_swin_hgi_sam", "05_mil_detector", "06_cam_benchmark"],
}

unknown = sorted(set(config) - {"scale", "with_gpu"})
if unknown:
    raise WorkflowError(f"--config {', '.join(unknown)}: unknown; expected scale alone, as in --config scale=smoke")
SCALE = str(config.get("scale", "phantom"))
if not re.fullmatch(r"\w[\w.-]*", SCALE):
    raise WorkflowError(f"scale {SCALE!r} is no name of a folder in params/")
PARAMS = Path("params", SCALE)
if not PARAMS.is_dir():
    known = sorted(folder.name for folder in Path("params").glob("*/"))
    raise WorkflowError(f"no scale {SCALE!r}: params/ has {', '.join(known) or 'none'}")

# What a run of a notebook takes, per scale: threads, mem_mb, runtime (minutes), gpu. Not where it runs: that is a profile's.
NEEDS = PARAMS / "resources.yaml"
NEEDS = yaml.safe_load(NEEDS.read_text()) or {} if NEEDS.is_file() else {}
DEFAULTS = {"threads": 1, "mem_mb": 4000, "runtime": 60, "gpu": 0}
# A cluster ends a job at its limit, so that is not what a run takes here: another node may be slower. Two days, where a
# run does not take longer by itself, are what most clusters allow.
TWO_DAYS = 2 * 24 * 60
for name, needs in NEEDS.items():
    if name not in READS or not set(needs) <= set(DEFAULTS):
        raise WorkflowError(f"{PARAMS}/resources.yaml, {name}: expected a notebook of {list(READS)} with some of {list(DEFAULTS)}")


def arms(notebook):
    """Arms of a fan-out, by name; none for a notebook that runs once."""
    return sorted(path.stem for path in (PARAMS / notebook).glob("*.yaml"))


def runs(notebook):
    """The run.json of every run of a notebook at this scale."""
    if arms(notebook):
        return [f"runs/{SCALE}/{notebook}/{arm}/run.json" for arm in arms(notebook)]
    return [f"runs/{SCALE}/{notebook}/run.json"] if (PARAMS / f"{notebook}.yaml").is_file() else []


def needs(notebook):
    return {**DEFAULTS, **NEEDS.get(notebook, {})}


def limits(notebook):
    """What a cluster gives a job of a notebook beside its threads: memory, GPUs, and the minutes after which it is ended."""
    asked = needs(notebook)
    most = max(asked["runtime"], min(4 * asked["runtime"] + 10, TWO_DAYS))
    return {"mem_mb": asked["mem_mb"], "gpu": asked["gpu"], "runtime": most, **(config.get("with_gpu", {}) if asked["gpu"] else {})}


def read_by(notebook):
    """The runs that a notebook waits for: of a notebook with arms, those arms that its parameters name, or all where they name none."""
    said = "".join(file.read_text() for file in [Path(f"notebooks/{notebook}.ipynb"), *PARAMS.glob(f"{notebook}*.yaml"), *PARAMS.glob(f"{notebook}/*.yaml")])
    waited = []
    for upstream in READS[notebook]:
        folders = {run: re.escape(str(Path(run).parent)) for run in runs(upstream)}
        named = [run for run in folders if re.search(rf"(?<![\w./-]){folders[run]}(?![\w.-])", said)]
        waited += named or list(folders)
    return waited


def urgency(notebook):
    """Of the runs that could start, first those that most others wait for, of these those that take longest."""
    return 10**6 * sum(notebook in reads for reads in READS.values()) + needs(notebook)["runtime"]


PYTHON = sys.executable
# glibc hands large arrays back to the system after every operation and takes them anew; kept, a run takes a tenth less time.
ALLOCATOR = "MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=1073741824"
ENVIRONMENT = "OMP_NUM_THREADS={threads} MKL_NUM_THREADS={threads} OPENBLAS_NUM_THREADS={threads} " + ALLOCATOR
PRESENT = [notebook for notebook in READS if runs(notebook)]

# For snakemake a file that exists is done. The record of a run that failed, or whose outputs someone changed, is not.
for record in (Path(run) for notebook in PRESENT for run in runs(notebook)):
    problem = manifest.run_problem(record.parent) if record.is_file() else None
    if problem is not None:
        print(f"run again: {problem}", file=sys.stderr)
        record.replace(record.with_name(manifest.FAILED_NAME))


def code(notebook):
    """A file that is written anew when the code that makes a notebook's results changes: its modules, tables and packages."""
    path = Path(f"runs/{SCALE}/.{notebook}.code.json")
    imports = sources.notebook_imports(Path(f"notebooks/{notebook}.ipynb"))
    marks = sources.code_marks(imports)
    if notebook != "07_figures":
        results = sources.code_marks(imports, without=sources.DRAWS)
        drawing = {name: mark for name, mark in marks.items() if name not in results}
        for run in filter(Path.is_file, map(Path, runs(notebook))):
            drawn = json.loads(run.read_text()).get("code", {})
            if any(drawn.get(name) != mark for name, mark in drawing.items()):
                print(f"{run.parent}: other code drew its pictures; snakemake -R run_{notebook} draws them anew", file=sys.stderr)
        marks = results
    text = json.dumps(marks, indent=1, sort_keys=True)
    if not path.is_file() or path.read_text() != text:
        atomic.write_text(path, text)
    return str(path)


def parameter_files(notebook, arm=None):
    """The YAML files of a run, the more particular behind."""
    files = [PARAMS / f"{notebook}.yaml"] + ([PARAMS / notebook / f"{arm}.yaml"] if arm else [])
    return [file for file in files if file.is_file()]


# How long a whole scale takes is told by what its runs took before, or may take at most.
SCHEDULE = Path(f"runs/{SCALE}/.schedule.json")


onstart:
    # Everything is looked for before the first run: what is wrong with the last one is known now.
    folders = {Path(run).resolve().parent for notebook in PRESENT for run in runs(notebook)}
    minutes, threads, problems = {}, [], []
    for job in workflow.dag.needrun_jobs():
        if job.rule.name == "all":
            continue
        notebook, folder = job.rule.name.removeprefix("run_"), Path(job.output[0]).parent
        minutes[folder.relative_to(SCHEDULE.parent).as_posix()] = needs(notebook)["runtime"]
        threads.append(needs(notebook)["threads"])
        try:
            plan = command.plan(notebook, parameter_files(notebook, job.wildcards_dict.get("arm")), [], str(folder))
            # what a cluster's nodes have is not known here
            before.check(notebook, plan.parameters, made=folders, devices=workflow.local_exec)
        except StudyError as error:
            problems += str(error).splitlines()
    if problems:
        raise WorkflowError("nothing was started:\n" + "\n".join(dict.fromkeys(problems)))
    cores = workflow.resource_settings.cores
    progress.write_schedule(SCHEDULE, minutes, max(cores // min(threads), 1) if cores and threads else len(threads))


rule all:
    input: [run for notebook in PRESENT for run in runs(notebook)],


for notebook in PRESENT:

    fan_out = bool(arms(notebook))
    folder = f"runs/{SCALE}/{notebook}" + ("/{arm}" if fan_out else "")
    common = [str(path) for path in parameter_files(notebook)]
    own = [f"{PARAMS}/{notebook}/{{arm}}.yaml"] if fan_out else []

    rule:
        name: f"run_{notebook}"
        input:
            notebook=f"notebooks/{notebook}.ipynb",
            params=common + own,
            code=code(notebook),
            reads=read_by(notebook),
        output: f"{folder}/run.json",
        params:
            call=lambda wildcards, input, output, notebook=notebook: shlex.join(
                [PYTHON, "-m", "ich_study.run", notebook]
                + [part for file in input.params for part in ("-f", file)]
                + ["--output-dir", str(Path(output[0]).parent), "--schedule", str(SCHEDULE)]
            ),
        threads: needs(notebook)["threads"]
        priority: urgency(notebook)
        resources: **limits(notebook),
        shell: ENVIRONMENT + " {params.call}"
