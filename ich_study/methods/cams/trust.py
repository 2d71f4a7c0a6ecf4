"""What Table II does not ask of a CAM method: is it faithful, does it depend on the weights, does
it repeat, what does it cost?

Rows of the result table per method and layer: `deletion_auc` (lower is better), `insertion_auc`,
`road_combined` (higher is better), `randomisation_spearman` (nearer 0 is better),
`repeatability_spearman`, `milliseconds` per map.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ich_study.errors import DataError, MapError, ParameterError
from ich_study.evaluate.archive import Maps
from ich_study.evaluate.heat import batches
from ich_study.evaluate.rows import Row, Rows
from ich_study.evaluate.scaling import resized_maps
from ich_study.evaluate.truth import Truth
from ich_study.inputs.devices import wait_for
from ich_study.inputs.slices import network_view
from ich_study.methods.cams import faithfulness as tests
from ich_study.methods.cams.recipe import LIBRARY, CamRecipe, Subject, load_subject
from ich_study.methods.cams.sanity import COMPARED_COLUMNS, cascading_randomisation, compare_maps
from ich_study.store.read import Store

BATCH_TOLERANCE = {"fp32": 1e-3, "bf16": 0.1}
"""Largest difference, of a map's maximum, between a slice alone and in a batch: other kernels,
other rounding."""
FLOAT64_BATCH_TOLERANCE = 1e-6
"""The same in float64: for maps with a pole (Grad-CAM++, XGrad-CAM), beside which rounding in
float32 is without bound."""
METHODS_WITH_POLE = ("grad_cam_plus_plus", "xgrad_cam")
"""They divide by a sum of activations of either sign; where it is nearly zero, the map's scale is
rounding's."""
FAITHFULNESS_COLUMNS = (
    "method",
    "layer",
    "slice",
    "deletion_auc",
    "insertion_auc",
    "road_combined",
)


def faithfulness_table(
    score: tests.Score,
    channels: Tensor,
    maps: Maps,
    *,
    steps: int,
    road_shares: Sequence[float],
    deletion_fill: str = "mean",
    insertion_fill: str = "blur",
    noise: float = 0.01,
    seed: int = 0,
) -> pd.DataFrame:
    """Deletion, insertion and ROAD of every map on every slice, FAITHFULNESS_COLUMNS.

    channels: windowed slices in [0, 1], (N, C, S, S). maps: (N, h, w) each, of any resolution. A
    map that is flat on a slice is scored like the others; all its pixels tie, so that the order is
    random.
    """
    if not len(channels):
        raise DataError("no slices to measure faithfulness on")
    tables = []
    for (method, layer), low in tqdm(
        maps.items(), "faithfulness", unit="map", mininterval=5, leave=False
    ):
        ranks = tests.removal_ranks(resized_maps(low.to(channels), channels.shape[-1]), seed)
        deleted, inserted = tests.deletion_and_insertion(
            score, channels, ranks, steps, deletion_fill, insertion_fill
        )
        road = tests.road_combined(score, channels, ranks, road_shares, noise, seed)
        values = [part.cpu().numpy() for part in (deleted, inserted, road)]
        columns = method, layer, range(len(channels)), *values
        tables.append(pd.DataFrame(dict(zip(FAITHFULNESS_COLUMNS, columns))))
    return pd.concat(tables, ignore_index=True)


def faithfulness_rows(
    table: pd.DataFrame, slices: pd.DataFrame, rows: Rows, **columns: Any
) -> list[Row]:
    """Means over slices with intervals over patients. slices: of the index, in the order of the
    table's `slice`."""
    found = []
    for (method, layer), part in table.groupby(["method", "layer"], sort=False):
        named = {**_named(method, layer), "subset": "positive", **columns}
        ordered = part.sort_values("slice")
        for metric in FAITHFULNESS_COLUMNS[3:]:
            values = ordered[metric].to_numpy()
            found.append(rows.mean(values, slices, metric, share=False, **named))
    return found


def trust_rows(
    stages: pd.DataFrame,
    repeats: pd.DataFrame,
    cost: pd.DataFrame,
    rows: Rows,
    slices: int,
    **columns: Any,
) -> list[Row]:
    """Result rows without interval, n is slices, of the last stage of `randomisation`, of the means
    over runs of `repeatability`, and of `cost_table`. slices: the cost is of."""
    found = []
    last = stages[stages["depth"] == stages["depth"].max()]
    for metric, table in (
        ("randomisation_spearman", last),
        ("repeatability_spearman", repeats),
    ):
        means = table.groupby(["method", "layer"], sort=False)["spearman"].mean()
        for (method, layer), value in means.items():
            own = {**_named(method, layer), "subset": "positive", **columns}
            found.append(rows.number(value, metric, int(table["slices"].iloc[0]), **own))
    for row in cost.itertuples():
        own = {**_named(row.method, row.layer), **columns, "subset": "all"}
        found.append(rows.number(row.milliseconds, "milliseconds", slices, **own))
    return found


def _named(method: str, layer: str) -> Row:
    layer = layer.strip("[]") or None
    return {"method": method, "layer": layer, "threshold_source": "none", "unit": "slice"}


def cost_table(
    recipe: CamRecipe, model: nn.Module, inputs: Tensor, target: int, repeats: int = 3
) -> pd.DataFrame:
    """Milliseconds per map and slice, `method, layer, milliseconds`: each method at each depth
    computed alone, as a user of one method would, the median of `repeats` after one warm-up; and
    `all`, every map of one pass over the number of maps."""

    def timed(methods: Sequence[str], depths: Sequence[str]) -> float:
        seconds = []
        for _ in range(repeats + 1):
            wait_for(inputs.device)
            start = time.perf_counter()
            found = recipe.maps(model, inputs, target, methods, depths)
            wait_for(inputs.device)
            seconds.append((time.perf_counter() - start) / (len(inputs) * len(found)))
        return 1000 * float(np.median(seconds[1:]))

    every = recipe.identifiers, recipe.depths
    rows = [(method, depth, timed([method], [depth])) for method, depth in product(*every)]
    rows.append(("all", "", timed(*every)))
    return pd.DataFrame(rows, columns=["method", "layer", "milliseconds"])


def randomisation(subject: Subject, recipe: CamRecipe, inputs: Tensor, seed: int) -> pd.DataFrame:
    """`sanity.cascading_randomisation` of the recipe's maps, in float32 and without the library's
    AblationCAM, which depends on its batches."""
    exact, target = recipe.in_float32, subject.target
    names = [name for name in recipe.identifiers if not name.endswith(LIBRARY)]
    return cascading_randomisation(
        subject.model, lambda model: exact.maps(model, inputs, target, names), seed
    )


def repeatability(
    subject: Subject,
    run_folders: Sequence[str | Path],
    class_name: str,
    recipe: CamRecipe,
    store: Store,
    slices: pd.DataFrame,
    maps: Maps,
) -> pd.DataFrame:
    """Likeness of `maps` of `slices`, which are `subject`'s, to those of the same classifier
    trained again: `run` and the columns of `sanity.compare_maps`. Empty where no run is given.
    Raises ParameterError for a run of another network or preprocessing, and for the very same
    weights."""
    columns, tables = ["run", *COMPARED_COLUMNS], []
    for folder in run_folders:
        other = load_subject(folder, class_name, subject.device)
        kinds = [(each.architecture, each.preprocessing) for each in (subject, other)]
        if kinds[0] != kinds[1]:
            raise ParameterError(
                f"{folder}: {kinds[1]}; a repeated run has {kinds[0]}: name a run that differs in"
                " nothing but its seed"
            )
        if other.sha256 == subject.sha256:
            raise ParameterError(
                f"{folder} has the very weights whose maps are compared; a repeated run is trained"
                " from another seed"
            )
        _, inputs = network_view(store, slices, other.preprocessing, other.device)
        again = recipe.maps(other.model, inputs, other.target)
        tables.append(compare_maps(maps, again).assign(run=Path(folder).name))
    if not tables:
        return pd.DataFrame(columns=columns)
    return pd.concat(tables, ignore_index=True)[columns]


def surest_slices(
    subject: Subject, store: Store, truth: Truth, class_name: str, count: int
) -> np.ndarray:
    """Index of the `count` positive slices with the highest logit, sorted: where there is
    something to explain."""
    positive = np.flatnonzero(truth.positive(class_name))
    logits = []
    with torch.inference_mode():
        for some in batches(len(positive), 32):
            rows = truth.rows.iloc[positive[some]]
            _, inputs = network_view(store, rows, subject.preprocessing, subject.device)
            logits.append(subject.model(inputs)[:, subject.target].cpu().numpy())
    order = np.argsort(-np.concatenate(logits), kind="stable")
    return np.sort(positive[order[:count]])


def check_batch_independence(
    subject: Subject, recipe: CamRecipe, inputs: Tensor, batched: Maps
) -> pd.DataFrame:
    """Whether a slice has the same maps alone as in a batch: `method, layer, difference,
    difference_float64`, of the map's maximum.

    inputs: (B, C, S, S) of the network. batched: maps whose first is of `inputs[0]`, computed in a
    batch; AblationCAM's library variant, which depends on its batches, is not asked. A map with a
    pole that differs by more than BATCH_TOLERANCE is computed again in float64, alone and beside
    its mirror image; NaN where that was not needed. Agreeing there it is warned of: its float32
    values are rounding's. Raises MapError for any other difference.
    """
    names = [name for name in recipe.identifiers if not name.endswith(LIBRARY)]
    alone = recipe.maps(subject.model, inputs[:1], subject.target, names)
    rows, tolerance = [], BATCH_TOLERANCE[recipe.precision]
    for (method, depth), difference in _relative_differences(batched, alone).items():
        exact = np.nan
        if not difference <= tolerance:
            if method in METHODS_WITH_POLE:
                exact = _difference_in_float64(subject, recipe, inputs[:1], method, depth)
            found = (
                f"{method} at {depth}: alone and in a batch the map of a slice differs by"
                f" {difference:.1e} of its maximum; "
            )
            if not exact <= FLOAT64_BATCH_TOLERANCE:
                raise MapError(
                    f"{found}expected at most {tolerance:g}, or {FLOAT64_BATCH_TOLERANCE:g} in"
                    " float64"
                )
            warnings.warn(
                f"{found}in float64 it does not, so rounding beside the method's pole decides its"
                " values here",
                stacklevel=2,
            )
        rows.append((method, depth, difference, exact))
    return pd.DataFrame(rows, columns=["method", "layer", "difference", "difference_float64"])


def _difference_in_float64(
    subject: Subject, recipe: CamRecipe, first: Tensor, method: str, layer: str
) -> float:
    model, alone = copy.deepcopy(subject.model).double(), first.double()
    maps = [
        recipe.in_float32.maps(model, inputs, subject.target, [method], [layer])
        for inputs in (torch.cat([alone, alone.flip(-1)]), alone)
    ]
    return _relative_differences(*maps)[method, layer]


def _relative_differences(batched: Maps, alone: Maps) -> dict[tuple[str, str], float]:
    """Of the first map of each, per name, in units of its largest magnitude, which counts as 1e-3
    at least."""

    def difference(kept: Tensor, maps: Tensor) -> float:
        return float((maps.to(kept) - kept).abs().max() / kept.abs().max().clamp(min=1e-3))

    return {name: difference(batched[name][:1].double(), maps) for name, maps in alone.items()}
