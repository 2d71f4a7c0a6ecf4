"""A scan to scroll through: window, opacity and threshold to choose, method beside method."""

from __future__ import annotations

from dataclasses import replace

from matplotlib.figure import Figure

from ich_study.figures.explore import explore
from ich_study.new_scan.apply import marked
from ich_study.new_scan.batch import Studied
from ich_study.new_scan.write import contact_sheet, shown_slices, shown_span

WINDOWS = ("brain", "subdural", "ich", "bone")
OPACITIES = (0.55, 0.0, 0.25, 0.75, 1.0)
SHARES = (0.5, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9)
"""Thresholds on the shown scale, where 0.5 is the method's own and 1 the scan's highest value."""
ALL = "all, side by side"


def view(studied: Studied) -> None:
    """Sliders where a front end shows them, else the slice that is marked most, as a picture."""
    first = int(shown_slices(studied.findings, 1)[0])
    others = [number for number in range(len(studied.scan.hu)) if number != first]
    names = [finding.name for finding in studied.findings]

    def draw(slice: int, window: str, opacity: float, threshold: float, method: str) -> Figure:
        return slice_figure(studied, slice, window, opacity, threshold, method)

    explore(
        draw,
        slice=[first, *others],
        window=WINDOWS,
        opacity=OPACITIES,
        threshold=SHARES,
        method=[ALL, *names],
    )


def slice_figure(
    studied: Studied, number: int, window: str, opacity: float, share: float, method: str
) -> Figure:
    """One slice: bare, then a picture per method, marked at `share` of the shown scale."""
    chosen = [each for each in studied.findings if method in (ALL, each.name)]
    drawn = []
    for finding in chosen:
        recipe, cuts = finding.method.recipe, []
        for heat, own in zip(finding.heat, recipe.thresholds):
            cuts.append(own + (2 * share - 1) * shown_span(heat, own))
        probability = finding.probability[list(recipe.classes)].to_numpy()
        mask = finding.mask.copy()
        if share != 0.5:
            mask = marked(finding.heat, probability, replace(recipe, thresholds=tuple(cuts)))
            mask[~studied.scan.source.brain] = 0
        drawn.append(replace(finding, mask=mask))
    return contact_sheet(studied.scan, drawn, [number], window, opacity, studied.wanted.label)
