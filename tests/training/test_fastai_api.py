"""The one place that imports fastai, quietly."""

import re
import subprocess
import sys
from pathlib import Path

from ich_study.training import fastai_api

PACKAGE = Path(fastai_api.__file__).resolve().parents[1]


def test_importing_it_warns_of_nothing():
    """In a process of its own: here it was imported long ago."""
    code = (
        "import warnings; warnings.simplefilter('error', FutureWarning);"
        "warnings.simplefilter('error', DeprecationWarning);"
        "import ich_study.training.fastai_api as api;"
        # what it silences is silenced for its own import alone
        "warnings.warn('later', FutureWarning)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.strip().endswith("FutureWarning: later")


def test_all_that_it_names_is_there_and_nobody_else_imports_fastai():
    assert all(hasattr(fastai_api, name) for name in fastai_api.__all__)
    # distributed training is a method that this import adds
    assert hasattr(fastai_api.Learner, "distrib_ctx")
    importing = set()
    for path in PACKAGE.rglob("*.py"):
        lines = path.read_text().splitlines()
        if any(re.match(r"\s*(import|from) fastai\b", line) for line in lines):
            importing.add(path.relative_to(PACKAGE).as_posix())
    assert importing == {"training/fastai_api.py"}
