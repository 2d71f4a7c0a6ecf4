"""The skull base and the face: air and bone on both sides, never in the brain."""

from __future__ import annotations

import numpy as np

from ich_study.phantom.face import AIR, Solid, paint_face, paint_solid
from ich_study.phantom.geometry import Lattice
from ich_study.phantom.person import draw_person

LATTICE = Lattice.spanning((-100, -110, -90), (20, 60, 90), (4, 4, 4))


def test_a_solid_off_the_midline_stands_on_both_sides():
    hu = np.zeros(LATTICE.shape, np.float32)
    paint_solid(hu, LATTICE, Solid((40, 0, -40), (10, 10, 10), 700.0), 4.0)
    assert hu.max() == 700
    np.testing.assert_allclose(hu, hu[..., ::-1], atol=1e-3)


def test_a_wall_encloses_its_solid():
    hu = np.zeros(LATTICE.shape, np.float32)
    paint_solid(hu, LATTICE, Solid((0, 0, -40), (14, 14, 14), AIR, wall_mm=8.0), 4.0)
    row = hu[np.argmin(np.abs(LATTICE.z + 40)), np.argmin(np.abs(LATTICE.y))]
    assert row[np.argmin(np.abs(LATTICE.x))] == AIR and row.max() > 500


def test_the_face_leaves_the_brain_alone():
    person = draw_person(np.random.default_rng(1), 50)
    outside = np.broadcast_to(LATTICE.mesh[1] < 0, LATTICE.shape).astype(np.float32)
    hu = np.full(LATTICE.shape, 30.0, np.float32)
    paint_face(hu, LATTICE, person, outside, np.random.default_rng(2), 4.0)
    lateral = np.broadcast_to(np.abs(LATTICE.mesh[2]) < 60, LATTICE.shape)
    assert (hu[(outside == 0) & lateral] == 30).all()
    assert (hu < -500).any() and (hu > 500).any()
