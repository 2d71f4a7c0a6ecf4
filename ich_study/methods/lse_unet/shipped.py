"""A trained LSE-UNet that a file holds, beside those that a run trains: where does it point?"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch

from ich_study.evaluate.rows import Row, Rows, checked_above_random
from ich_study.evaluate.thresholds import fixed_threshold
from ich_study.evaluate.truth import Truth, largest_lesions, read_truth
from ich_study.evaluate.unseen import assert_unseen
from ich_study.methods.lse_unet.network import LSENetwork
from ich_study.methods.lse_unet.pictures import methods_figure
from ich_study.methods.lse_unet.report import MaskReport, localisation
from ich_study.methods.lse_unet.score_maps import RawHeat, lse_heatmaps, raw_maps
from ich_study.methods.lse_unet.study import MethodMaps, Slices, rivals_of
from ich_study.models.registry import load
from ich_study.models.weights import read_metadata
from ich_study.paths import resolve
from ich_study.study import Study

SHIPPED = "lse_unet_shipped"
CLASS = "any"


def shipped_maps(weights: str, slices: Slices, device: torch.device) -> tuple[MethodMaps, Truth]:
    """Maps of `any` by the LSE-UNet in `weights`, below the project's folder, as SHIPPED; and the
    masks of the slices on its grid. It calls a slice above a probability of one half.

    Raises WeightsError where the file holds no LSE-UNet, SplitError where it says that it learned
    from a patient of the slices, MapError where it has no such class.
    """
    path = resolve(weights)
    if "patients" in read_metadata(path):  # else its card says from whom it learned
        assert_unseen(path, slices[1])
    found = load(path, device, LSENetwork)
    network = (lse_heatmaps, found.model, found.preprocessing, found.metadata["classes"])
    maps, logits = raw_maps(*network, (CLASS,), *slices, device)
    heat = RawHeat(SHIPPED, "authors", (CLASS,), found.preprocessing.size, maps)
    truth = read_truth(*slices, found.preprocessing, "masks")
    return MethodMaps(heat, logits, {CLASS: fixed_threshold(0.0)}), truth


def shipped_rows(
    weights: str | None,
    study: Study,
    place: Sequence[str],
    replicates: int,
    seed: int,
    tolerance_px: int,
    device: torch.device,
) -> list[Row]:
    """`report.localisation` of the shipped network and the trivial rivals, on the slices with
    hemorrhage of `place`: data set, split and part. Writes the picture `heatmaps_shipped`. Without
    `weights` there is nothing to say."""
    if weights is None:
        return []
    rows = study.rows(*place)
    positive = rows[rows[CLASS].fillna(False).astype(bool)]
    shipped, truth = shipped_maps(weights, (study.stores[place[0]], positive), device)
    # the grain of the random map is that of the other networks' rival
    beside = [shipped, *rivals_of(shipped, truth, truth.size / 32, seed)]
    named = f"{place[0]}/{place[2]}"
    shown = largest_lesions(truth, (CLASS,), 4)
    study.save(methods_figure(beside, truth, shown, MaskReport(), named), "heatmaps_shipped")
    return localisation(Rows(study.name, named, replicates, seed), beside, truth, tolerance_px)


def checked(results: pd.DataFrame, weights: str | None) -> str:
    """`rows.checked_above_random` of the shipped network, by results that hold `shipped_rows`;
    where there are no `weights`, nothing need be better."""
    return checked_above_random(results, SHIPPED, needed=weights is not None)
