"""How a row that holds the paired difference of two rows is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def pair_columns(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of the row that holds `first` minus `second`: `method`, and every other column in
    which the two differ, reads `first - second`; the metric ends in `_difference`.

    >>> pair_columns({"method": "a", "metric": "dice"}, {"method": "b", "metric": "dice"})
    {'method': 'a - b', 'metric': 'dice_difference'}
    """
    found = {
        key: value
        if key != "method" and value == second[key]
        else f"{_shown(value)} - {_shown(second[key])}"
        for key, value in first.items()
    }
    return {**found, "metric": f"{found['metric']}_difference"}


def _shown(value: Any) -> str:
    """Truth values as the result table's selectors write them."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
