"""Guard between a trained network and the patients that it is scored on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ich_study.errors import SplitError
from ich_study.models.weights import known_patients
from ich_study.splits.overlap import seen_patients


def assert_unseen(checkpoint: Path, rows: pd.DataFrame) -> None:
    """Raise SplitError where a network was trained, or its epoch chosen, on a patient of `rows`,
    WeightsError where its checkpoint does not say on whom."""
    assert_none_seen(str(checkpoint), known_patients(checkpoint), rows)


def assert_none_seen(network: str, marks: Mapping[str, Sequence[str]], rows: pd.DataFrame) -> None:
    """Raise SplitError, naming `network`, where a patient of `rows` is among the `patient_marks` of
    those that it learned from."""
    seen = seen_patients(marks, rows)
    if seen:
        raise SplitError(
            f"{network} was trained on {len(seen)} of the patients that it would be scored on"
            f" ({', '.join(seen[:5])}); choose a run of the same split, or other patients"
        )
