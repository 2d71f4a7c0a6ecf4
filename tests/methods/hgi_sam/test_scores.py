import numpy as np
import pandas as pd
import pytest
from skimage.filters import threshold_otsu

from ich_study.errors import DataError, ParameterError, StudyError
from ich_study.evaluate.thresholds import fixed_threshold
from ich_study.methods.hgi_sam.scores import (
    GRID,
    at_threshold,
    fold_thresholds,
    otsu_threshold,
    score_maps,
    search_grid,
)
from ich_study.metrics.overlap import dice, overlap_counts

RNG = np.random.default_rng(0)
TRUTH = RNG.random((12, 10, 10)) < 0.25
TRUTH[[2, 7]] = False
MAPS = np.clip(0.6 * TRUTH + 0.5 * RNG.random(TRUTH.shape), 0, 1).astype(np.float32)
FOLDS = np.repeat([0, 1, 2], 4)


def read(places, brain):
    return MAPS[places] if brain is None else MAPS[places] * brain


def mean_dice(threshold, keep):
    values = [
        dice(overlap_counts(found >= threshold, mask))
        for found, mask in zip(MAPS[keep], TRUTH[keep])
        if mask.any()
    ]
    return np.mean(values)


def test_a_fold_gets_the_threshold_that_is_best_on_the_others():
    scores = score_maps(read, TRUTH, None, batch=5)
    found = fold_thresholds(scores.counts, FOLDS, "printed", "swin_hgi_sam")
    for fold, threshold in found.by_fold.items():
        others = np.flatnonzero(fold != FOLDS)
        values = [mean_dice(step, others) for step in GRID]
        assert threshold.value == GRID[
            int(np.argmax(values))
        ] and threshold.objective == pytest.approx(max(values))
        assert threshold.source == "masks-validation"
        own = overlap_counts(MAPS[fold == FOLDS] >= threshold.value, TRUTH[fold == FOLDS])
        assert np.array_equal(found.counts[fold == FOLDS].tp, own.tp) and np.array_equal(
            found.counts[fold == FOLDS].fp, own.fp
        )


def test_a_folds_own_masks_do_not_move_its_threshold():
    changed = TRUTH.copy()
    changed[FOLDS == 1] = RNG.random((4, 10, 10)) < 0.5
    first, second = (
        fold_thresholds(score_maps(read, truth, None).counts, FOLDS, "printed", "x").by_fold
        for truth in (TRUTH, changed)
    )
    assert first[1] == second[1] and first[0] != second[0]


def test_the_codes_search_is_coarse_and_stops_early():
    assert np.allclose(GRID[search_grid("authors", "swin_hgi_sam")], np.arange(0.01, 1, 0.02))
    assert np.allclose(GRID[search_grid("authors", "swin_grad_cam")], np.arange(0.1, 0.95, 0.1))
    counts = score_maps(read, TRUTH, None).counts
    found = fold_thresholds(counts, FOLDS, "authors", "swin_sam_binary")
    for fold, threshold in found.by_fold.items():
        values = [
            mean_dice(step, np.flatnonzero(fold != FOLDS)) for step in np.arange(0.01, 1, 0.02)
        ]
        stop = next(
            place
            for place in range(len(values))
            if place + 1 == len(values) or values[place + 1] <= values[place]
        )
        assert threshold.value == pytest.approx(0.01 + 0.02 * stop)
    with pytest.raises(ParameterError, match="expected one of printed, authors"):
        search_grid("fine", "x")


def test_the_brain_reaches_the_maps_and_batches_do_not_matter():
    brain = RNG.random(TRUTH.shape) < 0.7
    whole, parts = (score_maps(read, TRUTH, brain, batch) for batch in (64, 5))
    assert np.array_equal(whole.counts.fp, parts.counts.fp) and np.array_equal(
        whole.mass, parts.mass, equal_nan=True
    )
    expected = overlap_counts((MAPS * brain) >= 0.4, TRUTH)
    assert np.array_equal(at_threshold(whole.counts, fixed_threshold(0.4)).fp, expected.fp)
    assert (
        np.isnan(whole.pointing[[2, 7]]).all()
        and np.isfinite(np.delete(whole.pointing, [2, 7])).all()
    )


def test_the_mask_free_threshold_is_otsus_and_sees_labels_only():
    brain = np.ones(TRUTH.shape, bool)
    brain[:, :2] = False
    positive = pd.Series(TRUTH.any((1, 2))).astype("boolean")
    found = otsu_threshold(lambda places, inside: MAPS[places], positive, brain, batch=4)
    heat = np.round(MAPS[positive.to_numpy(bool)][brain[positive.to_numpy(bool)]] * 255)
    oracle = threshold_otsu(heat.astype(np.uint8), nbins=256)
    assert found.source == "labels" and abs(found.value - (oracle + 1) / 255) <= 0.011
    with pytest.raises(DataError, match="labelled positive"):
        otsu_threshold(read, positive & False, brain)
    with pytest.raises(StudyError, match="needs two"):
        otsu_threshold(lambda places, inside: np.ones_like(MAPS[places]), positive, brain)


def test_without_any_heat_the_mask_free_threshold_is_fixed_and_says_so():
    found = otsu_threshold(
        lambda places, inside: np.zeros_like(MAPS[places]),
        pd.Series(TRUTH.any((1, 2))),
        np.ones(TRUTH.shape, bool),
    )
    assert found.value == 0.5 and found.source == "none" and "no heat" in found.rule


def test_nothing_to_choose_from_is_named():
    counts = score_maps(read, TRUTH, None).counts
    with pytest.raises(DataError, match="empty"):
        score_maps(read, TRUTH[:0], None)
    with pytest.raises(DataError, match="at least two"):
        fold_thresholds(counts, np.zeros(12, int), "printed", "x")
    with pytest.raises(DataError, match="outside fold 0"):
        fold_thresholds(
            score_maps(read, TRUTH & (FOLDS == 0)[:, None, None], None).counts,
            FOLDS,
            "printed",
            "x",
        )
