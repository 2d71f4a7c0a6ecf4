import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from ich_study.errors import DataError, MapError, ParameterError, StudyError
from ich_study.methods.cams.scores import (
    SOURCES,
    MapSeries,
    raw_grid,
    scaled_grid,
    score_all,
    score_series,
    shown_maps,
)
from ich_study.methods.cams.truth_masks import PackedMasks
from ich_study.metrics.boxes import filled_box_counts
from ich_study.metrics.overlap import dice, overlap_counts
from tests.methods.cams.fakes import levels, perfect_series, series_of, truth_part

VALIDATION, TEST = truth_part(seed=1, prefix="v"), truth_part(5, seed=2, prefix="t")


def noisy(noise=0.9, seed=3):
    return perfect_series(VALIDATION, TEST, noise=noise, seed=seed)


def test_maps_that_are_the_truth_score_one_everywhere():
    score = score_series(perfect_series(VALIDATION, TEST), VALIDATION, TEST)
    positive = TEST.positive
    for source in ("masks-validation", "masks-test"):
        for counts in (score.pixel, score.box_union, score.box_match):
            assert dice(counts[source].sum()) == 1
        assert (
            score.hits(source)[positive].tolist() == [1.0] * positive.sum()
            and np.isnan(score.hits(source)[~positive]).all()
        )
        assert (
            score.predicted_cm2[source][~positive].max() == 0
            and score.brain_share[source][~positive].max() == 0
        )
        assert score.predicted_cm2[source][positive] == pytest.approx(0.2)
    assert score.area.value() == score.area_positive.value() == 1
    assert score.pointing[positive].tolist() == [1.0] * positive.sum() and score.mass[
        positive
    ] == pytest.approx(1)


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_counts_are_those_of_the_masks_whatever_the_batch(batch_size):
    series = noisy()
    score = score_series(series, VALIDATION, TEST, batch_size=batch_size)
    maps, truth = series.test(slice(None)), TEST.truth[slice(None)]
    for source, chosen in score.thresholds.items():
        masks = maps >= chosen.value
        expected = overlap_counts(masks, truth)
        assert np.array_equal(score.pixel[source].tp, expected.tp) and np.array_equal(
            score.pixel[source].fp, expected.fp
        )
        boxes = filled_box_counts(masks, truth)
        positive = TEST.positive
        assert np.array_equal(score.box_union[source].tp[positive], boxes.tp[positive])
        assert np.array_equal(score.box_union[source].fp[positive], boxes.fp[positive])


def test_thresholds_maximise_dice_on_their_own_part():
    series = noisy()
    score = score_series(series, VALIDATION, TEST)
    for source, part, reader in (
        ("masks-validation", VALIDATION, series.validation),
        ("masks-test", TEST, series.test),
    ):
        maps, truth = reader(slice(None))[part.positive], part.truth[slice(None)][part.positive]
        scores = [dice(overlap_counts(maps >= threshold, truth).sum()) for threshold in series.grid]
        assert score.thresholds[source].value == pytest.approx(series.grid[int(np.argmax(scores))])
        assert score.thresholds[source].source == source
    # the paper's choice can only look better on the part it was made on
    positive = TEST.positive
    assert dice(score.pixel["masks-test"][positive].sum()) >= dice(
        score.pixel["masks-validation"][positive].sum()
    )


def test_each_threshold_comes_from_the_part_that_it_names():
    # lesions stand out above 0.5 in the validation part and above 0.1 in the test part
    series = series_of(levels(VALIDATION, 0.8, 0.5), levels(TEST, 0.4, 0.1))
    score = score_series(series, VALIDATION, TEST)
    assert score.thresholds["masks-validation"].value == 33 / 64
    assert score.thresholds["masks-test"].value == 7 / 64
    # the held-out threshold lies above every value of the test part: nothing is marked
    missed, found = (score.pixel[source][TEST.positive].sum() for source in SOURCES)
    assert (missed.tp, missed.fp, missed.fn) == (0, 0, 15 * 20)
    assert (found.tp, found.fp, found.fn) == (15 * 20, 0, 0)
    assert score.predicted_cm2["masks-validation"].max() == 0
    assert score.predicted_cm2["masks-test"][TEST.positive] == pytest.approx(0.2)
    assert score.box_match["masks-validation"].sum().tp == 0
    assert score.box_match["masks-test"].sum().tp == 15
    assert score.box_union["masks-test"].sum().tp == 15 * 20


def test_a_threshold_is_chosen_on_positive_slices_alone():
    # over all slices 45/64, the first threshold above the healthy ones, would be the best
    series = series_of(levels(VALIDATION, 0.8, 0.5, 0.7), levels(TEST, 0.8, 0.5, 0.7))
    score = score_series(series, VALIDATION, TEST)
    assert [score.thresholds[source].value for source in SOURCES] == [33 / 64, 33 / 64]
    # and what it marks on healthy slices is measured there: whole slices of 24 x 24 x 0.01 cm2
    for source in SOURCES:
        assert score.predicted_cm2[source][TEST.healthy] == pytest.approx(5.76)
        assert score.brain_share[source][TEST.healthy] == pytest.approx(1)


def test_the_share_of_the_brain_leaves_out_what_is_marked_beside_it():
    upper = np.zeros((len(TEST), 24, 24), bool)
    upper[:, :12] = True
    part = type(TEST)(**{**vars(TEST), "brain": PackedMasks.of(upper)})
    lower = np.zeros((len(TEST), 24, 24), np.float32)
    lower[:, 18:] = lower[:, :3] = 1
    series = series_of(levels(VALIDATION, 0.8, 0.5), np.maximum(levels(TEST, 1, 0), lower))
    score = score_series(series, VALIDATION, part)
    assert score.brain_share["masks-test"][TEST.healthy] == pytest.approx(3 / 12)
    assert score.predicted_cm2["masks-test"][TEST.healthy] == pytest.approx(9 / 24 * 5.76)


def test_a_pixel_at_the_threshold_belongs_to_the_mask():
    maps = levels(VALIDATION, 32 / 64, 31 / 64), levels(TEST, 32 / 64, 31 / 64)
    series = series_of(*maps)
    score = score_series(series, VALIDATION, TEST)
    for source in SOURCES:
        assert score.thresholds[source].value == 0.5
        assert score.predicted_cm2[source][TEST.positive] == pytest.approx(0.2)
        assert score.box_union[source].sum().tp == 15 * 20
        assert score.hits(source)[TEST.positive].tolist() == [1.0] * 15
        place = int(np.flatnonzero(TEST.positive)[0])
        mask = shown_maps([series], [score], place, source)[1]["m", "[-1]"]
        assert np.array_equal(mask, TEST.truth[slice(place, place + 1)][0])


def test_boxes_match_at_the_least_iou_itself():
    # the lesion of 5 x 4 pixels and as much beside it: a box of IoU 20 / 40
    parts = []
    for part in (VALIDATION, TEST):
        truth = part.truth[slice(None)]
        parts.append((truth | np.roll(truth, 4, axis=2)).astype(np.float32))
    series = series_of(*parts)
    at, above = (score_series(series, VALIDATION, TEST, min_iou=least) for least in (0.5, 0.51))
    assert at.box_match["masks-test"].sum().tp == 15
    assert above.box_match["masks-test"].sum().tp == 0


def test_a_picture_shows_the_mask_at_the_held_out_threshold():
    series = series_of(levels(VALIDATION, 0.8, 0.5), levels(TEST, 0.4, 0.1))
    score = score_series(series, VALIDATION, TEST)
    place = int(np.flatnonzero(TEST.positive)[0])
    assert shown_maps([series], [score], place)[1]["m", "[-1]"].sum() == 0
    assert shown_maps([series], [score], place, "masks-test")[1]["m", "[-1]"].sum() == 20
    assert shown_maps([series], [score], place)[0]["m", "[-1]"].max() == 1


def test_area_under_the_curve_is_average_precision_of_the_pixels():
    series = noisy(0.5)
    fine = MapSeries(
        "m",
        "-1",
        "raw",
        series.validation,
        series.test,
        np.unique(series.test(slice(None)).astype(np.float64)),
    )
    score = score_series(fine, VALIDATION, TEST)
    maps, truth = series.test(slice(None)), TEST.truth[slice(None)]
    assert score.area.value() == pytest.approx(
        average_precision_score(truth.ravel(), maps.ravel()), abs=1e-6
    )
    positive = TEST.positive
    expected = average_precision_score(truth[positive].ravel(), maps[positive].ravel())
    assert score.area_positive.value() == pytest.approx(expected, abs=1e-6)
    recall, precision = score.precision_recall
    assert (
        recall[-1] == 1
        and precision[-1] == pytest.approx(truth[positive].mean())
        and (np.diff(recall) >= 0).all()
    )


def test_score_all_keeps_the_order():
    scores = score_all(
        [noisy(seed=1), perfect_series(VALIDATION, TEST, "other", "-2")], VALIDATION, TEST
    )
    assert [(score.method, score.layer) for score in scores] == [("perfect", "-1"), ("other", "-2")]


def test_grids_are_ascending_and_come_from_the_maps():
    values = np.random.default_rng(0).normal(size=(5, 8, 8))
    grid = raw_grid(values, "maps")
    assert (
        (np.diff(grid) > 0).all()
        and grid[0] >= values.min() - 1e-6
        and grid[-1] <= values.max() + 1e-6
    )
    # most thresholds lie where lesions are: in the top tenth
    assert (grid > np.quantile(values, 0.9)).mean() > 0.5
    assert scaled_grid(4).tolist() == [0.25, 0.5, 0.75, 1.0]


def test_bad_input_is_an_error():
    with pytest.raises(MapError, match="flat"):
        raw_grid(np.full((2, 3, 3), 0.4), "hires_cam at layer [-3]")
    with pytest.raises(MapError, match="NaN"):
        raw_grid(np.array([[[np.nan, 1.0]]]), "maps")
    with pytest.raises(ParameterError, match="thresholds"):
        scaled_grid(1)
    empty = truth_part(seed=4)
    empty.truth.bits[:] = 0
    with pytest.raises(DataError, match="test part has no slice with truth"):
        score_series(perfect_series(VALIDATION, TEST), VALIDATION, empty)
    small = truth_part(5, size=20, seed=2)
    with pytest.raises(MapError, match="slices of 20 px"):
        score_series(perfect_series(VALIDATION, TEST), VALIDATION, small)
    broken = MapSeries(
        "m",
        "-1",
        "raw",
        lambda places: np.full((places.stop - places.start, 24, 24), np.nan, np.float32),
        noisy().test,
        scaled_grid(),
    )
    with pytest.raises(StudyError, match="finite"):
        score_series(broken, VALIDATION, TEST)
