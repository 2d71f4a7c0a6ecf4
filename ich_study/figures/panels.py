"""Which slices to show: chosen by rule, so that a figure cannot flatter."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ich_study.figures.names import readable
from ich_study.figures.style import SlicePanel
from ich_study.schema import MASK_CODES, SUBTYPES
from ich_study.store.read import Store


def slice_panel(scans: Store, scan_id: str, slice_index: int, title: str) -> SlicePanel:
    """One stored slice with whatever truth is known of it: mask outlines, boxes."""
    row = _of_slice(scans.index, scan_id, slice_index).iloc[0]
    mask = scans.mask(scan_id)[slice_index] if row["has_mask"] else None
    boxes = _of_slice(scans.boxes, scan_id, slice_index) if row["has_boxes"] else None
    return SlicePanel(scans.slice(scan_id, slice_index), title, mask, boxes)


def _of_slice(table: pd.DataFrame, scan_id: str, slice_index: int) -> pd.DataFrame:
    return table[(table["scan_id"] == scan_id) & (table["slice_index"] == slice_index)]


def labelled_slices(index: pd.DataFrame, label: str, count: int) -> list[tuple[str, int]]:
    """Up to `count` (scan, slice) from different patients: in each scan the middle one of its
    slices positive for `label`, scans taken evenly along the list of ids."""
    positive = index[index[label].fillna(False)]
    one_each = set(positive.drop_duplicates("patient_id")["scan_id"])
    middles = [
        (str(scan_id), int(rows["slice_index"].sort_values().iloc[len(rows) // 2]))
        for scan_id, rows in positive.groupby("scan_id", sort=True)
        if str(scan_id) in one_each
    ]
    if len(middles) <= count:
        return middles
    return [middles[place] for place in np.linspace(0, len(middles) - 1, count, dtype=int)]


def subtype_panels(scans: Store, per_subtype: int) -> list[SlicePanel]:
    """For each subtype present, slices of different patients: the middle positive one, or where
    a mask holds the subtype the one with its largest area, titled with that area. A mask may lack
    what the label says: where subtypes overlap it keeps one."""
    panels = []
    spacing = (
        scans.index.drop_duplicates("scan_id")
        .set_index("scan_id")[["spacing_x_mm", "spacing_y_mm"]]
        .prod(axis=1)
    )
    masked = set(scans.index.loc[scans.index["has_mask"], "scan_id"])
    for name in SUBTYPES:
        for scan_id, middle in labelled_slices(scans.index, name, per_subtype):
            shown, title = middle, name
            if scan_id in masked:
                areas = (scans.mask(scan_id) == MASK_CODES[name]).sum((1, 2))
                if areas.any():
                    shown = int(areas.argmax())
                    title = f"{name} {areas.max() * spacing[scan_id] / 100:.1f} cm²"
                else:
                    title = f"{name}, not in the mask"
            panels.append(slice_panel(scans, scan_id, shown, title))
    return panels


def label_panels(scans: Store, label: str, count: int) -> list[SlicePanel]:
    """Slices positive for `label`, of different patients, titled with the subtypes known of
    them."""
    panels = []
    for scan_id, slice_index in labelled_slices(scans.index, label, count):
        row = _of_slice(scans.index, scan_id, slice_index).iloc[0]
        known = [name for name in SUBTYPES if pd.notna(row[name]) and row[name]]
        panels.append(slice_panel(scans, scan_id, slice_index, " ".join(known) or readable(label)))
    return panels


def overview_panels(scans: Store, per_row: int) -> list[SlicePanel]:
    """What a data set looks like: slices of each subtype; where no subtype is known, positive
    slices; where none is positive, the middle slice of scans."""
    shown = subtype_panels(scans, per_row) or label_panels(scans, "any", 2 * per_row)
    if shown:
        return shown
    counts = scans.index.groupby("scan_id", sort=True).size()
    return [
        slice_panel(scans, str(scan_id), int(count) // 2, "no positive slice")
        for scan_id, count in counts.head(per_row).items()
    ]


def extreme_predictions(
    predictions: pd.DataFrame, label: str, count: int
) -> dict[str, pd.DataFrame]:
    """The most and the least convincing slices of one class: for positives and for negatives the
    `count` most probable and the `count` least probable, at most one slice per patient.

    predictions: columns patient_id, scan_id, slice_index, class, label, logit. Returns rows
    by group: `surest positives`, `least sure positives`, `surest negatives`, `least sure
    negatives`.
    """
    rows = predictions[(predictions["class"] == label) & predictions["label"].notna()]
    truth = rows["label"].astype(bool)
    groups = {
        "surest positives": (truth, False),
        "least sure positives": (truth, True),
        "surest negatives": (~truth, True),
        "least sure negatives": (~truth, False),
    }
    found = {}
    for name, (chosen, ascending) in groups.items():
        ordered = rows[chosen].sort_values("logit", ascending=ascending, kind="stable")
        found[name] = ordered.drop_duplicates("patient_id").head(count)
    return found


def prediction_panels(
    predictions: pd.DataFrame, stores: Mapping[str, Store], label: str, count: int
) -> list[SlicePanel]:
    """`extreme_predictions` as pictures, `count` per group, titled with group and probability."""
    panels = []
    for name, rows in extreme_predictions(predictions, label, count).items():
        for row in rows.itertuples():
            title = f"{name} p={row.probability:.2f}"
            panels.append(slice_panel(stores[row.dataset], row.scan_id, row.slice_index, title))
        panels += [SlicePanel(np.full((8, 8), -1000, np.int16), f"{name}: none")] * (
            count - len(rows)
        )
    return panels
