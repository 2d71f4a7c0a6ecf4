"""Algorithm 1 and its pixel counts at one setting after the other, as the paper's pseudocode
reads."""

import itertools

import numpy as np


def one_by_one(heatmaps, present, truth, grid):
    """Counts of every setting, (settings, 1 + classes) each: true positives, false positives, false
    negatives."""
    classes = heatmaps.shape[1]
    heat = np.where(present[:, :, None, None], heatmaps, 0).swapaxes(0, 1).reshape(classes, -1)
    truth = truth.ravel()
    found = []
    for setting in itertools.product(grid, repeat=classes):
        kept = np.where(heat > np.array(setting)[:, None], heat, 0)
        labels = np.argmax(np.vstack([np.zeros((1, heat.shape[1]), heat.dtype), kept]), 0)
        pairs = np.bincount(truth * (classes + 1) + labels, minlength=(classes + 1) ** 2).reshape(
            classes + 1, -1
        )
        found.append(
            (
                np.diagonal(pairs),
                pairs.sum(0) - np.diagonal(pairs),
                pairs.sum(1) - np.diagonal(pairs),
            )
        )
    return np.array(found).swapaxes(0, 1)


def synthetic(rng, slices, classes, size=6, top=255, dtype=np.uint8):
    """Heat with many equal values and zeros, classes present or not, and a truth that follows the
    heat loosely."""
    heatmaps = (
        rng.integers(0, top + 1, (slices, classes, size, size))
        * (rng.random((slices, classes, size, size)) < 0.7)
    ).astype(dtype)
    present = rng.random((slices, classes)) < 0.6
    truth = np.where(rng.random((slices, size, size)) < 0.5, heatmaps.argmax(1) + 1, 0)
    return (
        heatmaps,
        present,
        np.where(
            rng.random(truth.shape) < 0.2, rng.integers(0, classes + 1, truth.shape), truth
        ).astype(np.uint8),
    )
