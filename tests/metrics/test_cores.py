import os
import threading

import numpy as np
import pytest

from ich_study.ct.planes import PixelGrid
from ich_study.evaluate.score import score_classes
from ich_study.metrics.cores import cores, side_by_side
from ich_study.metrics.statistics import auroc_of_items, patient_bootstrap
from ich_study.metrics.surface import surface_distances
from tests.evaluate.fakes import heat_of, truth_of


@pytest.fixture(params=["1", "3"])
def threads(request, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", request.param)
    return int(request.param)


def test_the_runs_own_cores_are_used_and_else_the_machines(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert cores() == 5
    for said in ("", "0", "some"):
        monkeypatch.setenv("OMP_NUM_THREADS", said)
        assert cores() == len(os.sched_getaffinity(0))


def test_results_come_in_the_order_of_their_items(threads):
    together, first = threading.Barrier(threads, timeout=20), range(3)

    def halved(number):
        if number in first and threads == 3:
            together.wait()  # passes only where three are at work at once
        return number / 2

    assert list(side_by_side(halved, range(7))) == [number / 2 for number in range(7)]


def test_the_first_error_ends_it(threads):
    begun = []

    def fails(number):
        begun.append(number)
        if number == 0:
            raise ValueError("zero")

    with pytest.raises(ValueError, match="zero"):
        list(side_by_side(fails, range(10_000)))
    assert len(begun) < 10_000


def alike(monkeypatch, measured):
    """What is measured on one core and on three."""
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        found.append(measured())
    return found


def test_scores_distances_and_intervals_are_the_same_on_any_number_of_cores(monkeypatch):
    rng = np.random.default_rng(0)
    truth, heat = truth_of(rng.random((150, 6, 6)) > 0.7), heat_of(rng.random((150, 6, 6)))
    one, three = alike(monkeypatch, lambda: score_classes(heat, truth, [0.2, 0.8], batch=8)["any"])
    assert np.array_equal(one.counts.tp, three.counts.tp) and one.counts.tp.any()
    for name in ("pointing", "mass"):
        assert np.array_equal(getattr(one, name), getattr(three, name), equal_nan=True)
    masks = rng.random((2, 4, 9, 9)) > 0.5
    grid = PixelGrid.even(4, (5.0, 0.5, 0.5))
    one, three = alike(monkeypatch, lambda: surface_distances(*masks, grid))
    assert all(map(np.array_equal, one, three))
    patients, labels = rng.integers(0, 40, 200), rng.random(200) > 0.5
    area = auroc_of_items(patients, labels, rng.random(200) + 0.3 * labels)
    assert len(set(alike(monkeypatch, lambda: patient_bootstrap(area, 501)))) == 1
