"""Dura, sinuses and calcifications are denser than brain, and calcium comes with age."""

from __future__ import annotations

import dataclasses

import numpy as np

from ich_study.phantom.vessels import paint_arteries, paint_calcifications, paint_dura


def painted(head, paint, seed=0, **traits):
    """How many voxels became denser by more than 5 and by more than 60 HU, by one painter."""
    anatomy, person, _ = head
    person = dataclasses.replace(person, **traits)
    copy = dataclasses.replace(anatomy, hu=anatomy.hu.copy(), person=person)
    paint(copy, np.random.default_rng(seed))
    change = copy.hu - anatomy.hu
    outside = anatomy.depth < -2
    assert np.abs(change[outside]).max() == 0
    return int((change > 5).sum()), int((change > 60).sum())


def test_dura_and_arteries_are_dense_but_not_calcified(head):
    for paint in (paint_dura, paint_arteries):
        dense, calcified = painted(head, paint)
        assert dense > 50 and calcified == 0


def test_a_contrast_agent_brightens_vessels_and_nothing_else(head):
    anatomy, _, _ = head
    for paint, least in ((paint_dura, 150), (paint_arteries, 220)):
        plain, bright = (dataclasses.replace(anatomy, hu=anatomy.hu.copy()) for _ in range(2))
        paint(plain, np.random.default_rng(0))
        paint(bright, np.random.default_rng(0), contrast=True)
        added = bright.hu - plain.hu
        painted_over = plain.hu != anatomy.hu
        assert added.max() > 100 and not added[~painted_over].any()
        assert least < bright.hu[added > 100].max() < 300


def test_calcium_comes_with_age(head):
    young, old = (
        sum(painted(head, paint_calcifications, seed, age=age)[1] for seed in range(8))
        for age in (30, 85)
    )
    assert old > 1.5 * young
