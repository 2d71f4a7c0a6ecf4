"""Do maps depend on what the network learned? Cascading weight randomisation (Adebayo 2018, "Sanity
Checks for Saliency Maps").

From the classifier down, stage by stage, the weights are drawn anew on a copy of the network, and
each method's maps are compared with those of the trained network. A method whose maps stay alike
shows the slice, not the network. The same comparison between two trained runs measures
repeatability.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from ich_study.errors import MapError
from ich_study.evaluate.scaling import checked_maps, minmax, resized_maps

Maps = Mapping[tuple[str, str], Tensor]
"""(method, layer) -> raw maps (slices, rows, columns)."""
SIMILARITY_COLUMNS = (
    "stage",
    "depth",
    "method",
    "layer",
    "spearman",
    "ssim",
    "undefined",
    "slices",
)


def randomisation_stages(model: nn.Module) -> list[str]:
    """Names of the stages that hold weights, from the classifier down to the stem.

    Sequences of blocks (timm's `blocks`, `stages`) count block by block, other children as a whole.
    """
    names: list[str] = []
    for name, child in model.named_children():
        parts = (
            list(child.named_children()) if isinstance(child, nn.Sequential | nn.ModuleList) else []
        )
        deep = (
            len(parts) > 1
            and all(any(True for _ in part.parameters()) for _, part in parts)
            and not name.startswith("layer")
        )
        names += [f"{name}.{part}" for part, _ in parts] if deep else [name]
    return [
        name
        for name in reversed(names)
        if any(True for _ in model.get_submodule(name).parameters())
    ]


def cascade(model: nn.Module, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """The stage and a copy of `model` randomised from the classifier down to it; the same copy goes
    on.

    Every weight is drawn from a normal distribution with its tensor's own mean and SD, so that
    activations keep their scale and no map fails for want of a signal; running means of
    normalisation stay. `model` is not touched, nor is PyTorch's global stream.
    """
    randomised = copy.deepcopy(model).eval()
    generator = torch.Generator().manual_seed(seed)
    for name in randomisation_stages(model):
        for weights in randomised.get_submodule(name).parameters():
            drawn = torch.randn(weights.shape, generator=generator).to(weights)
            spread = (
                weights.detach().std() if weights.numel() > 1 else weights.detach().abs().mean()
            )
            weights.data.copy_(
                weights.detach().mean() + spread * drawn if weights.numel() > 1 else spread * drawn
            )
        yield name, randomised


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each pair of maps, float64 (slices,); NaN where one of them is
    flat.

    first, second: finite (slices, rows, columns) of one shape. Equal values share their mean rank.
    """
    first, second = (
        checked_maps(np.asarray(maps, np.float64), "rank correlation") for maps in (first, second)
    )
    if first.shape != second.shape or first.ndim != 3:
        raise MapError(
            f"maps of shapes {first.shape} and {second.shape}; expected one shape (slices, rows,"
            " columns)"
        )
    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (first, second)]
    ranks = [part - part.mean(1, keepdims=True) for part in ranks]
    scale = np.sqrt((ranks[0] ** 2).sum(1) * (ranks[1] ** 2).sum(1))
    return np.divide(
        (ranks[0] * ranks[1]).sum(1), scale, out=np.full(len(first), np.nan), where=scale > 0
    )


def structural_similarities(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """SSIM of each pair of maps after min-max, float64 (slices,); NaN where one of them is flat, or
    has sides under 3 pixels.

    The window is 7 pixels, or the largest odd number that the map's sides hold.
    """
    first, second = (minmax(np.asarray(maps, np.float64)) for maps in (first, second))
    if first.shape != second.shape or first.ndim != 3:
        raise MapError(
            f"maps of shapes {first.shape} and {second.shape}; expected one shape (slices, rows,"
            " columns)"
        )
    if min(first.shape[1:]) < 3:
        return np.full(len(first), np.nan)
    side = min(7, *(length - (length + 1) % 2 for length in first.shape[1:]))
    return np.array(
        [
            (
                structural_similarity(a, b, win_size=side, data_range=1.0)
                if a.any() and b.any()
                else np.nan
            )
            for a, b in zip(first, second)
        ]
    )


def compare_maps(first: Maps, second: Maps) -> pd.DataFrame:
    """A row per method and layer of `first`: mean `spearman` and `ssim` over slices, `undefined`
    slices with a flat map, `slices`.

    Where the two differ in resolution the second's maps are brought to the first's. Raises MapError
    where `second` lacks a method or layer, or the number of slices differs.
    """
    rows = []
    for (method, layer), maps in first.items():
        if (method, layer) not in second or len(second[method, layer]) != len(maps):
            raise MapError(
                f"{method} at layer {layer}: the second set of maps has none, or another number of"
                " slices"
            )
        other = resized_maps(second[method, layer].float().cpu(), tuple(maps.shape[-2:])).numpy()
        pair = maps.float().cpu().numpy(), other
        ranked, similar = rank_correlation(*pair), structural_similarities(*pair)
        known = np.isfinite(ranked)
        means = [float(part[known].mean()) if known.any() else np.nan for part in (ranked, similar)]
        rows.append((method, layer, *means, int((~known).sum()), len(ranked)))
    return pd.DataFrame(
        rows, columns=["method", "layer", "spearman", "ssim", "undefined", "slices"]
    )


def cascading_randomisation(
    model: nn.Module, maps_of: Callable[[nn.Module], Maps], seed: int = 0
) -> pd.DataFrame:
    """Likeness of the maps to the trained network's after each stage of `cascade`, with
    SIMILARITY_COLUMNS.

    maps_of: raw maps of a fixed set of slices for any network of this architecture. `depth` counts
    the randomised stages. A good method's correlation falls towards 0.
    """
    trained = maps_of(model)
    tables = [
        compare_maps(trained, maps_of(randomised)).assign(stage=stage, depth=depth)
        for depth, (stage, randomised) in enumerate(cascade(model, seed), start=1)
    ]
    if not tables:
        raise MapError("the network has no stage with weights to randomise")
    return pd.concat(tables, ignore_index=True)[list(SIMILARITY_COLUMNS)]
