"""The integrity report of a study: every store's scans alone, and across its scans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import pandas as pd

from ich_study.integrity.across import check_index
from ich_study.integrity.report import findings_table


class CheckedScans(Protocol):
    """What a store gives: `findings` of each scan alone, and `images`, a hash per slice."""

    @property
    def findings(self) -> pd.DataFrame:
        """Report of the scans, each seen alone."""

    @property
    def images(self) -> pd.DataFrame:
        """A row per slice: `dataset, patient_id, scan_id, slice_index, image_hash, constant`."""


def check_stores(stores: Mapping[str, CheckedScans]) -> pd.DataFrame:
    """One table over all stores (`report.TABLE_COLUMNS`), worst severity first."""
    tables = [
        table for store in stores.values() for table in (store.findings, check_index(store.images))
    ]
    return findings_table([row for table in tables for row in table.to_dict("records")])
