"""Old findings are no acute blood: they darken the brain, or are rare, and keep to the head."""

from __future__ import annotations

import dataclasses

import numpy as np

from ich_study.phantom.mimics import paint_hygroma, paint_leukoaraiosis, paint_mimics


def change(head, paint, seed, **traits):
    anatomy, person, _ = head
    person = dataclasses.replace(person, **traits)
    copy = dataclasses.replace(anatomy, hu=anatomy.hu.copy(), person=person)
    paint(copy, np.random.default_rng(seed))
    return copy.hu - anatomy.hu


def test_leukoaraiosis_darkens_white_matter_and_comes_with_age(head):
    old = change(head, paint_leukoaraiosis, 0, age=90)
    assert old.max() <= 1e-4 and old.min() < -2
    assert not change(head, paint_leukoaraiosis, 0, age=30).any()


def test_a_hygroma_is_water_under_the_skull(head):
    anatomy = head[0]
    for seed in range(40):
        found = change(head, paint_hygroma, seed, atrophy=1.1)
        if found.any():
            break
    assert found.min() < -10 and (anatomy.depth[np.abs(found) > 1] < 12).all()


def test_nothing_is_painted_outside_the_head(head):
    anatomy = head[0]
    found = change(head, paint_mimics, 3)
    assert np.abs(found[anatomy.depth < -3]).max() == 0
