"""Guard between a trained network and the patients that it is scored on."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ich_study.errors import SplitError, WeightsError
from ich_study.models.weights import read_metadata
from ich_study.splits.overlap import seen_patients


def assert_unseen(checkpoint: Path, rows: pd.DataFrame) -> None:
    """Raise SplitError where a network was trained, or its epoch chosen, on a patient of `rows`,
    WeightsError where its checkpoint does not say on whom."""
    marks = read_metadata(checkpoint).get("patients")
    if marks is None:
        raise WeightsError(
            f"{checkpoint} does not say which patients it was trained on; train it again"
        )
    seen = seen_patients(marks, rows)
    if seen:
        raise SplitError(
            f"{checkpoint} was trained on {len(seen)} of the patients that it would be scored on"
            f" ({', '.join(seen[:5])}); choose a run of the same split, or other patients"
        )
