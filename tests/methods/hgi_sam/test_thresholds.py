from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from skimage.filters import threshold_otsu

from ich_study.errors import DataError
from ich_study.evaluate.score import score
from ich_study.evaluate.thresholds import Choice, Threshold, fixed_threshold
from ich_study.methods.hgi_sam import thresholds
from ich_study.methods.hgi_sam.thresholds import (
    GRID,
    of_other_folds,
    otsu_threshold,
    rival_heats,
    thresholds_table,
    without_masks,
)
from ich_study.metrics.overlap import dice, overlap_counts
from tests.evaluate.fakes import heat_of, truth_of

RNG = np.random.default_rng(0)
TRUTH = RNG.random((12, 10, 10)) < 0.25
TRUTH[[2, 7]] = False
MAPS = np.clip(0.6 * TRUTH + 0.5 * RNG.random(TRUTH.shape), 0, 1).astype(np.float32)
FOLDS = np.repeat([0, 1, 2], 4)
HEAT = heat_of(MAPS, "swin_hgi_sam")
POSITIVE = pd.Series(TRUTH.any((1, 2))).astype("boolean")


def scores_of(masks=TRUTH, method="swin_hgi_sam", variant="printed"):
    return score(replace(HEAT, name=method, variant=variant), truth_of(masks), GRID)


def mean_dice(threshold, keep):
    values = [
        dice(overlap_counts(found >= threshold, mask))
        for found, mask in zip(MAPS[keep], TRUTH[keep])
        if mask.any()
    ]
    return np.mean(values)


def test_a_fold_gets_the_threshold_that_is_best_on_the_others():
    found = of_other_folds(scores_of(), FOLDS)
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
    first, second = (of_other_folds(scores_of(masks), FOLDS).by_fold for masks in (TRUTH, changed))
    assert first[1] == second[1] and first[0] != second[0]


@pytest.mark.parametrize(
    ("method", "steps"),
    [("swin_sam_binary", np.arange(0.01, 1, 0.02)), ("swin_grad_cam", np.arange(0.1, 0.95, 0.1))],
)
def test_the_codes_search_is_coarse_and_stops_where_nothing_improves(method, steps):
    found = of_other_folds(scores_of(method=method, variant="authors"), FOLDS)
    for fold, threshold in found.by_fold.items():
        values = [mean_dice(step, np.flatnonzero(fold != FOLDS)) for step in steps]
        stop = 0
        while stop + 1 < len(values) and values[stop + 1] > values[stop]:
            stop += 1
        assert threshold.value == pytest.approx(steps[stop])


@pytest.mark.parametrize(("variant", "best"), [("printed", 6 / 7), ("authors", 8 / 14)])
def test_the_printed_search_goes_on_where_the_codes_stops(variant, best):
    # Dice by threshold: 8/14 up to 0.2, where a pixel of truth is lost, 6/13 up to 0.6, then 6/7
    maps = np.zeros((4, 5, 5), np.float32)
    maps[:, 0] = [0.9, 0.9, 0.9, 0.2, 0.6]
    maps[:, 1] = 0.6
    masks = np.zeros(maps.shape, bool)
    masks[:, 0, :4] = True
    heat = replace(heat_of(maps - np.float32(1e-4), "swin_hgi_sam"), variant=variant)
    choice = of_other_folds(score(heat, truth_of(masks), GRID), np.array([0, 0, 1, 1]))
    assert [each.objective for each in choice.by_fold.values()] == pytest.approx([best, best])


def test_the_mask_free_threshold_is_otsus_and_sees_labels_only():
    brain = np.ones(TRUTH.shape, bool)
    brain[:, :2] = False
    found = otsu_threshold(HEAT, POSITIVE, brain, batch=4)
    positive = POSITIVE.to_numpy(bool)
    heat = np.round(MAPS[positive][brain[positive]] * 255)
    oracle = threshold_otsu(heat.astype(np.uint8), nbins=256)
    assert found.source == "labels" and abs(found.value - (oracle + 1) / 255) <= 0.011
    with pytest.raises(DataError, match="labelled positive"):
        otsu_threshold(HEAT, POSITIVE & False, brain)


def test_without_any_heat_the_mask_free_threshold_is_fixed_and_says_so():
    found = otsu_threshold(heat_of(np.zeros_like(MAPS)), POSITIVE, np.ones(TRUTH.shape, bool))
    assert found.value == 0.5 and found.source == "none" and "no heat" in found.rule


def test_the_threshold_without_masks_is_found_on_other_slices_than_it_is_scored_on():
    other = heat_of(MAPS[::-1] ** 2, "swin_hgi_sam")
    positive, brain = POSITIVE[::-1], np.ones(TRUTH.shape, bool)
    scores = {"swin_hgi_sam": scores_of()}
    choice = without_masks(scores, {"swin_hgi_sam": other}, positive, brain)["swin_hgi_sam"]
    expected = otsu_threshold(other, positive, brain)
    assert choice.single == expected != otsu_threshold(HEAT, POSITIVE, brain)
    found = overlap_counts(expected.value <= MAPS, TRUTH)
    assert choice.source == "labels" and np.array_equal(choice.counts.fp, found.fp)


def test_rivals_are_scored_on_the_same_grid():
    truth = truth_of(TRUTH)
    found = thresholds.scores_of(rival_heats(truth, seed=1), truth)
    assert list(found) == ["hu_threshold", "centred_blob", "random_map"]
    # blood of the fake truth is 70 HU and all there is between 50 and 90
    assert found["hu_threshold"].counts.tp[0, 50] > 0
    assert all(np.array_equal(each.grid, GRID) for each in found.values())


def test_the_table_names_fold_and_source_of_every_threshold():
    by_fold = {fold: Threshold(0.1 * fold, "masks-validation", "best") for fold in (1, 2)}
    tuned = {"swin_hgi_sam": Choice("masks-validation", by_fold, None, None)}
    free = {
        name: Choice(threshold.source, {None: threshold}, None, None)
        for name, threshold in (
            ("swin_hgi_sam", Threshold(0.3, "labels", "Otsu")),
            ("swin_grad_cam", fixed_threshold(0.5)),
        )
    }
    table = thresholds_table(tuned, free, "authors")
    columns = ["method", "fold", "threshold", "threshold_source"]
    assert table[columns].to_numpy().tolist() == [
        ["swin_hgi_sam", "1", 0.1, "masks-validation"],
        ["swin_hgi_sam", "2", 0.2, "masks-validation"],
        ["swin_hgi_sam", "", 0.3, "labels"],
        ["swin_grad_cam", "", 0.5, "none"],
    ]
    assert set(table["variant"]) == {"authors"}
