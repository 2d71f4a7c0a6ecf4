"""How much of a score map is a pattern that repeats with the decoder's grid (LSE-UNet, Section 6).

Without the consistency loss the paper sees "a grid-like pattern" in the heatmaps and shows it (Fig.
5). Three steps of depth to space stand above the coarsest level, so such a pattern repeats every 8
pixels of the finest one. Here it is a number.
"""

from __future__ import annotations

import numpy as np

from ich_study.errors import MapError
from ich_study.evaluate.scaling import checked_maps

PERIOD = 8


def grid_pattern(maps: np.ndarray) -> np.ndarray:
    """Share of each map's fine structure that repeats in every block, float64 (...,) in [0, 1].

    maps: raw score maps (..., rows, columns), signed, sides multiples of PERIOD with at least two
    blocks. Fine structure is the map less each block's own plane (level and slopes), so that a
    smooth hill counts for little; its mean over blocks is what repeats, and the share of its energy
    is corrected for what the mean of that many blocks without any pattern holds. 0 for a map
    without fine structure. Raises MapError for other shapes or values that are not finite.
    """
    maps = checked_maps(np.asarray(maps, np.float64), "grid pattern")
    rows, columns = (side // PERIOD for side in maps.shape[-2:])
    if (rows * PERIOD, columns * PERIOD) != maps.shape[-2:] or rows * columns < 2:
        raise MapError(
            f"maps of {maps.shape[-2:]} pixels; a grid pattern of period {PERIOD} needs multiples"
            " of it, at least two blocks"
        )
    blocks = maps.reshape(*maps.shape[:-2], rows, PERIOD, columns, PERIOD)
    blocks = np.moveaxis(blocks, -3, -2).reshape(*maps.shape[:-2], rows * columns, PERIOD**2)
    fine = blocks - blocks @ _plane_projector()
    total, repeated = (fine**2).mean((-2, -1)), (fine.mean(-2) ** 2).mean(-1)
    scale = (maps**2).mean((-2, -1))
    share = np.divide(repeated, total, out=np.zeros_like(total), where=total > 1e-12 * scale)
    chance = 1 / (rows * columns)
    return np.clip((share - chance) / (1 - chance), 0, 1)


def _plane_projector() -> np.ndarray:
    """Projection of a flattened block onto planes."""
    place = np.arange(PERIOD) - (PERIOD - 1) / 2
    down, across = np.meshgrid(place, place, indexing="ij")
    basis = np.stack([np.ones_like(down), down, across]).reshape(3, -1)
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    return basis.T @ basis
