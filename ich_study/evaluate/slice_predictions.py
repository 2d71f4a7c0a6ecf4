"""The table of slice predictions, a row per slice and class."""

from __future__ import annotations

import pandas as pd

from ich_study.errors import StudyError

PREDICTION_COLUMNS: dict[str, str] = {
    "dataset": "string",
    "patient_id": "string",
    "scan_id": "string",
    "slice_index": "int32",
    "class": "string",
    "label": "boolean",
    "logit": "float64",
    "probability": "float64",
}


def known_of(predictions: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rows of class `name` whose label is known, with `label` as bool; StudyError when the class is
    not there."""
    rows = predictions[predictions["class"] == name]
    if rows.empty:
        raise StudyError(
            f"no predictions of class {name!r}; there are {sorted(predictions['class'].unique())}"
        )
    known = rows[rows["label"].notna()]
    return known.assign(
        label=known["label"].astype(bool), probability=known["probability"].astype(float)
    )
