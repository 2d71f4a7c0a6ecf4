"""`params/paper` beside the papers' printed settings, value by value.

`params/paper/printed.csv` has a row per printed setting: the sentence, where it stands, the run and
parameter that holds it (`window` is a HU window, `code` a constant as `module:name`), and its
value. A row whose `ours` is filled is a deviation and says why.
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
