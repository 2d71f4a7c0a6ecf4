"""Answers scan by scan: the same here and in other processes, with each method's own cost."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from ich_study.cross import measure
from ich_study.cross.answers import ScanTask, ask_all, crew_of
from ich_study.errors import StudyError
from ich_study.evaluate import scan_methods
from ich_study.evaluate.heat import ArrayHeat
from ich_study.evaluate.scan_methods import Said
from ich_study.new_scan.apply import open_methods
from tests.cross.fakes import SquareStore, method

CPU = torch.device("cpu")


class Clock:
    """A clock that stands still but for what takes time; `done` names the steps that did."""

    def __init__(self):
        self.now, self.done = 0.0, []

    def perf_counter(self):
        return self.now

    def take(self, step, seconds):
        self.now += seconds
        self.done.append(step)


def slow(clock, own, **shared):
    """A method that takes `own` seconds, and asks a scan for shared steps that take some."""
    plain = method("bright")

    def say(scan):
        for step, seconds in shared.items():
            scan.shared(step, partial(clock.take, step, seconds))
        clock.take("own", own)
        return plain.say(scan)

    return replace(plain, say=say)


def test_only_the_asked_slices_are_answered_and_slices_may_lie_in_any_order():
    store = SquareStore()
    truth = store.truth()
    some = truth.rows[truth.rows["slice_index"].isin([1, 2])]
    task = ScanTask(store, "scan0", some[some["scan_id"] == "scan0"].iloc[::-1], 32, ["bright"])
    answer = ask_all({"bright": method("bright")}, task)["bright"]
    assert answer.heat.shape == answer.marked.shape == (2, 32, 32)
    # slice 2, the first asked for, holds blood; slice 1 does not
    assert answer.marked[0].any() and not answer.marked[1].any()
    assert answer.logit[0] > 0 > answer.logit[1] and answer.points == [None, None]


def test_a_gate_leaves_out_the_heat_of_its_own_class():
    """Of two subtypes one is hotter, and its gate is shut: where both lie, the other counts."""
    plain = method("bright")
    recipe = replace(plain.recipe, classes=("IPH", "SAH"), thresholds=(0.5,) * 2, gates=(0.5,) * 2)
    maps = np.stack([np.full((6, 32, 32), 0.9), np.full((6, 32, 32), 0.6)], 1)
    probability = np.tile([0.2, 0.8], (6, 1))
    probability[0] = 0.2
    heat = ArrayHeat("two", "printed", None, recipe.classes, maps.astype(np.float32))
    said = replace(plain, recipe=recipe, say=lambda scan: Said.of_probability(heat, probability))
    task = ScanTask(SquareStore(1), "scan0", SquareStore(1).truth().rows, 32, ["two"])
    answer = ask_all({"two": said}, task)["two"]
    assert answer.heat == pytest.approx(0.9)
    assert answer.gated[1:] == pytest.approx(0.6) and np.isneginf(answer.gated[0]).all()
    assert answer.marked[1:].all() and not answer.marked[0].any()
    ungated = replace(said, recipe=replace(recipe, gates=(0.0, 0.0)))
    answer = ask_all({"two": ungated}, task)["two"]
    assert answer.gated is answer.heat


def test_slices_of_interleaved_scans_come_back_in_the_order_of_the_truth():
    store = SquareStore()
    truth = store.truth()
    order = np.random.default_rng(0).permutation(len(truth))
    mixed = replace(
        truth,
        rows=truth.rows.iloc[order].reset_index(drop=True),
        hu=truth.hu[order],
        codes=truth.codes[order],
    )
    straight, found = (
        next(measure.measured({"b": method("bright")}, store, each, 4.0, 0))
        for each in (truth, mixed)
    )
    assert np.array_equal(found.heat.read(slice(None)), straight.heat.read(slice(None))[order])
    assert np.array_equal(found.marked, straight.marked[order])
    assert np.array_equal(found.logit, straight.logit[order])
    for place, number in enumerate(order):
        assert np.array_equal(found.points[place], straight.points[number])


def test_a_shared_step_is_done_once_and_counts_for_each_that_needs_it(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(scan_methods, "time", clock)
    methods = {
        "first": slow(clock, 1.0, skull=20.0),
        "second": slow(clock, 2.0, skull=20.0, brain=5.0),
        "other": slow(clock, 3.0),
    }
    store = SquareStore(1)
    answers = ask_all(methods, ScanTask(store, "scan0", store.truth().rows, 32, list(methods)))
    assert clock.done == ["skull", "own", "brain", "own", "own"]
    # as each would take alone
    assert {name: answer.seconds for name, answer in answers.items()} == {
        "first": 21.0,
        "second": 27.0,
        "other": 3.0,
    }


def test_other_processes_say_what_this_one_does():
    store = SquareStore(3)
    truth = store.truth()
    sources = ["mil_max_pooling"]
    opened = open_methods(sources, CPU)
    here = next(measure.measured(opened, store, truth, 4.0, 0))
    with crew_of(2, sources, CPU) as crew:
        there = next(measure.measured(opened, store, truth, 4.0, 0, crew))
    assert here.name == there.name == "mil_max_pooling"
    maps = [found.heat.read(slice(None)) for found in (here, there)]
    np.testing.assert_allclose(*maps, rtol=1e-5, atol=1e-6)
    for first, second in zip(here.points, there.points):
        np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)
    with crew_of(1, sources, CPU) as crew:
        assert crew is None


def test_a_process_that_dies_is_a_sentence():
    task = ScanTask(SquareStore(1), "scan0", SquareStore(1).truth().rows, 32, [])
    with (
        pytest.raises(StudyError, match="fewer workers"),
        crew_of(2, ["no such method"], CPU) as crew,
    ):
        list(crew([task]))
