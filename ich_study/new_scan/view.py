"""A scan to scroll through: window, opacity and threshold to choose, method beside method."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from matplotlib.figure import Figure

from ich_study.figures.explore import explore
from ich_study.figures.names import readable
from ich_study.new_scan.apply import Finding, marked, volumes_ml
from ich_study.new_scan.batch import Studied
from ich_study.new_scan.write import THRESHOLD, contact_sheet, shown_slices

WINDOWS = ("brain", "subdural", "ich", "bone")
OPACITIES = (0.55, 0.0, 0.25, 0.75, 1.0)
SHARES = (THRESHOLD, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9)
"""Thresholds on the shown scale: the method's own first; 1 is the scan's highest value."""
ALL = "all, side by side"
LARGEST_INCHES, WIDTH_INCHES = 3.6, 10.5
"""Of a picture, and of all beside each other, on a screen."""


def view(studied: Studied) -> None:
    """Sliders where a front end shows them, else the slice that is marked most, as a picture."""
    first = int(shown_slices(studied.findings, 1)[0])
    others = [number for number in range(len(studied.scan.hu)) if number != first]
    names = [readable(finding.name) for finding in studied.findings]

    explore(
        partial(slice_figure, studied),
        slice=[first, *others],
        window=WINDOWS,
        opacity=OPACITIES,
        threshold=SHARES,
        method=[ALL, *names],
    )


def slice_figure(
    studied: Studied, slice: int, window: str, opacity: float, threshold: float, method: str
) -> Figure:
    """One slice: bare, then a picture per method, marked at `threshold` of the shown scale. Sliders
    bear the names of the parameters."""
    chosen = [each for each in studied.findings if method in (ALL, readable(each.name))]
    if threshold != THRESHOLD:
        chosen = [_marked_at(studied, finding, threshold) for finding in chosen]
    side = min(LARGEST_INCHES, WIDTH_INCHES / (1 + len(chosen)))
    label = studied.wanted.label
    return contact_sheet(studied.scan, chosen, [slice], window, opacity, label, side, threshold)


def _marked_at(studied: Studied, finding: Finding, share: float) -> Finding:
    """A finding that is marked, and has its volumes, from `share` of the shown scale on."""
    recipe, scan = finding.method.recipe, studied.scan
    cuts = [
        own + (share - THRESHOLD) / (1 - THRESHOLD) * span
        for own, span in zip(recipe.thresholds, finding.spans)
    ]
    probability = finding.probability[list(recipe.classes)].to_numpy()
    mask = marked(finding.heat, probability, replace(recipe, thresholds=tuple(cuts)))
    if studied.wanted.inside_brain:
        mask[~scan.source.brain] = 0
    volumes = volumes_ml(mask, scan.pixel_ml, recipe.classes)
    return replace(finding, mask=mask, volumes_ml=volumes)
