"""The columns and codes that every part of the study shares: slice index, boxes, result table.

Subtype order everywhere is IPH, IVH, SAH, SDH, EDH; the papers' other orders are mapped once, in
the module of the data set or of the paper's table.
"""

from __future__ import annotations

import pandas as pd

from ich_study.errors import StudyError

SUBTYPES: tuple[str, ...] = ("IPH", "IVH", "SAH", "SDH", "EDH")
LABELS: tuple[str, ...] = ("any", *SUBTYPES)

MASK_CODES: dict[str, int] = {name: code for code, name in enumerate(SUBTYPES, start=1)}
"""Voxel codes of a mask, uint8: 0 is background, 1-5 the subtypes in their order."""
UNSPECIFIED_HEMORRHAGE = 6
"""Mask code of hemorrhage whose subtype the data set does not say (binary masks)."""

INDEX_COLUMNS: dict[str, str] = {
    "dataset": "string",
    "patient_id": "string",
    "scan_id": "string",
    "slice_index": "int32",
    "z_mm": "float64",
    "shift_x_mm": "float64",
    "shift_y_mm": "float64",
    "spacing_x_mm": "float64",
    "spacing_y_mm": "float64",
    "thickness_mm": "float64",
    "rows": "int32",
    "columns": "int32",
    **dict.fromkeys(LABELS, "boolean"),
    "has_mask": "bool",
    "has_boxes": "bool",
    "source": "string",
}
"""Slice index, a row per slice; `z_mm` and the shifts are those of `contract.ScanVolume`. Labels
are nullable: missing is unknown, never 0."""

BOX_COLUMNS: dict[str, str] = {
    "scan_id": "string",
    "slice_index": "int32",
    "x": "float64",
    "y": "float64",
    "width": "float64",
    "height": "float64",
    "label": "string",
}
"""Boxes, a row per box: x and y are the top left corner in pixels of the stored slice (column,
row); `label` is a subtype or `any`."""

RESULT_COLUMNS: tuple[str, ...] = (
    "study",
    "dataset",
    "method",
    "variant",
    "layer",
    "class",
    "unit",
    "subset",
    "threshold_source",
    "brain_mask",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "interval",
    "n",
    "seed",
)
"""Tidy result table, a row per number. `interval` says how its bounds were found, `bootstrap` or
`exact`, or why it has none (`metrics.statistics`)."""
MEASURED = frozenset({"value", "ci_low", "ci_high", "interval", "n"})
"""Columns of a result table that are measured; the others say what was measured."""

RESULT_LEVELS: dict[str, frozenset[str]] = {
    "unit": frozenset({"pixel", "slice", "scan", "patient"}),
    "subset": frozenset({"all", "positive", "positive_or_called"}),
    "threshold_source": frozenset({"none", "labels", "masks-validation", "masks-test"}),
}


def typed(frame: pd.DataFrame, columns: dict[str, str], what: str) -> pd.DataFrame:
    """`frame` with exactly `columns`, in their order and dtypes.

    Raises StudyError naming the columns that are missing or unknown.
    """
    missing = [name for name in columns if name not in frame]
    unknown = [name for name in frame if name not in columns]
    if missing or unknown:
        raise StudyError(f"{what}: missing columns {missing}, unknown columns {unknown}")
    return frame[list(columns)].astype(columns).reset_index(drop=True)


def result_table(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Rows as a tidy result table; columns a row leaves out are missing values.

    Raises StudyError on an unknown column, an unknown level of `unit`, `subset` or
    `threshold_source`, or a row without `metric` and `value`.
    """
    for row in rows:
        unknown = sorted(set(row) - set(RESULT_COLUMNS))
        if unknown:
            raise StudyError(f"result row has unknown columns {unknown}: {row}")
        if "metric" not in row or "value" not in row:
            raise StudyError(f"result row needs `metric` and `value`: {row}")
        for column, levels in RESULT_LEVELS.items():
            # a paired difference of two rows names both levels
            named = str(row.get(column) or "").split(" - ")
            if row.get(column) is not None and not levels.issuperset(named):
                raise StudyError(f"{column} is {row[column]!r}; expected one of {sorted(levels)}")
    return pd.DataFrame(rows, columns=RESULT_COLUMNS)
