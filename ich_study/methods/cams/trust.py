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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ich_study.errors import DataError, MapError, ParameterError
from ich_study.evaluate.localisation_report import mean_rows
from ich_study.evaluate.scaling import resized_maps
from ich_study.methods.cams import faithfulness as tests
from ich_study.methods.cams.recipe import (
    BATCH_TOLERANCE,
    FLOAT64_BATCH_TOLERANCE,
    LIBRARY_ABLATION,
    CamRecipe,
    Subject,
    load_subject,
    network_inputs,
)
from ich_study.methods.cams.sanity import compare_maps
from ich_study.methods.cams.truth_masks import TruthMasks
from ich_study.store.read import Store

Maps = Mapping[tuple[str, str], Tensor]
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
        road = tests.road_combined(*tests.road(score, channels, ranks, road_shares, noise, seed))
        values = [part.cpu().numpy() for part in (deleted, inserted, road)]
        tables.append(
            pd.DataFrame(
                dict(zip(FAITHFULNESS_COLUMNS, (method, layer, range(len(channels)), *values)))
            )
        )
    return pd.concat(tables, ignore_index=True)


def faithfulness_rows(
    table: pd.DataFrame,
    rows: pd.DataFrame,
    common: Mapping[str, Any],
    replicates: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Means over slices with intervals over patients. rows: the slices in the order of `slice`."""
    found: list[dict[str, Any]] = []
    for (method, layer), part in table.groupby(["method", "layer"], sort=False):
        named = {**common, **_named(method, layer), "unit": "slice", "subset": "positive"}
        ordered = part.sort_values("slice")
        for metric in FAITHFULNESS_COLUMNS[3:]:
            found += mean_rows(ordered[metric].to_numpy(), rows, metric, named, replicates, seed)
    return found


def similarity_rows(
    table: pd.DataFrame, common: Mapping[str, Any], metric: str
) -> list[dict[str, Any]]:
    """Rows from `repeatability` (means over runs) or the last stage of
    `sanity.cascading_randomisation`; no interval, n is slices."""
    last = table[table["depth"] == table["depth"].max()] if "depth" in table else table
    means = (
        last.groupby(["method", "layer"], sort=False)[["spearman", "slices"]].mean().reset_index()
    )
    shared = {**common, "unit": "slice", "subset": "positive", "metric": metric}
    return [
        {**shared, **_named(row.method, row.layer), "value": row.spearman, "n": int(row.slices)}
        for row in means.itertuples()
    ]


def _named(method: str, layer: str) -> dict[str, Any]:
    return {"method": method, "layer": layer.strip("[]") or None, "threshold_source": "none"}


def cost_table(
    model: nn.Module,
    inputs: Tensor,
    maps_of: Callable[[nn.Module, Tensor, Sequence[str], Sequence[str]], Maps],
    methods: Sequence[str],
    layers: Sequence[str],
    repeats: int = 3,
) -> pd.DataFrame:
    """Milliseconds per map and slice, `method, layer, milliseconds`: each method at each depth
    computed alone, as a user of one method would, the median of `repeats` after one warm-up; and
    `all`, every map of one pass over the number of maps.

    maps_of(model, inputs, methods, layers).
    """

    def timed(some: Sequence[str], where: Sequence[str]) -> float:
        seconds = []
        for _ in range(repeats + 1):
            _wait(inputs)
            start = time.perf_counter()
            found = maps_of(model, inputs, some, where)
            _wait(inputs)
            seconds.append((time.perf_counter() - start) / (len(inputs) * len(found)))
        return 1000 * float(np.median(seconds[1:]))

    rows = [(method, layer, timed([method], [layer])) for method in methods for layer in layers]
    return pd.DataFrame(
        [*rows, ("all", "", timed(methods, layers))], columns=["method", "layer", "milliseconds"]
    )


def cost_rows(table: pd.DataFrame, common: Mapping[str, Any], slices: int) -> list[dict[str, Any]]:
    """`cost_table` as result rows; n is the number of slices timed."""
    shared = {**common, "unit": "slice", "subset": "all", "metric": "milliseconds", "n": slices}
    return [
        {**shared, **_named(row.method, row.layer), "value": row.milliseconds}
        for row in table.itertuples()
    ]


def _wait(inputs: Tensor) -> None:
    if inputs.is_cuda:
        torch.cuda.synchronize(inputs.device)


def repeatability(
    subject: Subject,
    run_folders: Sequence[Path],
    class_name: str,
    recipe: CamRecipe,
    store: Store,
    rows: pd.DataFrame,
    maps: Maps,
) -> pd.DataFrame:
    """Likeness of `maps` of `rows`, which are `subject`'s, to those of the same classifier trained
    again: `run` and the columns of `sanity.compare_maps`. Empty where no run is given. Raises
    ParameterError for a run of another network or preprocessing, and for the very same weights."""
    tables = []
    for folder in run_folders:
        other = load_subject(folder, class_name, subject.device)
        check_trained_again(subject, other, folder)
        _, inputs = network_inputs(other, store, rows)
        tables.append(
            compare_maps(maps, recipe.maps(other.model, inputs, other.target)).assign(
                run=folder.name
            )
        )
    columns = ["run", "method", "layer", "spearman", "ssim", "undefined", "slices"]
    return (
        pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)
    )


def check_trained_again(subject: Subject, other: Subject, folder: Path) -> None:
    """ParameterError unless `other`, of the run in `folder`, is `subject`'s network on the same
    inputs with other weights."""
    if (other.architecture, other.preprocessing) != (subject.architecture, subject.preprocessing):
        raise ParameterError(
            f"{folder}: {other.architecture} with {other.preprocessing}; a repeated run has"
            f" {subject.architecture} with {subject.preprocessing}: name a run that differs in"
            " nothing but its seed"
        )
    if other.sha256 == subject.sha256:
        raise ParameterError(
            f"{folder} has the very weights whose maps are compared; a repeated run is trained from"
            " another seed"
        )


def surest_places(
    score: tests.Score, channels_of: Callable[[np.ndarray], Tensor], part: TruthMasks, count: int
) -> np.ndarray:
    """Places of the `count` positive slices with the highest probability, sorted: where there is
    something to explain.

    channels_of: places to windowed channels in [0, 1].
    """
    places = np.flatnonzero(part.positive)
    if not len(places):
        raise DataError("no positive slice to explain")
    probabilities = np.concatenate(
        [
            score(channels_of(some)).cpu().numpy()
            for some in np.array_split(places, max(1, len(places) // 32))
        ]
    )
    return np.sort(places[np.argsort(-probabilities, kind="stable")[:count]])


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
    first = inputs[:1]
    names = [name for name in recipe.identifiers if name != LIBRARY_ABLATION]
    differences = _relative_differences(
        batched, recipe.maps(subject.model, first, subject.target, names)
    )
    excessive = [
        name
        for name, difference in differences.items()
        if not difference <= BATCH_TOLERANCE[recipe.precision]
    ]
    exact = {
        (method, layer): _difference_in_float64(subject, recipe.in_float32, first, method, layer)
        for method, layer in excessive
        if method in METHODS_WITH_POLE
    }
    broken = [name for name in excessive if not exact.get(name, np.inf) <= FLOAT64_BATCH_TOLERANCE]
    if broken:
        found = ", ".join(
            f"{method} at {layer} by {differences[method, layer]:.1e} of its maximum"
            for method, layer in broken
        )
        raise MapError(
            f"a slice alone and in a batch give different maps: {found}; expected at most "
            f"{BATCH_TOLERANCE[recipe.precision]:g}, or {FLOAT64_BATCH_TOLERANCE:g} in float64"
        )
    for method, layer in exact:
        warnings.warn(
            f"{method} at {layer}: alone and in a batch the map of a slice differs by"
            f" {differences[method, layer]:.1e} of its maximum; in float64 it does not, so rounding"
            " beside the method's pole decides its values here",
            stacklevel=2,
        )
    rows = [
        (*name, difference, exact.get(name, np.nan)) for name, difference in differences.items()
    ]
    return pd.DataFrame(rows, columns=["method", "layer", "difference", "difference_float64"])


def _difference_in_float64(
    subject: Subject, recipe: CamRecipe, first: Tensor, method: str, layer: str
) -> float:
    model, alone = copy.deepcopy(subject.model).double(), first.double()
    maps = [
        recipe.maps(model, inputs, subject.target, [method], [layer])
        for inputs in (torch.cat([alone, alone.flip(-1)]), alone)
    ]
    return _relative_differences(*maps)[method, layer]


def _relative_differences(batched: Maps, alone: Maps) -> dict[tuple[str, str], float]:
    """Of the first map of each, per name, in units of its largest magnitude, which counts as 1e-3
    at least."""

    def difference(kept: Tensor, maps: Tensor) -> float:
        return float((maps.to(kept) - kept).abs().max() / kept.abs().max().clamp(min=1e-3))

    return {name: difference(batched[name][:1].double(), maps) for name, maps in alone.items()}
