"""Rows of a result table, as claims read them."""

from __future__ import annotations

from typing import Any


def number(method: str, low: float, high: float, **more: Any) -> dict[str, Any]:
    """A number with its interval; `more` are columns that differ."""
    return {
        "study": "s",
        "dataset": "d",
        "method": method,
        "class": "any",
        "metric": "auroc",
        "value": (low + high) / 2,
        "ci_low": low,
        "ci_high": high,
        "seed": 0,
        **more,
    }
