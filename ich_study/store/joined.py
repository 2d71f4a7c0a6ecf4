"""Slices of several stores as one source of a training (`inputs.slices.SliceSource`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ich_study.errors import DataError
from ich_study.hashing import sha256_lines
from ich_study.store.read import Store


class JoinedStores:
    """Stores of several data sets, read by scan; DataError where two of them name a scan alike."""

    def __init__(self, stores: Sequence[Store]) -> None:
        self._store_of: dict[str, Store] = {}
        for store in stores:
            for scan_id in store.scan_ids:
                if scan_id in self._store_of:
                    names = f"{self._store_of[scan_id].dataset} and {store.dataset}"
                    raise DataError(
                        f"{names} both have a scan {scan_id!r}; expected names that tell which data"
                        " set a slice is of. Train on other data sets together"
                    )
                self._store_of[scan_id] = store
        self.content_hash = sha256_lines([store.content_hash for store in stores])

    def volume(self, scan_id: str) -> np.ndarray:
        """HU of a scan, int16 (slices, rows, columns), memory-mapped and read only; DataError where
        no store has it."""
        if scan_id not in self._store_of:
            raise DataError(f"no scan {scan_id!r} in any of the data sets that are joined")
        return self._store_of[scan_id].volume(scan_id)
