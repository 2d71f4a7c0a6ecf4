"""What a segmentation of a whole volume is worth: Dice, RVD, TPR, Hausdorff distance, surface Dice.

All on the scan's own grid (ResNet-LSTM, Section 3).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from ich_study.ct.planes import PixelGrid
from ich_study.errors import DataError
from ich_study.evaluate.scaling import resized_maps
from ich_study.methods.resnet_lstm.study import Fold
from ich_study.methods.resnet_lstm.volumes import resized_masks
from ich_study.metrics import overlap
from ich_study.metrics.surface import surface_measures
from ich_study.metrics.volume import relative_volume_difference, volume_ml

METRICS: tuple[str, ...] = ("dice", "rvd", "tpr", "hausdorff", "surface_dice")


def on_scan_grid(
    probability: np.ndarray, shape: tuple[int, int], threshold: float = 0.5
) -> np.ndarray:
    """Probabilities (slices, S, S) brought to the scan's grid bilinearly and cut above `threshold`,
    bool."""
    maps = torch.from_numpy(np.ascontiguousarray(probability))
    return resized_maps(maps, shape).numpy() > threshold


def overlap_measures(
    prediction: np.ndarray, truth: np.ndarray, depth_mm: np.ndarray | None = None
) -> dict[str, float]:
    """Dice, RVD and TPR of one volume, masks bool (slices, rows, columns) on one grid.

    depth_mm: of every slice; RVD compares volumes, so thick slices count more. Where it is None or
    unknown (NaN), all slices count alike. NaN where the truth is empty; an empty prediction has
    Dice 0, RVD 1, TPR 0. StudyError where the shapes differ.

    >>> truth = np.zeros((1, 4, 4), bool)
    >>> truth[0, :2] = True
    >>> overlap_measures(np.roll(truth, 1, axis=1), truth)
    {'dice': 0.5, 'rvd': 0.0, 'tpr': 0.5}
    """
    counts = overlap.overlap_counts(prediction, truth, spatial=3)
    known = depth_mm is not None and np.isfinite(depth_mm).all()
    weights = depth_mm if known else np.ones(len(truth))
    volumes = (mask.sum((1, 2)) @ weights for mask in (prediction, truth))
    return {
        "dice": float(overlap.dice(counts)),
        "rvd": float(relative_volume_difference(*volumes)),
        "tpr": float(overlap.sensitivity(counts)),
    }


def volume_measures(
    prediction: np.ndarray,
    truth: np.ndarray,
    grid: PixelGrid,
    tolerance_mm: float,
) -> dict[str, float]:
    """METRICS, `predicted_ml` and `truth_ml` of one volume, masks as in `overlap_measures`.

    An empty prediction has surface Dice 0 and no Hausdorff distance; an empty truth has neither.
    Unknown positions or pixel size leave what is in mm or mL NaN.
    """
    hausdorff = surface_dice = float("nan")
    predicted_ml, truth_ml = (volume_ml(mask, grid.pixel_ml) for mask in (prediction, truth))
    if grid.known:
        hausdorff, surface_dice = surface_measures(prediction, truth, grid, tolerance_mm)
    return {
        **overlap_measures(prediction, truth, grid.depth_mm),
        "hausdorff": hausdorff,
        "surface_dice": surface_dice if truth.any() else float("nan"),
        "predicted_ml": predicted_ml,
        "truth_ml": truth_ml,
    }


def measured_volumes(
    fold: Fold,
    predictions: Mapping[str, np.ndarray],
    method: str,
    variant: str,
    tolerance_mm: float = 1.0,
) -> pd.DataFrame:
    """A row per scan: fold, patient_id, scan_id, method, variant and `volume_measures`.

    predictions: bool, on any grid of the scan's slices; brought to the truth's by nearest
    neighbour. tolerance_mm: of the surface Dice; the challenge's is not printed. Raises DataError
    for no scan.
    """
    if not predictions:
        raise DataError(f"no volumes to measure for {method}: the test part is empty")
    rows = []
    for scan, prediction in predictions.items():
        truth = fold.truth(scan)
        named = {"fold": fold.number, "patient_id": fold.patient(scan), "scan_id": scan}
        on_grid = resized_masks(prediction, truth.shape[1:])
        measured = volume_measures(on_grid, truth, fold.grid(scan), tolerance_mm)
        rows.append({**named, "method": method, "variant": variant, **measured})
    return pd.DataFrame(rows)
