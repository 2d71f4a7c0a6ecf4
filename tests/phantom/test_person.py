"""Persons: age shows in the brain, and traits stay within what heads have."""

from __future__ import annotations

import dataclasses

import numpy as np

from ich_study.phantom.person import draw_person, draw_tissue


def test_atrophy_widens_sulci_and_ventricles():
    young, old = (
        np.mean([draw_person(np.random.default_rng(s), age).sulcus for s in range(30)])
        for age in (25, 85)
    )
    assert old > 1.4 * young


def test_the_same_draw_is_the_same_person_and_grey_is_brighter_than_white():
    first, second = (draw_person(np.random.default_rng(3), 60) for _ in range(2))
    assert first == second and first != draw_person(np.random.default_rng(4), 60)
    for seed in range(50):
        tissue = draw_tissue(np.random.default_rng(seed))
        assert tissue.fat < tissue.csf < tissue.white < tissue.grey < tissue.table
    assert dataclasses.replace(first, age=61).age == 61
