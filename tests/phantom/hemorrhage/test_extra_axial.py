"""An epidural hematoma ends at the sutures; a subdural one crosses them and stays on its side."""

from __future__ import annotations

import numpy as np

from ich_study.phantom.geometry import Lattice
from ich_study.phantom.hemorrhage import extra_axial
from ich_study.phantom.hemorrhage.extra_axial import draw_epidural, draw_subdural
from ich_study.phantom.skull import suture_distance


def test_epidural_profile_ends_at_the_sutures_and_subdural_stays_on_its_side():
    lattice = Lattice.spanning((-40, -90, -70), (80, 110, 70), (4, 4, 4))
    rng = np.random.default_rng(3)
    lens = extra_axial._profile(lattice, draw_epidural(rng, 15.0, 60.0))
    assert (lens[suture_distance(lattice) < 1.0] < 1e-6).all()
    crescent = draw_subdural(rng, 40.0, 60.0)
    profile = extra_axial._profile(lattice, crescent)
    other = np.broadcast_to(crescent.side * lattice.mesh[2] < 0, profile.shape)
    assert (profile[other] < 1e-6).all()
    on_suture = (suture_distance(lattice) < 1.0) & (np.abs(lattice.mesh[2]) > 30)
    assert profile[on_suture].max() > 0.2
