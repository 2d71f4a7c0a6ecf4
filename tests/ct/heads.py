"""A head of known geometry for tests: ellipsoids of scalp, skull and brain, with the leaks real
skulls have."""

import numpy as np

PIXEL = (1.0, 1.0)
SHAPE = (30, 200, 180)


def head(noise: float = 0.0, seed: int = 0, orbits: bool = True, foramen: bool = True):
    """HU int16 (30, 200, 180) at 5 x 1 x 1 mm, and its brain as bool.

    Radii in mm: scalp 92 x 78, outer table 86 x 72, inner table 79 x 65. Anterior, two orbits of
    soft tissue are joined to the brain by canals 4 mm wide; below, a cord leaves through the
    foramen into the neck.
    """
    z, y, x = np.indices(SHAPE).astype(float)
    z, y, x = z * 5 - 60, y - 100, x - 90

    def ellipsoid(a, b, c):
        return (z / a) ** 2 + (y / b) ** 2 + (x / c) ** 2 < 1

    hu = np.full(SHAPE, -1000.0)
    hu[ellipsoid(88, 92, 78)] = 30
    hu[ellipsoid(82, 86, 72)] = 900
    brain = ellipsoid(75, 79, 65)
    hu[brain] = 35
    hu[((z - 5) / 12) ** 2 + (y / 30) ** 2 + ((np.abs(x) - 12) / 7) ** 2 < 1] = 8
    if orbits:
        for side in (-28, 28):
            hu[((z + 30) / 14) ** 2 + ((y + 75) / 15) ** 2 + ((x - side) / 13) ** 2 < 1] = 900
            hu[
                (((z + 30) / 12) ** 2 + ((y + 79) / 14) ** 2 + ((x - side) / 11) ** 2 < 1) & ~brain
            ] = 25
            hu[(np.abs(z + 30) < 6) & (np.abs(x - side) < 2) & (y > -79) & (y < -50)] = 25
    if foramen:
        hu[(z < -55) & ((y - 10) ** 2 + x**2 < 8**2)] = 35
    noisy = hu + noise * np.random.default_rng(seed).normal(size=SHAPE)
    return np.clip(np.round(noisy), -1024, 3071).astype(np.int16), brain
