"""`params/paper` beside the papers' printed settings, value by value.

`params/paper/printed.csv` has a row per printed setting: the sentence, where it stands, the run and
parameter that holds it (`window` is a HU window, `code` a constant as `module:name`; `poolings`
counts the steps between a network's levels), and its value. A row whose `ours` is filled is a
deviation and says why.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ich_study import params, paths
from ich_study.ct.windows import WINDOWS

PAPER = paths.project_root() / "params" / "paper"
PRINTED = pd.read_csv(PAPER / "printed.csv", dtype=str, keep_default_na=False)
AUGMENT, SIZE = "training.augmentation", "training.size"
CHANGED = {
    "cam_baseline": {
        "cam_size_448": {SIZE},
        "cam_size_512": {SIZE},
        "cam_augment": {AUGMENT},
        "cam_posweight_2": {"training.positive_weight"},
        "cam_posweight_3": {"training.positive_weight"},
        "efficientnetv2_b0": {"seed"},
        **{f"efficientnetv2_{each}": {"backbone.name"} for each in ("b1", "b2", "b3", "s", "l")},
        "cam_final": {"backbone.name", SIZE, AUGMENT},
    },
    "cam_final": {"cam_final_seed_2": {"seed"}, "cam_final_80_20": {"split"}},
    "rdnet_tiny": {each: {"backbone.name"} for each in ("resnet152", "densenet121", "resnetrs200")},
}
"""Of an arm of 01_backbones the others that equal it but for these: "held constant across all
experiments unless explicitly changed" (CAM benchmark, Section IV); "for models that utilized
pretrained checkpoints" (LSE-UNet, Section 4)."""
UNPRINTED = {"seed", "split"}
PAPERS = ("lse_unet", "cam_benchmark", "hgi_sam", "mil_detector", "resnet_lstm")


def files_of(run: str) -> tuple[str, list[Path]]:
    """Notebook and parameter files of `<notebook>[/<arm>]` or `variants/<notebook>.<name>`."""
    first, _, second = run.partition("/")
    notebook = second.split(".")[0] if first == "variants" else first
    files = [PAPER / f"{notebook}.yaml"]
    return notebook, [*files, PAPER / f"{run}.yaml"] if second else files


@cache
def values_of(run: str) -> dict[str, Any]:
    notebook, files = files_of(run)
    path = paths.project_root() / "notebooks" / f"{notebook}.ipynb"
    return params.complete(path, params.load(path, files))


def held(run: str, parameter: str) -> Any:
    """What a run's parameters, or the HU windows, hold under a name with points."""
    if run == "window":
        window = WINDOWS[parameter]
        return [window.center, window.width]
    module, _, keys = parameter.rpartition(":")
    value: Any = vars(import_module(module)) if run == "code" else values_of(run)
    for key in keys.split("."):
        if key == "poolings":
            return len(value) - 1
        value = value[key] if isinstance(value, dict) else getattr(value, key)
    return list(value) if isinstance(value, tuple | np.ndarray) else value


@pytest.mark.parametrize("row", PRINTED.to_dict("records"), ids=lambda row: row["parameter"])
def test_the_paper_scale_holds_what_is_printed_or_says_why_not(row):
    found, printed = held(row["run"], row["parameter"]), json.loads(row["printed"])
    if row["ours"]:
        assert found == json.loads(row["ours"]) != printed and len(row["reason"]) > 20
    else:
        assert found == printed and not row["reason"]


def test_every_paper_and_training_notebook_is_in_the_list():
    assert set(PRINTED["paper"]) == set(PAPERS)
    notebooks = {run.split("/")[-1].split(".")[0][:2] for run in PRINTED["run"]}
    assert {"00", "02", "03", "04", "05"} <= notebooks
    assert not PRINTED.duplicated(["run", "parameter"]).any()
    assert PRINTED[["quote", "source"]].ne("").all(axis=None)


def test_each_variant_differs_from_its_base():
    variants = sorted((PAPER / "variants").glob("*.yaml"))
    assert len(variants) >= 9
    for path in variants:
        values = values_of(f"variants/{path.stem}")
        notebook = path.stem.split(".")[0]
        assert values != values_of(notebook) | {"output_dir": values["output_dir"]}


def leaves(values: Any, name: str = "") -> dict[str, str]:
    """Every parameter by its name with points, as text."""
    if not isinstance(values, dict):
        return {name: json.dumps(values)}
    parts = [leaves(value, f"{name}.{key}".lstrip(".")) for key, value in values.items()]
    return {key: value for part in parts for key, value in part.items()}


@pytest.mark.parametrize(
    ("base", "arm"), [(base, arm) for base, arms in CHANGED.items() for arm in arms]
)
def test_an_arm_changes_the_setting_it_names_and_no_other(base, arm):
    first, other = (leaves(values_of(f"01_backbones/{name}")) for name in (base, arm))
    changed = {name for name in first | other if first.get(name) != other.get(name)}
    assert changed == CHANGED[base][arm] | {"arm", "output_dir"}
    of_arm = PRINTED.loc[PRINTED["run"] == f"01_backbones/{arm}", "parameter"]
    assert CHANGED[base][arm] - UNPRINTED <= set(of_arm)


def test_every_arm_of_the_cam_benchmark_is_held_against_another():
    arms = {path.stem for path in (PAPER / "01_backbones").glob("[ce][af]*.yaml")}
    assert arms == {"cam_baseline", *CHANGED["cam_baseline"], *CHANGED["cam_final"]}
