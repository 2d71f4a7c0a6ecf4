"""Do maps depend on what the network learned? Cascading weight randomisation (Adebayo 2018, "Sanity
Checks for Saliency Maps").

From the classifier down, stage by stage, the weights are drawn anew on a copy of the network, and
each method's maps are compared with those of the trained network. A method whose maps stay alike
shows the slice, not the network. The same comparison between two trained runs measures
repeatability.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
from torch import nn

from ich_study.evaluate.archive import Maps
from ich_study.evaluate.scaling import minmax, resized_maps
from ich_study.metrics.ratio import ratio

COMPARED_COLUMNS = ("method", "layer", "spearman", "ssim", "undefined", "slices")
_SEQUENCES = nn.Sequential | nn.ModuleList
SIMILARITY_COLUMNS = ("stage", "depth", *COMPARED_COLUMNS)


def randomisation_stages(model: nn.Module) -> list[str]:
    """Names of the stages that hold weights, from the classifier down to the stem.

    Sequences of blocks (timm's `blocks`, `stages`) count block by block, other children as a whole.
    """
    names: list[str] = []
    for name, child in model.named_children():
        parts = dict(child.named_children()) if isinstance(child, _SEQUENCES) else {}
        # a ResNet's layers count as a whole, as do sequences with parts that hold no weights
        deep = len(parts) > 1 and all(map(_has_weights, parts.values()))
        if deep and not name.startswith("layer"):
            names += [f"{name}.{part}" for part in parts]
        else:
            names.append(name)
    return [name for name in reversed(names) if _has_weights(model.get_submodule(name))]


def _has_weights(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def cascade(model: nn.Module, seed: int) -> Iterator[tuple[str, nn.Module]]:
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
            trained = weights.detach()
            if weights.numel() > 1:
                weights.data.copy_(trained.mean() + trained.std() * drawn)
            else:
                weights.data.copy_(trained.abs().mean() * drawn)
        yield name, randomised


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each pair of maps, float64 (slices,); NaN where one of them is
    flat.

    first, second: finite (slices, rows, columns) of one shape. Equal values share their mean rank.
    """
    from scipy.stats import rankdata  # slow to import

    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (first, second)]
    ranks = [part - part.mean(1, keepdims=True) for part in ranks]
    scale = np.sqrt((ranks[0] ** 2).sum(1) * (ranks[1] ** 2).sum(1))
    return ratio((ranks[0] * ranks[1]).sum(1), scale)


def structural_similarities(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """SSIM of each pair of maps after min-max, float64 (slices,); NaN where one of them is flat, or
    has sides under 3 pixels.

    The window is 7 pixels, or the largest odd number that the map's sides hold.
    """
    from skimage.metrics import structural_similarity  # slow to import

    first, second = (minmax(np.asarray(maps, np.float64)) for maps in (first, second))
    if min(first.shape[1:]) < 3:
        return np.full(len(first), np.nan)
    side = min(7, *(length - (length + 1) % 2 for length in first.shape[1:]))
    found = np.full(len(first), np.nan)
    for number, (one, other) in enumerate(zip(first, second)):
        if one.any() and other.any():
            found[number] = structural_similarity(one, other, win_size=side, data_range=1.0)
    return found


def compare_maps(first: Maps, second: Maps) -> pd.DataFrame:
    """A row per method and layer of `first`: mean `spearman` and `ssim` over slices, `undefined`
    slices with a flat map, `slices`.

    second: maps of the same slices. Where the two differ in resolution these are brought to the
    first's.
    """
    rows = []
    for (method, layer), maps in first.items():
        other = resized_maps(second[method, layer].float().cpu(), tuple(maps.shape[-2:])).numpy()
        pair = maps.float().cpu().numpy(), other
        ranked, similar = rank_correlation(*pair), structural_similarities(*pair)
        known = np.isfinite(ranked)
        means = [float(part[known].mean()) if known.any() else np.nan for part in (ranked, similar)]
        rows.append((method, layer, *means, int((~known).sum()), len(ranked)))
    return pd.DataFrame(rows, columns=list(COMPARED_COLUMNS))


def cascading_randomisation(
    model: nn.Module, maps_of: Callable[[nn.Module], Maps], seed: int
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
    return pd.concat(tables, ignore_index=True)[list(SIMILARITY_COLUMNS)]
