"""The papers' counts of scans, patients and slices beside the user's own copy of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ich_study.published.tables import load_all

WHOLE_DATASETS: dict[str, str] = {
    "RSNA 2019": "rsna",
    "BHSD": "bhsd",
    "PhysioNet": "physionet",
    "CQ500": "cq500",
    "INSTANCE": "instance2022",
    "Hemorica": "hemorica",
}
"""Row of a `text_data.csv` that speaks of a whole data set -> the data set."""
APPROXIMATE = 0.1
"""How far "around 500" may be off."""
COLUMNS = ("dataset", "counted", "printed", "ours", "agrees", "paper", "source")


def counts_beside_printed(index: pd.DataFrame) -> pd.DataFrame:
    """A row per printed count of a data set that is in the index, in print order.

    index: rows of the slice index, of real data sets. A printed "over 20,000" agrees from 20,000
    on, "almost 500" up to 500, "around 500" within a tenth, any other number exactly.

    >>> rows = [("bhsd", "a", "a1", 0), ("bhsd", "a", "a1", 1), ("bhsd", "b", "b1", 0)]
    >>> index = pd.DataFrame(rows, columns=["dataset", "patient_id", "scan_id", "slice_index"])
    >>> counts_beside_printed(index)[["counted", "printed", "ours", "agrees"]].to_dict("records")
    [{'counted': 'scans', 'printed': '192', 'ours': 2, 'agrees': False}]
    """
    printed = load_all()
    printed = printed[(printed["table"] == "text_data") & printed["row"].isin(WHOLE_DATASETS)]
    rows = []
    for cell in printed[printed["metric"] == "count"].to_dict("records"):
        dataset = WHOLE_DATASETS[cell["row"]]
        ours = _counted(index[index["dataset"] == dataset], cell)
        if ours is None:
            continue
        agrees = _agrees(ours, cell["value"], cell["note"])
        values = dataset, cell["column"], cell["as_printed"], ours, agrees, cell["paper"]
        rows.append((*values, cell["source"]))
    return pd.DataFrame(rows, columns=COLUMNS)


def _counted(rows: pd.DataFrame, cell: Mapping[str, Any]) -> int | None:
    """What a printed cell counts, in rows of its data set; None where it counts something else, or
    the data set is not there."""
    if rows.empty or "per scan" in cell["column"]:
        return None
    if cell["column"] == "negative slices":
        return int((~rows["any"].astype("boolean")).sum())
    if cell["unit"] == "slice":
        return int(rows[cell["class"]].sum()) if cell["class"] else len(rows)
    identity = {"scan": "scan_id", "patient": "patient_id"}.get(cell["unit"])
    return None if identity is None else rows[identity].nunique()


def _agrees(ours: int, printed: float, note: Any) -> bool:
    if pd.isna(note):
        return ours == printed
    if note == "lower bound":
        return ours >= printed
    if note == "upper bound":
        return ours <= printed
    if note == "approximate":
        return abs(ours - printed) <= APPROXIMATE * printed
    return ours == printed


def disagreements(counts: pd.DataFrame) -> list[str]:
    """A sentence for each count that is not the paper's; none where all agree.

    counts: of `counts_beside_printed`.
    """
    return [
        f"{row.dataset} is not the paper's: {row.counted} {row.printed} in print, {row.ours} here"
        f" ({row.source})"
        for row in counts.itertuples()
        if not row.agrees
    ]
