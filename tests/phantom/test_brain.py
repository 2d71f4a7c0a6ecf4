"""The brain without blood: tissues where a radiologist expects them, at the HU of the priors."""

from __future__ import annotations

import numpy as np


def test_tissues_have_their_hu_in_their_places(head):
    anatomy, person, _ = head

    def at(x, y, z, reach=2.0):
        low, high = (tuple(c + s * reach for c in (z, y, x)) for s in (-1, 1))
        return float(np.median(anatomy.hu[anatomy.lattice.between(low, high)[0]]))

    tissue = person.tissue
    assert abs(at(24, 20, 34) - tissue.white) < 4  # centrum semiovale
    assert at(12, 20, 7) > tissue.white + 2  # thalamus
    assert abs(at(23, 40, 12) - tissue.csf) < 5  # atrium of the lateral ventricle
    assert at(0, 112, 10, 1.5) > 300  # occipital bone


def test_brain_is_nearly_symmetric_but_not_exactly(head):
    anatomy, _, _ = head
    inside = (anatomy.depth > 5) & (anatomy.lattice.z[:, None, None] > 10)
    both = inside & inside[..., ::-1]
    left, right = anatomy.hu[both], anatomy.hu[..., ::-1][both]
    assert abs(left.mean() - right.mean()) < 1.0
    assert np.abs(left - right).mean() > 0.5
