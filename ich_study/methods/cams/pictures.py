"""Pictures of the CAM benchmark's maps: one slice through the method, and slices chosen by rule
with every method at every depth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure

from ich_study.evaluate.heat import Heat
from ich_study.evaluate.scaling import minmax
from ich_study.evaluate.truth import Truth, largest_lesions
from ich_study.figures.heatmaps import MapColumn, heatmap_grid
from ich_study.figures.names import readable
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
    """File name and figure of each of `shown_slices`: a column per method, a row per depth, and the
    trivial rivals, which have no depth, below; raw maps scaled to their own maximum, outlined where
    they reach their held-out threshold.

    label: what the data are, printed on the figure.
    """
    raw = [pair for pair in zip(heats, scored) if pair[0].variant == "raw"]
    with_depth = [pair for pair in raw if pair[0].layer]
    rivals = [pair for pair in raw if not pair[0].layer]
    depths = list(dict.fromkeys(heat.layer for heat, _ in with_depth))
    for name, index in shown_slices(truth, class_name, per_subtype):
        row = truth.rows.iloc[index]
        known = {"boxes": [truth.annotated[index]] * len(depths)}
        if truth.kind == "masks":
            known = {"truth": np.repeat(truth.codes[[index]], len(depths), axis=0)}
        figure = heatmap_grid(
            np.repeat(truth.hu[[index]], len(depths), axis=0),
            _columns(with_depth, index),
            f"{readable(name)}, {row['scan_id']} slice {row['slice_index']}, {label}\n"
            "every map scaled to its own maximum",
            row_titles=[f"depth [{depth}]" for depth in depths],
            opacity=0.5,
            outlined="map at its held-out threshold",
            below=_columns(rivals, index),
            **known,
        )
        yield f"maps_{name}_{index}", figure


def _columns(pairs: Sequence[tuple[Heat, MethodScores]], index: int) -> list[MapColumn]:
    """A column per method for one slice, a row per depth."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for heat, scores in pairs:
        own = heat.read(slice(index, index + 1))[0, 0]
        marked = own >= scores.marks["masks-validation"].threshold
        found.setdefault(heat.name, []).append((minmax(np.maximum(own, 0)), marked))
    return [MapColumn(titled(name), *map(np.stack, zip(*each))) for name, each in found.items()]
