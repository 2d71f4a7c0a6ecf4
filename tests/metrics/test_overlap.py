"""Overlap measures against MONAI and scikit-learn, their empty cases and their identities."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics import DiceMetric, MeanIoU
from sklearn.metrics import f1_score, jaccard_score, recall_score

from ich_study.errors import StudyError
from ich_study.metrics.overlap import (
    RATIOS,
    Counts,
    dice,
    iou,
    mean_over_units,
    overlap_counts,
    sensitivity,
    stack_counts,
)

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6))


def pair(seed: int, shape=(7, 16, 16), density=0.3):
    rng = np.random.default_rng(seed)
    return rng.random(shape) < density, rng.random(shape) < density


@pytest.mark.parametrize("metric, ours", [(DiceMetric, dice), (MeanIoU, iou)])
def test_nan_rule_is_monais(metric, ours):
    prediction, truth = pair(0)
    truth[1] = False
    prediction[2] = False
    truth[3] = prediction[3] = False
    tensors = (torch.tensor(mask)[:, None].float() for mask in (prediction, truth))
    oracle = metric(include_background=True, reduction="none")(*tensors)
    np.testing.assert_allclose(
        ours(overlap_counts(prediction, truth)), oracle[:, 0].numpy(), rtol=1e-6
    )


def test_micro_is_scikit_learns():
    prediction, truth = pair(1)
    total = overlap_counts(prediction, truth).sum()
    flat = truth.ravel(), prediction.ravel()
    assert dice(total) == pytest.approx(f1_score(*flat), rel=1e-12)
    assert iou(total) == pytest.approx(jaccard_score(*flat), rel=1e-12)
    assert sensitivity(total) == pytest.approx(recall_score(*flat), rel=1e-12)
    top, bottom = RATIOS["precision"](total)
    assert top / bottom == pytest.approx(recall_score(*flat[::-1]), rel=1e-12)


def test_empty_cases():
    counts = Counts(tp=np.zeros(3, int), fp=np.array([0, 0, 4]), fn=np.array([0, 4, 0]))
    # both empty, prediction empty, truth empty
    np.testing.assert_array_equal(dice(counts), [np.nan, 0, np.nan])
    np.testing.assert_array_equal(iou(counts), [np.nan, 0, np.nan])
    np.testing.assert_array_equal(sensitivity(counts), [np.nan, 0, np.nan])


@settings(max_examples=50, deadline=None)
@given(masks, st.randoms())
def test_identities(prediction, random):
    truth = prediction.copy().ravel()
    flips = random.sample(range(truth.size), k=truth.size // 2)
    truth[flips] = ~truth[flips]
    truth = truth.reshape(prediction.shape)
    counts, mirrored = overlap_counts(prediction, truth), overlap_counts(truth, prediction)
    d, j, both = dice(counts), iou(counts), counts.present & mirrored.present
    np.testing.assert_allclose(j, d / (2 - d), atol=1e-12)
    np.testing.assert_array_equal(d[both], dice(mirrored)[both])
    assert ((d[both] >= 0) & (d[both] <= 1)).all() and (j[both] <= d[both] + 1e-12).all()
    np.testing.assert_array_equal(dice(overlap_counts(prediction[:, ::-1], truth[:, ::-1])), d)
    np.testing.assert_array_equal(dice(overlap_counts(truth, truth))[counts.present], 1)


def test_counts_of_slices_are_summed_per_scan():
    prediction, truth = pair(3)
    scans = np.array(["b", "b", "a", "a", "a", "c", "c"])
    counts = overlap_counts(prediction, truth)
    per_scan = dice(counts.by_group(scans))
    parts = [(prediction[scans == name], truth[scans == name]) for name in "abc"]
    by_hand = [2 * (p & t).sum() / (p.sum() + t.sum()) for p, t in parts]
    np.testing.assert_allclose(per_scan, by_hand)
    volume = overlap_counts(prediction[scans == "a"], truth[scans == "a"], spatial=3)
    assert dice(volume) == pytest.approx(per_scan[0])


def test_means_leave_undefined_out():
    np.testing.assert_allclose(
        mean_over_units(np.array([[1, np.nan], [np.nan, np.nan], [0, np.nan]])), [0.5, np.nan]
    )


def test_stacked_counts():
    counts = stack_counts(
        [
            Counts(np.int64(1), np.int64(2), np.int64(3)),
            Counts(np.int64(4), np.int64(5), np.int64(6)),
        ]
    )
    np.testing.assert_array_equal(counts.fp, [2, 5])
    assert stack_counts([]).tp.shape == (0,)


@pytest.mark.parametrize(
    "prediction",
    [np.full((4, 4), 0.5), np.full((4, 4), 2, np.uint8), np.zeros((4, 3), bool)],
)
def test_what_is_no_mask_of_the_truths_shape_is_refused(prediction):
    with pytest.raises(StudyError, match="two bool masks of one shape"):
        overlap_counts(prediction, np.zeros((4, 4), bool))
