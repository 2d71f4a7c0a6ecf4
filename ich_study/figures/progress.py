"""Where the progress bars of a notebook go."""

from __future__ import annotations

import os
import sys
from functools import partialmethod
from pathlib import Path

from IPython import get_ipython
from tqdm import tqdm

from ich_study.figures.explore import sliders_wanted
from ich_study.manifest import HEADLESS


def place_bars() -> None:
    """From here on progress bars of a notebook stand among what it prints where someone may look,
    and nowhere else: each would stay in the executed notebook as an output in red. A terminal, and
    our own runner, which writes them into its log, keep theirs."""
    if get_ipython() is None or HEADLESS in os.environ or sys.stderr.isatty():
        return
    place = sys.stdout if sliders_wanted() else Path(os.devnull).open("w")  # noqa: SIM115
    tqdm.__init__ = partialmethod(tqdm.__init__, file=place)
