"""Milliseconds per slice of every method of HGI-SAM's study (paper, Section 6), in turns on one
machine in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from ich_study.errors import ParameterError
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.inputs.slices import SliceDataset, SliceSource
from ich_study.methods.hgi_sam.attention_maps import VARIANTS, hgi_sam, swin_grad_cam, swin_sam
from ich_study.methods.hgi_sam.maps import CLASSIFIER_OF, GRAD_CAM, HGI, TARGET

WARM_UP = 2


def slice_input(
    source: SliceSource, rows: pd.DataFrame, preprocessing: Preprocessing, device: torch.device
) -> torch.Tensor:
    """The first row that is labelled positive, else the first, as a network's input (1, C, S,
    S)."""
    positive = rows[rows["any"].fillna(False).astype(bool)]
    dataset = SliceDataset(
        source, (positive if len(positive) else rows).head(1), ("any",), preprocessing
    )
    return preprocessing.inputs(dataset.__getitems__([0])[0].to(device))


def method_calls(
    models: Mapping[str, nn.Module], inputs: torch.Tensor, variant: str
) -> dict[str, Callable[[], object]]:
    """One slice, (1, C, H, W), through every method, for `milliseconds_table`.

    models: `binary`, `multi_label`, `two_outputs`, and the supervised ones where there are any.
    """
    setting = VARIANTS[variant]
    network = {method: models[name] for method, name in CLASSIFIER_OF.items()}
    calls: dict[str, Callable[[], object]] = {
        GRAD_CAM: lambda: swin_grad_cam(network[GRAD_CAM], inputs, TARGET),
        "swin_sam_multi_label": lambda: swin_sam(
            network["swin_sam_multi_label"], inputs, variant=setting
        ),
        "swin_sam_binary": lambda: swin_sam(network["swin_sam_binary"], inputs, variant=setting),
        HGI: lambda: hgi_sam(network[HGI], inputs, TARGET, variant=setting),
    }
    for name in ("unet", "swin_unetr"):
        if name in models:
            calls[name] = lambda model=models[name]: _segmented(model, inputs)
    return calls


def milliseconds_table(
    calls: Mapping[str, Callable[[], object]], repeats: int, device: torch.device
) -> pd.DataFrame:
    """`method, milliseconds, ci_low, ci_high, repeats`: median of a slice, with the 95 % bootstrap
    interval of the median.

    The methods take turns, so that a change of the machine's load meets all of them.
    """
    if repeats < 3:
        raise ParameterError(f"repeats is {repeats}; a median with an interval needs at least 3")
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(WARM_UP + repeats):
        for name, call in calls.items():
            _synchronise(device)
            started = time.perf_counter()
            call()
            _synchronise(device)
            if turn >= WARM_UP:
                spent[name].append(1000 * (time.perf_counter() - started))
    drawn = np.random.default_rng(0).integers(0, repeats, (2000, repeats))
    rows = []
    for name, values in spent.items():
        low, high = np.quantile(np.median(np.array(values)[drawn], axis=1), [0.025, 0.975])
        rows.append(
            {
                "method": name,
                "milliseconds": float(np.median(values)),
                "ci_low": low,
                "ci_high": high,
                "repeats": repeats,
            }
        )
    return pd.DataFrame(rows)


def milliseconds_rows(table: pd.DataFrame, common: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The times as rows of the result table; `n` is the number of repeats."""
    return [
        {
            **common,
            "method": row.method,
            "metric": "milliseconds",
            "unit": "slice",
            "class": "any",
            "threshold_source": "none",
            "value": row.milliseconds,
            "ci_low": row.ci_low,
            "ci_high": row.ci_high,
            "n": row.repeats,
        }
        for row in table.itertuples()
    ]


def _segmented(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(inputs).argmax(1)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
