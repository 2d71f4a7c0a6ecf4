"""Scores on maps whose overlap is known, with the values written down."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from ich_study.errors import DataError, MapError, StudyError
from ich_study.evaluate.score import score
from ich_study.evaluate.truth import PackedMasks
from ich_study.methods.cams.heat import SCALED_GRID
from ich_study.methods.cams.scores import (
    pixel_average_precision,
    precision_recall,
    score_all,
    threshold_table,
)
from ich_study.metrics.boxes import filled_box_counts, loose_hit
from ich_study.metrics.overlap import dice, overlap_counts
from tests.methods.cams.fakes import heat_of, levels, noisy, scored, truth_part, without_truth

VALIDATION, TEST = PARTS = truth_part(seed=1, prefix="v"), truth_part(5, seed=2, prefix="t")
POSITIVE = TEST.positive()

SOURCES = ("masks-validation", "masks-test")


def one(validation_maps, test_maps, **options):
    return scored(PARTS, (validation_maps, test_maps), **options)[0]


def blurred(noise=0.9, seed=3):
    return noisy(VALIDATION, noise, seed), noisy(TEST, noise, seed + 1)


def area(found, chosen):
    return pixel_average_precision(found.scores, TEST.size, chosen).value()


def test_maps_that_are_the_truth_score_one_everywhere():
    found = one(VALIDATION.mask(), TEST.mask())
    for marks in found.marks.values():
        for counts in (marks.choice.counts, marks.union, marks.matched):
            assert dice(counts.sum()) == 1
        hits = loose_hit(marks.choice.counts)
        assert hits[POSITIVE].tolist() == [1.0] * 15 and np.isnan(hits[~POSITIVE]).all()
        assert marks.cm2[~POSITIVE].max() == 0 and marks.brain_share[~POSITIVE].max() == 0
        assert marks.cm2[POSITIVE] == pytest.approx(0.2)
    assert area(found, POSITIVE) == area(found, np.ones(len(TEST), bool)) == 1
    assert found.scores.pointing[POSITIVE].tolist() == [1.0] * 15
    assert found.scores.mass[POSITIVE] == pytest.approx(1)


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_counts_are_those_of_the_masks_whatever_the_batch(batch):
    maps = blurred()
    for marks in one(*maps, batch=batch).marks.values():
        masks = maps[1] >= marks.threshold
        expected = overlap_counts(masks, TEST.mask())
        boxes = filled_box_counts(masks, TEST.mask())[POSITIVE]
        for name in ("tp", "fp", "fn"):
            assert np.array_equal(getattr(marks.choice.counts, name), getattr(expected, name))
            assert np.array_equal(getattr(marks.union[POSITIVE], name), getattr(boxes, name))
        # the areas and the counts are of the same pixels
        assert marks.cm2 == pytest.approx(masks.sum((1, 2)) * 0.01)


@pytest.mark.parametrize("unit", ["pixel", "slice"])
def test_thresholds_maximise_dice_on_their_own_part(unit):
    maps = blurred()
    found = one(*maps, unit=unit)
    for source, part, own in zip(SOURCES, PARTS, maps):
        own, mask = own[part.positive()], part.mask()[part.positive()]
        counts = [overlap_counts(own >= threshold, mask) for threshold in SCALED_GRID]
        reached = [dice(c.sum()) if unit == "pixel" else dice(c).mean() for c in counts]
        assert found.marks[source].threshold == SCALED_GRID[int(np.argmax(reached))]
        assert found.marks[source].choice.single.objective == pytest.approx(max(reached))


def test_each_threshold_comes_from_the_part_that_it_names():
    # lesions stand out above 0.5 in the validation part and above 0.1 in the test part
    found = one(levels(VALIDATION, 0.8, 0.5), levels(TEST, 0.4, 0.1)).marks
    assert found["masks-validation"].threshold == 33 / 64
    assert found["masks-test"].threshold == 7 / 64
    # the held-out threshold lies above every value of the test part: nothing is marked
    missed, hit = (found[source].choice.counts[POSITIVE].sum() for source in SOURCES)
    assert (missed.tp, missed.fp, missed.fn) == (0, 0, 15 * 20)
    assert (hit.tp, hit.fp, hit.fn) == (15 * 20, 0, 0)
    assert found["masks-validation"].cm2.max() == 0
    assert found["masks-test"].cm2[POSITIVE] == pytest.approx(0.2)
    assert found["masks-validation"].matched.sum().tp == 0
    assert found["masks-test"].matched.sum().tp == 15
    assert found["masks-test"].union.sum().tp == 15 * 20


def test_a_threshold_is_chosen_on_positive_slices_alone():
    # over all slices 45/64, the first threshold above the healthy ones, would be the best
    found = one(levels(VALIDATION, 0.8, 0.5, 0.7), levels(TEST, 0.8, 0.5, 0.7))
    for marks in found.marks.values():
        assert marks.threshold == 33 / 64
        # and what it marks on healthy slices is measured there: 24 x 24 pixels of 0.01 cm2
        assert marks.cm2[TEST.healthy] == pytest.approx(5.76)
        assert marks.brain_share[TEST.healthy] == pytest.approx(1)


def test_the_share_of_the_brain_leaves_out_what_is_marked_beside_it():
    upper = np.zeros((len(TEST), 24, 24), bool)
    upper[:-1, :12] = True  # the last slice shows no brain
    lower = np.zeros((len(TEST), 24, 24), np.float32)
    lower[:, 18:] = lower[:, :3] = 1
    maps = levels(VALIDATION, 0.8, 0.5), np.maximum(levels(TEST, 1, 0), lower)
    part = replace(TEST, brain=PackedMasks.of(upper))
    marks = scored((VALIDATION, part), maps)[0].marks["masks-test"]
    assert marks.brain_share[TEST.healthy][:-1] == pytest.approx(3 / 12)
    assert np.isnan(marks.brain_share[-1])
    assert marks.cm2[TEST.healthy] == pytest.approx(9 / 24 * 5.76)


def test_a_pixel_at_the_threshold_belongs_to_the_mask():
    found = one(levels(VALIDATION, 32 / 64, 31 / 64), levels(TEST, 32 / 64, 31 / 64))
    for marks in found.marks.values():
        assert marks.threshold == 0.5
        assert marks.cm2[POSITIVE] == pytest.approx(0.2)
        assert marks.union.sum().tp == 15 * 20
        assert loose_hit(marks.choice.counts)[POSITIVE].tolist() == [1.0] * 15


def test_boxes_match_at_the_least_iou_itself():
    # the lesion of 5 x 4 pixels and as much beside it: a box of IoU 20 / 40
    maps = [part.mask() | np.roll(part.mask(), 4, axis=2) for part in PARTS]
    at, above = (one(*maps, min_iou=least).marks["masks-test"] for least in (0.5, 0.51))
    assert at.matched.sum().tp == 15 and above.matched.sum().tp == 0


def test_area_under_the_curve_is_average_precision_of_the_pixels():
    maps, truth = noisy(TEST, 0.5, 4), TEST.mask()
    fine = np.unique(maps.astype(np.float64))
    scores = score(heat_of(maps), TEST, fine)
    for chosen in (np.ones(len(TEST), bool), POSITIVE):
        found = pixel_average_precision(scores, TEST.size, chosen)
        expected = average_precision_score(truth[chosen].ravel(), maps[chosen].ravel())
        assert found.value() == pytest.approx(expected, abs=1e-6)
    recall, precision = precision_recall(scores, TEST.size)
    assert recall[-1] == 1 and (np.diff(recall) >= 0).all()
    assert precision[-1] == pytest.approx(truth[POSITIVE].mean())


def test_scores_keep_the_order_and_the_names():
    maps = levels(VALIDATION, 0.8, 0.5), levels(TEST, 0.4, 0.1)
    found = scored(PARTS, (*maps, "a", "-2", "printed"), (*maps, "random_map", None))
    assert [each.label for each in found] == ["a [-2]", "random_map"]
    table = threshold_table(found)
    assert table["layer"].tolist() == ["-2", "-2", "", ""]
    assert table["threshold"].tolist() == [33 / 64, 7 / 64] * 2
    assert table["threshold_source"].tolist() == list(SOURCES) * 2
    assert table["objective"].tolist() == [1.0] * 4


def test_bad_input_is_an_error():
    maps = VALIDATION.mask(), TEST.mask()
    with pytest.raises(DataError, match="test part has no slice with truth"):
        scored((VALIDATION, without_truth(TEST)), maps)
    with pytest.raises(DataError, match="validation part has no slice with truth"):
        scored((without_truth(VALIDATION), TEST), maps)
    with pytest.raises(MapError, match="shape"):
        scored((VALIDATION, truth_part(5, size=20, seed=2)), maps)
    with pytest.raises(StudyError, match="finite"):
        one(np.full(VALIDATION.hu.shape, np.nan), TEST.mask())


def test_thresholds_of_one_method_are_not_those_of_another():
    heats = [heat_of(VALIDATION.mask(), "a")], [heat_of(TEST.mask(), "b")]
    with pytest.raises(DataError, match="validation has heat of"):
        score_all(*heats, PARTS)
