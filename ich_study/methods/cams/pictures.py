"""Pictures of the CAM benchmark's maps: one slice through the method, and slices chosen by rule
with every method at every depth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure

from ich_study.evaluate.heat import Heat, class_maps
from ich_study.evaluate.scaling import minmax
from ich_study.evaluate.truth import Truth, largest_lesions
from ich_study.figures.heatmaps import MapColumn, heatmap_grid
from ich_study.methods.cams.figures import titled
from ich_study.methods.cams.scores import MethodScores
from ich_study.schema import SUBTYPES


def shown_slices(truth: Truth, class_name: str, per_subtype: int) -> list[tuple[str, int]]:
    """Class and index of the slices with the largest lesion: `per_subtype` of each subtype, or as
    many of the class where no subtype is known."""
    found = largest_lesions(truth, SUBTYPES, per_subtype)
    if found.empty:
        found = largest_lesions(truth, (class_name,), per_subtype * len(SUBTYPES))
    return list(found.itertuples(index=False, name=None))


def map_pictures(
    heats: Sequence[Heat],
    scored: Sequence[MethodScores],
    truth: Truth,
    class_name: str,
    per_subtype: int,
    label: str,
) -> Iterator[tuple[str, Figure]]:
    """File name and figure of each of `shown_slices`: a column per method, a row per depth; raw
    maps scaled to their own maximum, outlined where they exceed their held-out threshold.

    label: what the data are, printed on the figure.
    """
    raw = [
        (heat, scores)
        for heat, scores in zip(heats, scored)
        if heat.variant == "raw" and heat.layer
    ]
    depths = list(dict.fromkeys(heat.layer for heat, _ in raw))
    for name, index in shown_slices(truth, class_name, per_subtype):
        maps: dict[str, list[np.ndarray]] = {}
        masks: dict[str, list[np.ndarray]] = {}
        for heat, scores in raw:
            own = class_maps(heat, class_name, slice(index, index + 1))[0]
            maps.setdefault(heat.name, []).append(minmax(np.maximum(own, 0)))
            marked = own >= scores.marks["masks-validation"].threshold
            masks.setdefault(heat.name, []).append(marked)
        columns = [
            MapColumn(titled(method), np.stack(maps[method]), np.stack(masks[method]))
            for method in maps
        ]
        row = truth.rows.iloc[index]
        known = {"boxes": [truth.annotated[index]] * len(depths)}
        if truth.kind == "masks":
            known = {"truth": np.repeat(truth.codes[[index]], len(depths), axis=0)}
        figure = heatmap_grid(
            np.repeat(truth.hu[[index]], len(depths), axis=0),
            columns,
            f"{name}, {row['scan_id']} slice {row['slice_index']}, {label}",
            row_titles=[f"[{depth}]" for depth in depths],
            opacity=0.5,
            **known,
        )
        yield f"maps_{name}_{index}", figure
