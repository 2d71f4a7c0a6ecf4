"""Five scans measured once for a module of tests."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ich_study.cross import measure, tables
from ich_study.evaluate.rows import Rows
from ich_study.schema import result_table
from tests.cross.fakes import SquareStore, method


@pytest.fixture(scope="module")
def study():
    store = SquareStore()
    truth = store.truth()
    methods = {name: method(name) for name in ("bright", "flat")}
    entries = measure.measured(methods, store, truth, 4.0, 0)
    shown = tables.shown_slices(truth, 2)
    scored = tables.score_all(entries, truth, folds=2, seed=0, shown=shown)
    made = Rows("08", "squares", 50, 0)
    return truth, scored, result_table(tables.result_rows(scored, truth, made)), made


@pytest.fixture
def cost(study):
    """What each method costs, a rival nothing."""
    scored = study[1]
    return pd.DataFrame(
        {
            "dataset": "squares",
            "method": list(scored),
            "rival": [each.logit is None for each in scored.values()],
            "milliseconds": [5.0, 1.0, np.nan, np.nan, np.nan],
            "memory_mib": [7.0, 2.0, np.nan, np.nan, np.nan],
            "learned from": [each.learned_from for each in scored.values()],
        }
    )
