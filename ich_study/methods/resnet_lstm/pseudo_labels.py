"""Pseudo-masks: intensities inside the CAM region in K clusters, one of which is taken for blood.

ResNet-LSTM, Section 2, as printed: cluster the pixels of the region, set each cluster's pixels to 0
in the network's input in turn, and take the cluster whose loss costs the logit most ("differential
prediction"). Variants (printed_and_authors, 002.6): the author's notebook clusters the whole slice
with zeros outside the region, so one cluster is background; the follow-up takes the brightest
cluster with a mean below 140 and dilates it twice by 4 x 4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from ich_study.errors import MapError
from ich_study.methods.resnet_lstm.settings import ClusterRecipe


def as_grey(channels: np.ndarray) -> np.ndarray:
    """What is clustered: the first channel of a slice (C, S, S), as uint8 (S, S).

    >>> as_grey(np.array([[[0.0, 0.5, 1.0]]]))
    array([[  0, 128, 255]], dtype=uint8)
    """
    return np.rint(channels[0] * 255).astype(np.uint8)


def grey_clusters(histogram: np.ndarray, clusters: int) -> np.ndarray:
    """K-means of grey values, exactly: cluster 1..K of each grey value, darkest first, int64
    (256,).

    histogram: pixels of each grey value, (256,). One-dimensional K-means has a global optimum,
    found by dynamic programming over the sorted values (Wang and Song, The R Journal 2011), so
    there is no seed and no start to depend on. Fewer distinct values than clusters: each is its own
    cluster. Equally good partitions: the one whose later clusters begin at darker values. Values
    that do not occur are 0.

    >>> grey = np.array([10, 12, 60, 61, 200])
    >>> grey_clusters(np.bincount(grey, minlength=256), clusters=3)[grey]
    array([1, 1, 2, 2, 3])
    """
    counts = np.asarray(histogram, np.float64)
    values = np.flatnonzero(counts)
    labels = np.zeros(len(counts), np.int64)
    if not len(values):
        return labels
    k = min(clusters, len(values))
    cost = _within(values.astype(np.float64), counts[values])
    best, start = cost[0].copy(), np.zeros((k, len(values)), np.int64)
    for level in range(1, k):
        # totals[i, j]: values before i in `level` clusters, values i..j in one more
        totals = np.full(cost.shape, np.inf)
        totals[level:] = best[level - 1 : -1, None] + cost[level:]
        start[level] = totals.argmin(0)
        best = totals.min(0)
    last = len(values) - 1
    for level in range(k - 1, -1, -1):
        first = start[level, last] if level else 0
        labels[values[first : last + 1]] = level + 1
        last = first - 1
    return labels


def _within(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sum of squared distances to their mean of values i..j, (D, D); infinite for j < i."""
    n, s, q = (np.concatenate([[0.0], np.cumsum(counts * values**power)]) for power in range(3))
    total, sums, squares = (part[None, 1:] - part[:-1, None] for part in (n, s, q))
    valid = np.tri(len(values), dtype=bool).T
    spread = squares - np.divide(
        sums**2, total, out=np.zeros_like(total), where=valid & (total > 0)
    )
    return np.where(valid, np.maximum(spread, 0), np.inf)


def clustered(grey: np.ndarray, region: np.ndarray, recipe: ClusterRecipe) -> np.ndarray:
    """Clusters of one slice: int64 (rows, columns), 0 outside the region, 1 is the darkest.

    grey: uint8. region: bool. An empty region gives zeros. With "whole_slice", pixels inside the
    region that share the cluster of the zeros outside are background too and become 0; where the
    region is the whole slice and has no grey 0, no cluster is background.

    >>> grey = np.array([[200, 60, 10, 90]], np.uint8)
    >>> clustered(grey, grey > 50, ClusterRecipe(clusters=2))
    array([[2, 1, 0, 1]])
    """
    if not region.any():
        return np.zeros(grey.shape, np.int64)
    if recipe.pixels == "region":
        table = grey_clusters(np.bincount(grey[region], minlength=256), recipe.clusters)
        return np.where(region, table[grey], 0)
    masked = np.where(region, grey, np.uint8(0))
    table = grey_clusters(np.bincount(masked.ravel(), minlength=256), recipe.clusters)
    background = table[0]
    found = np.where(region & (table[masked] != background), table[masked], 0)
    return np.where(found > 0, found - (background > 0), 0)


def blanked(channels: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """The slice once per cluster, that cluster's pixels set to 0: (k, C, rows, columns) from (C,
    rows, columns).

    >>> blanked(np.array([[[0.5, 0.9, 0.1]]]), np.array([[1, 2, 0]])).tolist()
    [[[[0.0, 0.9, 0.1]]], [[[0.5, 0.0, 0.1]]]]
    """
    numbers = np.arange(1, clusters.max(initial=0) + 1)
    blank = (clusters == numbers[:, None, None])[:, None]
    return np.where(blank, np.zeros((), channels.dtype), channels)


def differential_choice(logits: np.ndarray) -> int:
    """Number of the cluster whose blanking leaves the smallest logit; of equal ones the brightest,
    as blood is bright.

    logits: (k,), of clusters 1..k. MapError where one is not finite or there is none.

    >>> differential_choice([0.2, -1.0, 3.0])
    2
    """
    logits = np.asarray(logits, np.float64)
    if logits.ndim != 1 or not len(logits) or not np.isfinite(logits).all():
        raise MapError(f"logits {logits}: expected one finite number per cluster")
    return int(np.flatnonzero(logits == logits.min())[-1]) + 1


def brightest_choice(grey: np.ndarray, clusters: np.ndarray, below: float) -> int:
    """Number of the brightest cluster whose mean, without grey 0 and 255, lies below `below`; 0
    where there is none.

    >>> brightest_choice(np.array([[10, 90, 200]], np.uint8), np.array([[1, 2, 3]]), below=140)
    2
    """
    inner = (grey > 0) & (grey < 255)
    chosen, brightest = 0, -np.inf
    for number in range(1, int(clusters.max(initial=0)) + 1):
        own = grey[inner & (clusters == number)]
        if len(own) and brightest < own.mean() < below:
            chosen, brightest = number, own.mean()
    return chosen


@dataclass(frozen=True)
class PseudoLabel:
    """One slice from region to mask, all (rows, columns). clusters: int64, 0 outside the region, 1
    the darkest. logits: of the slice without each cluster, (k,), None where nobody asked. chosen:
    number of the cluster taken for blood, 0 for none. mask: bool, that cluster, dilated if the
    recipe says so."""

    clusters: np.ndarray
    logits: np.ndarray | None
    chosen: int
    mask: np.ndarray


def pseudo_label(
    grey: np.ndarray,
    channels: np.ndarray,
    region: np.ndarray,
    recipe: ClusterRecipe,
    logits_of: Callable[[np.ndarray], np.ndarray],
) -> PseudoLabel:
    """The pseudo-mask of one slice, and how it came about.

    grey: uint8, what is clustered. channels: (C, rows, columns) in [0, 1], what the network sees
    before its normalisation. logits_of: (k, C, rows, columns) to logits (k,); asked only by
    "differential". A slice without region has an empty mask, and so has one where no cluster is
    eligible.
    """
    clusters, logits = clustered(grey, region, recipe), None
    if not clusters.any():
        return PseudoLabel(clusters, None, 0, np.zeros(region.shape, bool))
    if recipe.choice == "differential":
        logits = logits_of(blanked(channels, clusters))
        chosen = differential_choice(logits)
    else:
        chosen = brightest_choice(grey, clusters, recipe.brightest_below)
    return PseudoLabel(clusters, logits, chosen, cluster_mask(grey, clusters, chosen, recipe))


def cluster_mask(
    grey: np.ndarray, clusters: np.ndarray, chosen: int, recipe: ClusterRecipe
) -> np.ndarray:
    """The chosen cluster as a mask, bool; empty for cluster 0.

    "brightest" leaves out its pixels of grey 0 and 255, and the recipe may dilate it.
    """
    mask = (clusters == chosen) & (chosen > 0)
    if recipe.choice == "brightest":
        mask &= (grey > 0) & (grey < 255)
    if recipe.dilations and mask.any():
        square = np.ones((recipe.dilation_px, recipe.dilation_px), np.uint8)
        mask = cv2.dilate(mask.view(np.uint8), square, iterations=recipe.dilations).astype(bool)
    return mask
