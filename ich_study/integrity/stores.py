"""The integrity report of a study: every store's scans alone, and across its scans."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ich_study.integrity.across import check_index
from ich_study.integrity.report import findings_table
from ich_study.store.read import Store


def check_stores(stores: Mapping[str, Store]) -> pd.DataFrame:
    """One table over all stores (`report.TABLE_COLUMNS`), worst severity first."""
    tables = [
        table for store in stores.values() for table in (store.findings, check_index(store.images))
    ]
    return findings_table([row for table in tables for row in table.to_dict("records")])
