"""Measures of one volume against their formulas and MONAI."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.metrics import HausdorffDistanceMetric

from ich_study.ct.planes import PixelGrid
from ich_study.errors import DataError, StudyError
from ich_study.methods.resnet_lstm.measures import (
    measured_volumes,
    on_scan_grid,
    volume_measures,
)

SPACING = (5.0, 0.5, 0.5)
GRID = PixelGrid.even(8, SPACING)


def ball(shift=0, radius=4.0, shape=(8, 24, 24)):
    zz, rr, cc = np.mgrid[: shape[0], : shape[1], : shape[2]]
    return ((zz - 4) * 2) ** 2 + (rr - 12) ** 2 + (cc - 12 - shift) ** 2 < radius**2


def test_measures_of_one_volume_follow_their_formulas_and_monai():
    prediction, truth = ball(3), ball()
    found = volume_measures(prediction, truth, GRID, 1.0)
    both = (prediction & truth).sum()
    assert found["dice"] == pytest.approx(2 * both / (prediction.sum() + truth.sum()))
    assert found["tpr"] == pytest.approx(both / truth.sum())
    assert found["rvd"] == pytest.approx(
        abs(int(prediction.sum()) - int(truth.sum())) / truth.sum()
    )
    assert found["truth_ml"] == pytest.approx(truth.sum() * 5 * 0.5 * 0.5 / 1000)
    metric = HausdorffDistanceMetric(include_background=True)
    oracle = metric(
        torch.from_numpy(prediction)[None, None].float(),
        torch.from_numpy(truth)[None, None].float(),
        spacing=list(SPACING),
    )
    assert found["hausdorff"] == pytest.approx(float(oracle), abs=1e-4)


def test_empty_predictions_empty_truths_and_unknown_spacing_are_defined():
    nothing = np.zeros_like(ball())
    missed = volume_measures(nothing, ball(), GRID, 1.0)
    assert (missed["dice"], missed["rvd"], missed["tpr"], missed["surface_dice"]) == (
        0,
        1,
        0,
        0,
    ) and np.isnan(missed["hausdorff"])
    healthy = volume_measures(ball(), nothing, GRID, 1.0)
    assert (
        all(np.isnan(healthy[name]) for name in ("dice", "rvd", "tpr", "hausdorff", "surface_dice"))
        and healthy["predicted_ml"] > 0
    )
    unknown = volume_measures(ball(), ball(), PixelGrid.even(8, (np.nan,) * 3), 1.0)
    assert unknown["dice"] == 1 and np.isnan(unknown["hausdorff"]) and np.isnan(unknown["truth_ml"])


def one_scan(truth):
    return SimpleNamespace(
        number=1,
        truth=lambda scan: truth,
        patient=lambda scan: f"patient of {scan}",
        grid=lambda scan: GRID,
    )


def test_predictions_on_another_grid_are_brought_to_the_scans():
    fold = one_scan(np.repeat(np.repeat(ball(), 2, 1), 2, 2))
    table = measured_volumes(fold, {"a": ball()}, "m", "v")
    assert table["dice"].tolist() == [1.0] and table["fold"].tolist() == [1]
    assert table["patient_id"].tolist() == ["patient of a"] and table["scan_id"].tolist() == ["a"]
    with pytest.raises(StudyError, match="pixel volumes"):
        measured_volumes(fold, {"a": ball()[:3]}, "m", "v")
    with pytest.raises(DataError, match="empty"):
        measured_volumes(fold, {}, "m", "v")


def test_a_probability_at_the_threshold_is_not_above_it():
    probability = np.zeros((1, 2, 2), np.float32)
    probability[0, 0, 0] = 1
    assert on_scan_grid(probability, (4, 4), 0.6)[0].sum() == 3
    assert on_scan_grid(probability, (2, 2), 0.99).sum() == 1
    probability[0, 0, 0] = 0.5
    assert on_scan_grid(probability, (2, 2), 0.5).sum() == 0
