"""Reading the store: one slice of one scan at a time, from memory-mapped int16 HU."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from ich_study.ct.stacks import neighbours
from ich_study.errors import DataError
from ich_study.hashing import pixel_hash
from ich_study.integrity import findings_table
from ich_study.paths import safe_name
from ich_study.schema import BOX_COLUMNS, INDEX_COLUMNS, typed
from ich_study.store.fingerprint import LAYOUT
from ich_study.store.record import content_hash, dataset_hash, file_name, image_hashes

META = "store.json"
IMAGE_COLUMNS: dict[str, str] = {
    "dataset": "string",
    "patient_id": "string",
    "scan_id": "string",
    "slice_index": "int32",
    "image_hash": "string",
    "constant": "bool",
}
OPEN_ARRAYS = 64
BUILD = "python -m ich_study.run 00_data -f params/<scale>/00_data.yaml"


class Store:
    """The store of one data set, read only; picklable, and safe in the workers of a DataLoader.

    index: slice index (`schema.INDEX_COLUMNS`), sorted by scan and slice; `has_boxes` says that the
    slice's boxes are known, `has_mask` that its scan has a mask. boxes: `schema.BOX_COLUMNS`.
    images: hash of every slice's HU, and whether it is constant. findings: the integrity report of
    each scan alone (`integrity.check_volume`), and the scans left out. notes: of the reader.
    intensity: "hu", or the reader's sentence on what stands in for HU.
    """

    def __init__(self, path: Path) -> None:
        """Open `path`, the folder of one data set; DataError says how to build it where it is
        not."""
        self.path = Path(path).resolve()
        try:
            self.meta: dict[str, Any] = json.loads((self.path / META).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            state = "is not finished" if self.path.is_dir() else "does not exist"
            raise DataError(
                f"the store {self.path} {state}; this builds it, or goes on building: {BUILD}"
            ) from error
        if self.meta.get("layout") != LAYOUT:
            raise DataError(
                f"{self.path} has layout {self.meta.get('layout')}, this version reads {LAYOUT};"
                f" build it again: {BUILD}"
            )
        self.dataset: str = self.meta["dataset"]
        self.intensity: str = self.meta["intensity"]
        self.content_hash: str = self.meta["content_hash"]
        self._arrays: OrderedDict[Path, np.ndarray] = OrderedDict()

    @classmethod
    def open(cls, path: Path, expected_hash: str | None = None) -> Store:
        """The store at `path`; DataError where its content hash is not the expected one."""
        store = cls(path)
        if expected_hash is not None and store.content_hash != expected_hash:
            raise DataError(
                f"{store.path} has content hash {store.content_hash[:12]}, expected was"
                f" {expected_hash[:12]}: the data changed since; rerun what depends on it"
            )
        return store

    def __repr__(self) -> str:
        counts = ", ".join(
            f"{self.meta[name]} {name}" for name in ("patients", "scans", "slices", "boxes")
        )
        return f"Store({self.dataset}: {counts}; {self.content_hash[:12]})"

    def __getstate__(self) -> dict[str, Any]:
        """Path and hash only: no open file and no table travels to another process."""
        return {"path": self.path, "expected_hash": self.content_hash}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(Store.open(**state).__dict__)

    @cached_property
    def index(self) -> pd.DataFrame:
        """Slice index, a row per slice."""
        return typed(
            pd.read_parquet(self.path / "index.parquet"),
            INDEX_COLUMNS,
            f"{self.path}/index.parquet",
        )

    @cached_property
    def boxes(self) -> pd.DataFrame:
        """Boxes in pixels of the stored slices."""
        return typed(
            pd.read_parquet(self.path / "boxes.parquet"), BOX_COLUMNS, f"{self.path}/boxes.parquet"
        )

    @cached_property
    def images(self) -> pd.DataFrame:
        """A row per slice: `dataset, patient_id, scan_id, slice_index, image_hash, constant`."""
        return typed(
            pd.read_parquet(self.path / "images.parquet"),
            IMAGE_COLUMNS,
            f"{self.path}/images.parquet",
        )

    @cached_property
    def findings(self) -> pd.DataFrame:
        """Integrity report of the scans, each seen alone, and of the scans left out."""
        table = pd.read_csv(
            self.path / "findings.csv",
            keep_default_na=False,
            dtype=str,
            na_values={"slice_index": [""]},
        )
        return findings_table(table.astype({"slice_index": "Int32"}).to_dict("records"))

    @cached_property
    def notes(self) -> pd.DataFrame:
        """What the reader repaired or dropped: `scan_id, note`."""
        return pd.read_csv(self.path / "notes.csv", dtype=str)

    @cached_property
    def _scans(self) -> dict[str, tuple[int, int, int, bool]]:
        """scan_id -> slices, rows, columns, has_mask."""
        first = self.index.drop_duplicates("scan_id", keep="last")
        return {
            row.scan_id: (row.slice_index + 1, row.rows, row.columns, row.has_mask)
            for row in first.itertuples()
        }

    @property
    def scan_ids(self) -> list[str]:
        """Scans, in the order of the index."""
        return list(self._scans)

    def has_mask(self, scan_id: str) -> bool:
        """Whether the scan has a mask, be it an empty one."""
        return bool(self._scan(scan_id)[3])

    def volume(self, scan_id: str) -> np.ndarray:
        """HU of a scan, int16 (slices, rows, columns), memory-mapped and read only."""
        return self._array("scans", scan_id, np.dtype(np.int16))

    def slice(self, scan_id: str, slice_index: int) -> np.ndarray:
        """HU of one slice, int16 (rows, columns), a copy."""
        return self.stack(scan_id, slice_index, 1)[0]

    def stack(self, scan_id: str, slice_index: int, depth: int) -> np.ndarray:
        """HU of `depth` neighbouring slices (`ct.stacks.neighbours`), int16 (depth, rows, columns),
        a copy.

        Raises ParameterError for an even depth or a slice that the scan does not have.
        """
        volume = self.volume(scan_id)
        return volume[neighbours(int(slice_index), len(volume), depth)]

    def mask(self, scan_id: str) -> np.ndarray:
        """Mask of a scan, uint8 (slices, rows, columns) of `schema.MASK_CODES` and 6,
        memory-mapped.

        Raises DataError where the scan has none.
        """
        if not self.has_mask(scan_id):
            raise DataError(f"scan {scan_id} of {self.dataset} has no mask; ask `has_mask` first")
        return self._array("masks", scan_id, np.dtype(np.uint8))

    def _scan(self, scan_id: str) -> tuple[int, int, int, bool]:
        if scan_id not in self._scans:
            raise DataError(
                f"no scan {scan_id!r} in {self.path}; it holds {len(self._scans)} scans, first"
                f" {next(iter(self._scans))!r}"
            )
        return self._scans[scan_id]

    def _array(self, kind: str, scan_id: str, dtype: np.dtype) -> np.ndarray:
        path = self.path / kind / f"{file_name(scan_id)}.npy"
        array = self._arrays.pop(path, None)
        if array is None:
            array = self._opened(path, self._scan(scan_id)[:3], dtype)
        self._arrays[path] = array
        if len(self._arrays) > OPEN_ARRAYS:
            self._arrays.popitem(last=False)
        return array

    @staticmethod
    def _opened(path: Path, shape: tuple[int, int, int], dtype: np.dtype) -> np.ndarray:
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(
                f"{path} is missing or damaged ({error}); this repairs the store: {BUILD}"
            ) from error
        if array.shape != shape or array.dtype != dtype:
            raise DataError(
                f"{path} holds {array.dtype} {array.shape}, the index says {dtype} {shape}; this"
                f" repairs the store: {BUILD}"
            )
        return array

    def verify(self, progress: bool = False) -> None:
        """Compare every array and table with the content hash; DataError names the scans that
        differ."""
        tables = {
            name: frame.astype(object).where(frame.notna(), None)
            for name, frame in (("index", self.index), ("boxes", self.boxes))
        }
        rows = {
            name: dict(iter(table.groupby("scan_id", sort=False))) for name, table in tables.items()
        }
        recorded = (
            pd.read_parquet(self.path / "scans.parquet")
            .set_index("scan_id")["content_hash"]
            .to_dict()
        )
        bar = tqdm(
            self.scan_ids,
            f"verify {self.dataset}",
            unit="scan",
            mininterval=5,
            disable=not progress,
        )
        damaged = [
            scan_id for scan_id in bar if self._hash_of(scan_id, rows) != recorded.get(scan_id)
        ]
        if damaged:
            raise DataError(
                f"{len(damaged)} scans in {self.path} do not match their hash:"
                f" {', '.join(damaged[:20])}. Remove their files under scans/ and masks/ and build"
                f" again: {BUILD}"
            )
        if dataset_hash(self.dataset, self.intensity, recorded) != self.content_hash or set(
            recorded
        ) != set(self.scan_ids):
            raise DataError(
                f"the tables in {self.path} do not match the hash in {META}; delete {META} and"
                f" build again: {BUILD}"
            )

    def _hash_of(self, scan_id: str, rows: Mapping[str, Mapping[str, pd.DataFrame]]) -> str | None:
        """Content hash of a scan as it lies on disk now; None where an array cannot be read."""
        try:
            images = image_hashes(self.volume(scan_id))
            mask = (
                pixel_hash(np.ascontiguousarray(self.mask(scan_id)))
                if self.has_mask(scan_id)
                else None
            )
        except DataError:
            return None
        none = {name: [] for name in BOX_COLUMNS}
        boxes = rows["boxes"][scan_id].to_dict("list") if scan_id in rows["boxes"] else none
        return content_hash(rows["index"][scan_id].to_dict("list"), boxes, images, mask)


def open_stores(root: Path, datasets: Iterable[str]) -> dict[str, Store]:
    """Stores of several data sets under one root, by name."""
    return {name: Store(Path(root) / safe_name(name)) for name in datasets}


def concat_index(stores: Mapping[str, Store] | Iterable[Store]) -> pd.DataFrame:
    """The slice indices of several stores as one."""
    found = stores.values() if isinstance(stores, Mapping) else stores
    return typed(pd.concat([store.index for store in found]), INDEX_COLUMNS, "index")
