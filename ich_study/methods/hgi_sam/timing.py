"""Milliseconds per slice of every method of HGI-SAM's study (paper, Section 6), in turns on one
machine in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import nn

from ich_study.errors import ParameterError
from ich_study.evaluate.rows import Row, Rows
from ich_study.inputs.devices import wait_for
from ich_study.methods.hgi_sam.maps import CLASSIFIER_OF, heat_and_logits

WARM_UP = 2


def method_calls(
    networks: Mapping[str, nn.Module], inputs: torch.Tensor, variant: str
) -> dict[str, Callable[[], object]]:
    """One slice, (1, C, H, W), through every method, for `milliseconds_table`.

    networks: the three classifiers, and the supervised networks where there are any.
    """
    calls: dict[str, Callable[[], object]] = {
        method: partial(heat_and_logits, method, networks[classifier], inputs, None, variant)
        for method, classifier in CLASSIFIER_OF.items()
    }
    for name, network in networks.items():
        if name not in CLASSIFIER_OF.values():
            calls[name] = partial(_segmented, network, inputs)
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
            wait_for(device)
            started = time.perf_counter()
            call()
            wait_for(device)
            if turn >= WARM_UP:
                spent[name].append(1000 * (time.perf_counter() - started))
    drawn = np.random.default_rng(0).integers(0, repeats, (2000, repeats))
    rows = []
    for name, values in spent.items():
        low, high = np.quantile(np.median(np.array(values)[drawn], axis=1), [0.025, 0.975])
        rows.append((name, float(np.median(values)), low, high, repeats))
    columns = ["method", "milliseconds", "ci_low", "ci_high", "repeats"]
    return pd.DataFrame(rows, columns=columns)


def milliseconds_rows(table: pd.DataFrame, rows: Rows, variant: str) -> list[Row]:
    """The times as rows of the result table; `n` is the number of repeats."""
    named = {"study": rows.study, "dataset": rows.dataset, "variant": variant, "class": "any"}
    named |= {"metric": "milliseconds", "unit": "slice", "threshold_source": "none"}
    columns = {"milliseconds": "value", "repeats": "n"}
    measured = table.rename(columns=columns).to_dict("records")
    return [{**named, **row} for row in measured]


def _segmented(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(inputs).argmax(1)
