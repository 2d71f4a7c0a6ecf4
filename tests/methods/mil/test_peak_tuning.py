"""Bayesian optimisation of the detector: it searches, it resumes to the same end, it refuses what
it cannot tune on."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ich_study.errors import ParameterError, StudyError
from ich_study.methods.mil.peak_tuning import (
    HISTORY_FILE,
    TYPES,
    Bounds,
    Search,
    summed_f1,
    tune_centroids,
    tune_detector,
    tuning_bounds_of,
)
from ich_study.methods.mil.peaks import Detector
from tests.methods.mil.fakes import Spikes, scored_maps, spiked_maps

SCORED = scored_maps(4)
BOUNDS_HERE = Bounds((0.0, 1.5), (1.0, 12.0), (-1.0, 2.0))
START = Detector(0.0, 0.0, 1, "printed", False)


def tuned(folder, iterations=5, **changes):
    search = Search(BOUNDS_HERE, START, folder, iterations, initial=5, **changes)
    return tune_detector(SCORED, search)


def history(folder):
    return pd.read_csv(folder / HISTORY_FILE)


def test_it_finds_a_detector_better_than_most_of_the_space(tmp_path):
    found = tuned(tmp_path)
    rng = np.random.default_rng(9)
    random = [
        summed_f1(
            SCORED,
            Detector(
                rng.uniform(0, 1.5), rng.uniform(-1, 2), int(rng.integers(1, 13)), "printed", False
            ),
        )
        for _ in range(40)
    ]
    point_f1, looked_at = summed_f1(SCORED, found), history(tmp_path)
    assert point_f1 == pytest.approx(looked_at["point_f1"].max())
    assert point_f1 > np.median(random) and point_f1 >= np.quantile(random, 0.8)
    assert list(looked_at.columns) == list(TYPES) and len(looked_at) == 10


def test_of_equally_good_detectors_the_first_evaluated_is_kept(tmp_path):
    # T alone leaves one point a spike, so that h and d change nothing
    found = tuned(tmp_path, iterations=10)
    looked_at = history(tmp_path)
    equal = looked_at[looked_at["point_f1"] == looked_at["point_f1"].max()]
    assert len(set(equal["prominence"])) > 1
    first = equal.iloc[0]
    own = (found.prominence, found.threshold, found.distance)
    assert own == pytest.approx((first["prominence"], first["threshold"], first["distance"]))


def test_a_search_that_was_killed_ends_as_one_that_was_not(tmp_path):
    whole = tuned(tmp_path / "whole")
    tuned(tmp_path / "killed", iterations=2)
    went_on = tuned(tmp_path / "killed")
    pd.testing.assert_frame_equal(*(history(tmp_path / name) for name in ("whole", "killed")))
    assert whole == went_on == tuned(tmp_path / "whole")


def test_another_search_in_the_folder_is_an_error_or_gives_way(tmp_path):
    tuned(tmp_path, iterations=1)
    with pytest.raises(StudyError, match="other slices, bounds or settings"):
        tuned(tmp_path, iterations=1, seed=2)
    tuned(tmp_path, iterations=1, seed=2, restart_changed=True)
    assert len(history(tmp_path)) == 6


def test_slices_without_a_box_cannot_be_tuned_on(tmp_path):
    bare = replace(SCORED, boxes=[np.empty((0, 4))] * len(SCORED))
    with pytest.raises(StudyError, match="none of the 24 tuning slices has a box"):
        tune_detector(bare, Search(BOUNDS_HERE, START, tmp_path, iterations=1))


def test_bounds_are_checked_scaled_and_overridden():
    assert tuning_bounds_of("attention", None, 128).distance == (1.0, 30.0)
    given = tuning_bounds_of("max_pooling", {"max_pooling": {"threshold": [-3, 3]}}, 256)
    assert given.threshold == (-3, 3) and given.distance == (1, 60)
    for wrong in (
        {"max_pooling": {"thresholds": [0, 1]}},
        {"max_pooling": {"threshold": [1]}},
        {"max_pooling": {"prominence": [-1, 1]}},
    ):
        with pytest.raises(ParameterError, match="tuning bounds"):
            tuning_bounds_of("max_pooling", wrong, 256)
    with pytest.raises(ParameterError, match="head is"):
        tuning_bounds_of("mean", None, 256)


def test_of_equal_thresholds_of_the_rival_the_highest_is_taken():
    # each slice's highest value is a candidate: 1 finds both boxes, and so does 0.9
    slices = [
        Spikes("a", [(3, 3, 2.0)], [(3, 3, 1, 1)]),
        Spikes("b", [(3, 3, 1.5), (8, 8, 0.5)], [(3, 3, 1, 1)]),
        Spikes("c", [(8, 8, 0.9)]),
        Spikes("d", [(8, 8, 1.0)]),
    ]
    rival = tune_centroids(spiked_maps(slices))
    assert 1.0 < rival.threshold < 1.5
    assert summed_f1(spiked_maps(slices), rival) == 1
    everywhere = spiked_maps([Spikes("a", [(8, 8, 1.0)], [(3, 3, 1, 1)]), Spikes("b")])
    # no threshold finds the box: without points F1 is 0 as with false ones, and the highest wins
    assert tune_centroids(everywhere).threshold == pytest.approx(0.99)


def test_tuning_counts_by_the_rule_of_the_code():
    # two points in one box: by the code no false point, one to one there would be one
    maps = spiked_maps([Spikes("a", [(3, 3, 2.0), (3, 5, 3.0)], [(3, 3, 3, 1)])])
    assert summed_f1(maps, Detector(0.0, 1.0, 1, "printed", False)) == 1
