"""What ResNet-LSTM's masks and maps are scored against: truth masks, or boxes where a data set has
no masks; and the rivals.

A box is not a mask: Dice against a filled box has another scale, so measures against boxes are
named `box_dice` and so on, and never stand in a column with those against masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ich_study.errors import DataError
from ich_study.evaluate.localisation_report import mean_rows
from ich_study.evaluate.rivals import RIVALS, rival_maps
from ich_study.evaluate.scored_slices import ScoredSlices, read_scored_slices
from ich_study.methods.resnet_lstm.class_activation import CamRecipe, cam_region
from ich_study.methods.resnet_lstm.pseudo_masks import PseudoLabeller
from ich_study.methods.resnet_lstm.study import Fold
from ich_study.metrics.boxes import fill_boxes
from ich_study.metrics.localisation import mass_inside, pointing_game

BOX_PREFIX = "box_"


def truth_kind(fold: Fold) -> str:
    """Return "masks" where every test scan has one, else "boxes"; DataError for neither."""
    rows = fold.rows["test"]
    if rows["has_mask"].all():
        return "masks"
    if rows.loc[rows["any"].fillna(False).astype(bool), "has_boxes"].any():
        return "boxes"
    raise DataError(
        f"fold {fold.number}: the test scans of {fold.store.dataset} have neither masks nor boxes"
        " to score against"
    )


def truths(fold: Fold, part: str) -> dict[str, np.ndarray]:
    """Truth of each scan of a part on its own grid, bool (slices, rows, columns): its mask, or its
    boxes filled."""
    if truth_kind(fold) == "masks":
        return {scan: np.asarray(fold.store.mask(scan)) > 0 for scan in fold.scans(part)}
    boxes = fold.store.boxes.groupby("scan_id", sort=False)
    groups = {str(scan): rows for scan, rows in boxes}
    found = {}
    for scan in fold.scans(part):
        truth = np.zeros(fold.store.volume(scan).shape, bool)
        if scan in groups:
            for index, rows in groups[scan].groupby("slice_index"):
                truth[int(index)] = fill_boxes(
                    rows[["x", "y", "width", "height"]].to_numpy(np.float64), truth.shape[1:]
                )
        found[scan] = truth
    return found


def score_test_part(fold: Fold, labeller: PseudoLabeller) -> ScoredSlices:
    """All slices of the test part on the network's grid, with brain, and masks or boxes."""
    masks = truth_kind(fold) == "masks"
    return read_scored_slices(
        fold.store,
        fold.rows["test"],
        labeller.preprocessing,
        masks=masks,
        boxes=not masks,
        progress=False,
    )


def rival_masks(
    fold: Fold,
    scored: ScoredSlices,
    gates: Mapping[str, np.ndarray],
    cam: CamRecipe,
    smoothness_px: float,
    seed: int,
) -> dict[str, dict[str, np.ndarray]]:
    """Masks of the trivial rivals: name -> scan -> bool (slices, S, S).

    The HU threshold stands alone. The centred blob and the random map are cut like a CAM and stand
    on the slices that the classifier calls positive (`gates`: scan -> bool), as the CAM does.
    """
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in RIVALS}
    maps = {name: rival_maps(name, scored.hu, scored.brain, smoothness_px, seed) for name in RIVALS}
    for scan in fold.scans("test"):
        rows = scored.rows[scored.rows["scan_id"].astype(str) == scan].sort_values("slice_index")
        for name in RIVALS:
            if name == "hu_threshold":
                found[name][scan] = maps[name][rows.index] > 0
            else:
                found[name][scan] = (
                    cam_region(maps[name][rows.index], cam) & gates[scan][:, None, None]
                )
    return found


def map_rows(
    fold: Fold,
    labellers: Mapping[str, PseudoLabeller],
    scored: ScoredSlices,
    smoothness_px: float,
    seed: int,
) -> list[dict[str, Any]]:
    """Pointing game and mass inside of each test slice with truth, for the CAMs and the rivals:
    `method, metric, values, rows`."""
    truth = scored.truth() if scored.codes is not None else scored.box_masks()
    known = np.flatnonzero(truth.any((1, 2)))
    rows = scored.rows.loc[known].reset_index(drop=True)
    maps = {
        f"{name}_cam": _heatmaps(labeller, scored, known) for name, labeller in labellers.items()
    }
    maps |= {
        name: rival_maps(name, scored.hu[known], scored.brain[known], smoothness_px, seed)
        for name in RIVALS
    }
    return [
        {"method": name, "metric": metric, "values": measure(each, truth[known]), "rows": rows}
        for name, each in maps.items()
        for metric, measure in (("pointing_game", pointing_game), ("mass_inside", mass_inside))
    ]


def map_results(
    parts: list[dict[str, Any]], common: Mapping[str, Any], replicates: int, seed: int
) -> list[dict[str, Any]]:
    """Result rows of one measure of one method (`map_rows` of every fold), pooled over folds: mean
    over slices with truth."""
    rows = pd.concat([part["rows"] for part in parts], ignore_index=True)
    values = np.concatenate([part["values"] for part in parts])
    described = {
        **common,
        "method": parts[0]["method"],
        "class": "any",
        "unit": "slice",
        "subset": "positive",
        "threshold_source": "none",
    }
    return mean_rows(values, rows, parts[0]["metric"], described, replicates, seed)


def _heatmaps(labeller: PseudoLabeller, scored: ScoredSlices, places: np.ndarray) -> np.ndarray:
    rows, size = scored.rows.loc[places], labeller.preprocessing.size
    found = np.zeros((len(places), size, size), np.float32)
    for scan, group in rows.reset_index(drop=True).groupby("scan_id", sort=False):
        found[group.index] = labeller.heatmaps(str(scan), group["slice_index"].to_numpy())[0]
    return found
