"""Charts of other notebooks, drawn again from their small tables."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from ich_study.phantom import priors_report


def redrawn(
    results: pd.DataFrame, runs: Path, arms: Sequence[str], part: str, baseline: str, data: str
) -> dict[str, Figure]:
    """Path below the runs' folder, without ending, and figure.

    results: result tables of all runs. arms, part, baseline: runs of 01_backbones that Figures 2
    and 3 of the CAM benchmark compare, as for its `table_one`. data: what titles say of the data.
    """
    # asked for by name, when their turn comes: these load PyTorch, which no other table needs
    of_06 = import_module("ich_study.methods.cams.figures")
    of_08 = import_module("ich_study.cross.figures")
    return {
        **priors_report.redrawn(runs, data),
        **of_06.redrawn(results, runs, arms, part, baseline, data),
        **of_08.redrawn(results, runs, data),
    }
