"""The boxes that points should hit, on the network's grid.

Not `evaluate.truth`'s: the authors' code rounds boxes to whole pixels of the grid, and a box knows
its subtype. Where a data set has masks alone, the boxes are those of the parts of the stored mask.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ich_study.errors import StudyError, require_known
from ich_study.evaluate.scan_methods import OneScan
from ich_study.evaluate.truth import with_known
from ich_study.metrics.boxes import component_boxes
from ich_study.metrics.points import boxes_on_grid
from ich_study.schema import SUBTYPES
from ich_study.store.read import Store

TRUTHS = {"boxes": "has_boxes", "mask_components": "has_mask", "none": None}
"""Where boxes come from, and the column of the slice index that says whether they are known."""
SMALLEST_COMPONENT = 4
"""Pixels of the stored slice under which a part of a mask gets no box."""
Boxes = tuple[np.ndarray, np.ndarray]
"""Of one slice: float64 (n, 4) of x, y, width, height, and their subtypes, str (n,)."""
NO_BOXES: Boxes = (np.empty((0, 4)), np.empty(0, str))


def tell_boxes(store: Store) -> None:
    """Prints in how many series boxes stand, and what the reader found in the data set as a whole:
    boxes without an image, series without boxes, scans left out for another pathology."""
    boxed, series = (table["scan_id"].nunique() for table in (store.boxes, store.index))
    print(f"{len(store.boxes)} boxes in {boxed} of {series} series")
    for detail in store.findings.loc[store.findings["scan_id"] == "", "detail"]:
        print(detail)


def with_known_boxes(rows: pd.DataFrame, truth: str) -> pd.DataFrame:
    """Rows whose boxes are known, by a truth of TRUTHS. In CQ500 a study has several series, and
    BHX drew boxes in one of them."""
    column = TRUTHS[truth]
    return rows if column is None else with_known(rows, column)


def grid_boxes(
    source: Store | OneScan, rows: pd.DataFrame, side: int, truth: str = "boxes"
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Boxes of every row on a grid of `side` pixels, rounded as the code does, and their subtypes.

    truth: `boxes` of the data set, `mask_components`, tight boxes of the parts of its masks, or
    `none`, which leaves every slice without boxes. Raises StudyError for slices whose truth is
    unknown: they would count as free of hemorrhage.
    """
    require_known("truth", truth, TRUTHS)
    column = TRUTHS[truth]
    if column is None:
        return [NO_BOXES[0]] * len(rows), [NO_BOXES[1]] * len(rows)
    unknown = rows[~rows[column].astype(bool)]
    if len(unknown):
        first = unknown.iloc[0]
        where = f"{len(unknown)} slices, first {first.scan_id} slice {first.slice_index}"
        raise StudyError(f"the {truth} are unknown in {where}; leave those out")
    annotated = {
        place: (table[["x", "y", "width", "height"]].to_numpy(np.float64), table["label"])
        for place, table in source.boxes.groupby(["scan_id", "slice_index"])
    }
    boxes, subtypes = [], []
    for row in rows.itertuples():
        if truth == "mask_components":
            native, names = mask_boxes(source.mask(row.scan_id)[row.slice_index])
        else:
            native, names = annotated.get((row.scan_id, row.slice_index), NO_BOXES)
        scale = np.tile([side / row.columns, side / row.rows], 2)
        boxes.append(boxes_on_grid(native, scale))
        subtypes.append(np.array(names, str))
    return boxes, subtypes


def mask_boxes(mask: np.ndarray) -> Boxes:
    """Boxes of the connected parts of a slice's mask codes, each with the subtype of most of its
    pixels.

    >>> boxes, subtypes = mask_boxes(np.repeat([[0, 2, 2, 0]], 3, axis=0))
    >>> boxes.tolist(), subtypes.tolist()
    ([[1.0, 0.0, 2.0, 3.0]], ['IVH'])
    """
    boxes = component_boxes(mask > 0, min_pixels=SMALLEST_COMPONENT)
    names = []
    for x, y, width, height in boxes:
        inside = mask[y : y + height, x : x + width]
        codes = np.bincount(inside.ravel(), minlength=len(SUBTYPES) + 2)
        names.append((*SUBTYPES, "any")[codes[1:].argmax()])
    return boxes.astype(np.float64), np.array(names, str)
