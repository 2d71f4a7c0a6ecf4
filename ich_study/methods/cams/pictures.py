"""Pictures of the CAM benchmark's maps: slices chosen by rule, every method at every depth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.figure import Figure

from ich_study.evaluate.scored_slices import read_scored_slices
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.methods.cams.figures import maps_figure
from ich_study.methods.cams.scores import MapSeries, SeriesScore, shown_maps
from ich_study.methods.cams.truth_masks import TruthMasks, largest_lesions
from ich_study.store.read import Store


def map_pictures(
    series: Sequence[MapSeries],
    scores: Sequence[SeriesScore],
    test: TruthMasks,
    store: Store,
    preprocessing: Preprocessing,
    truth: str,
    per_subtype: int,
    label: str,
) -> Iterator[tuple[str, Figure]]:
    """File name and figure of each slice of `largest_lesions`: maps scaled to their own maximum,
    masks at their held-out thresholds.

    truth: "masks" outlines masks, "boxes" boxes. label: what the data are, printed on the figure.
    """
    masks = truth == "masks"
    for name, place in largest_lesions(test, per_subtype):
        row = test.rows.iloc[[place]]
        read = read_scored_slices(
            store, row, preprocessing, brain=False, masks=masks, boxes=not masks, progress=False
        )
        heat, outlined = shown_maps(series, scores, place)
        title = f"{name}, {row['scan_id'].item()} slice {row['slice_index'].item()}, {label}"
        known = {"truth": read.codes[0]} if masks else {"boxes": read.boxes[0]}
        yield f"maps_{name}_{place}.png", maps_figure(read.hu[0], heat, outlined, title, **known)
