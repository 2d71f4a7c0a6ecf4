"""nbval: after a cell that failed the notebook's other cells are skipped, so that one cause is one
error."""

from __future__ import annotations

import pytest


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Remember the first cell of a notebook that failed."""
    if call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
        vars(item.parent).setdefault("failed_cell", item.name)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a cell behind one that failed."""
    failed = vars(item.parent).get("failed_cell")
    if failed is not None:
        pytest.skip(f"{failed} of this notebook failed")
