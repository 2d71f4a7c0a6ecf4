"""Reading the store: one slice of one scan at a time, from memory-mapped int16 HU."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ich_study.errors import DataError, ParameterError
from ich_study.hashing import pixel_hash, sha256_bytes, unsealed
from ich_study.integrity import findings_table
from ich_study.manifest import repeat_command
from ich_study.paths import safe_name
from ich_study.schema import BOX_COLUMNS, INDEX_COLUMNS, typed
from ich_study.store.fingerprint import LAYOUT
from ich_study.store.record import file_name, image_hashes

META = "store.json"
TABLES = (
    "index.parquet",
    "boxes.parquet",
    "images.parquet",
    "scans.parquet",
    "notes.csv",
    "findings.csv",
)
"""Tables of a store, whose hashes `store.json` holds."""
IMAGE_COLUMNS: dict[str, str] = {
    "dataset": "string",
    "patient_id": "string",
    "scan_id": "string",
    "slice_index": "int32",
    "image_hash": "string",
    "constant": "bool",
}
OPEN_ARRAYS = 64


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
            text = (self.path / META).read_text(encoding="utf-8")
            layout = json.loads(text)["layout"]
            if layout != LAYOUT:
                raise DataError(
                    f"{self.path} has layout {layout}, this version reads {LAYOUT}; build it"
                    f" again: {self._repair()}"
                )
            self.meta: dict[str, Any] = unsealed(text)
        except FileNotFoundError as error:
            state = "is not finished" if self.path.is_dir() else "does not exist"
            raise DataError(
                f"the store {self.path} {state}; this builds it, or goes on building:"
                f" {self._repair()}"
            ) from error
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise self._damaged(META, error) from error
        self.dataset: str = self.meta["dataset"]
        self.intensity: str = self.meta["intensity"]
        self.content_hash: str = self.meta["content_hash"]
        self._arrays: OrderedDict[Path, np.ndarray] = OrderedDict()
        self._checked: dict[str, np.ndarray] = {}

    def __repr__(self) -> str:
        counts = ", ".join(
            f"{self.meta[name]} {name}" for name in ("patients", "scans", "slices", "boxes")
        )
        return f"Store({self.dataset}: {counts}; {self.content_hash[:12]})"

    def __getstate__(self) -> dict[str, Any]:
        """Path and hash only: no open file and no table travels to another process."""
        return {"path": self.path, "content_hash": self.content_hash}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(Store(state["path"]).__dict__)
        if self.content_hash != state["content_hash"]:
            raise DataError(
                f"{self.path} has content hash {self.content_hash[:12]}, expected was"
                f" {state['content_hash'][:12]}: the data changed since; rerun what depends on it"
            )

    def _repair(self) -> str:
        """The command that makes the store whole: of the run it is in, where that has a record."""
        return repeat_command(self.path.parents[1], "00_data")

    def _damaged(self, name: str, why: object) -> DataError:
        return DataError(f"{self.path / name}: {why}; this repairs the store: {self._repair()}")

    def _table(self, name: str) -> BytesIO:
        """The bytes of a table; DataError where they are not those that were written."""
        try:
            content = (self.path / name).read_bytes()
        except OSError as error:
            raise self._damaged(name, error.strerror) from error
        if sha256_bytes(content) != self.meta["tables"][name]:
            raise self._damaged(name, f"does not match its hash in {META}")
        return BytesIO(content)

    def _typed(self, name: str, columns: dict[str, str]) -> pd.DataFrame:
        return typed(pd.read_parquet(self._table(name)), columns, f"{self.path}/{name}")

    def check_tables(self) -> None:
        """DataError where a table is gone or not as it was written."""
        for name in TABLES:
            self._table(name)

    @cached_property
    def index(self) -> pd.DataFrame:
        """Slice index, a row per slice."""
        return self._typed("index.parquet", INDEX_COLUMNS)

    @cached_property
    def boxes(self) -> pd.DataFrame:
        """Boxes in pixels of the stored slices."""
        return self._typed("boxes.parquet", BOX_COLUMNS)

    @cached_property
    def images(self) -> pd.DataFrame:
        """A row per slice: `dataset, patient_id, scan_id, slice_index, image_hash, constant`."""
        return self._typed("images.parquet", IMAGE_COLUMNS)

    @cached_property
    def _recorded(self) -> pd.DataFrame:
        """Content hash and mask hash of every scan, by scan."""
        return pd.read_parquet(self._table("scans.parquet")).set_index("scan_id")

    @cached_property
    def _image_hashes(self) -> dict[str, list[str]]:
        """Hash of every slice's HU, in order, by scan."""
        return self.images.groupby("scan_id", sort=False)["image_hash"].agg(list).to_dict()

    @cached_property
    def findings(self) -> pd.DataFrame:
        """Integrity report of the scans, each seen alone, and of the scans left out."""
        table = pd.read_csv(
            self._table("findings.csv"),
            keep_default_na=False,
            dtype=str,
            na_values={"slice_index": [""]},
        )
        return findings_table(table.astype({"slice_index": "Int32"}).to_dict("records"))

    @cached_property
    def notes(self) -> pd.DataFrame:
        """What the reader repaired or dropped: `scan_id, note`."""
        return pd.read_csv(self._table("notes.csv"), dtype=str)

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
        """HU of a scan, int16 (slices, rows, columns), memory-mapped and read only; all of it is
        compared with its hashes on first use."""
        array = self._array("scans", scan_id, np.dtype(np.int16))
        self._check_slices(scan_id, array, range(len(array)))
        return array

    def slice(self, scan_id: str, slice_index: int) -> np.ndarray:
        """HU of one slice, int16 (rows, columns), a copy, compared with its hash on first use;
        ParameterError for a slice that the scan does not have."""
        volume, number = self._array("scans", scan_id, np.dtype(np.int16)), int(slice_index)
        if not 0 <= number < len(volume):
            raise ParameterError(f"slice {number} of a scan with {len(volume)} slices")
        self._check_slices(scan_id, volume, [number])
        return np.array(volume[number])

    def mask(self, scan_id: str) -> np.ndarray:
        """Mask of a scan, uint8 (slices, rows, columns) of `schema.MASK_CODES` and 6,
        memory-mapped; compared with its hash on first use.

        Raises DataError where the scan has none.
        """
        if not self.has_mask(scan_id):
            raise DataError(f"scan {scan_id} of {self.dataset} has no mask; ask `has_mask` first")
        array = self._array("masks", scan_id, np.dtype(np.uint8))
        name = f"masks/{file_name(scan_id)}.npy"
        if name not in self._checked:
            if pixel_hash(np.ascontiguousarray(array)) != self._recorded.loc[scan_id, "mask_hash"]:
                raise self._damaged(name, "does not match its hash")
            self._checked[name] = np.ones(1, bool)
        return array

    def _check_slices(self, scan_id: str, volume: np.ndarray, slices: Iterable[int]) -> None:
        """Compare slices with their hashes, each once in a process; DataError names the first that
        differs. 0.015 ms for a slice of 512 x 512."""
        name = f"scans/{file_name(scan_id)}.npy"
        checked = self._checked.setdefault(name, np.zeros(len(volume), bool))
        for number in slices:
            if checked[number]:
                continue
            found = image_hashes(volume[number : number + 1])
            if found != [self._image_hashes[scan_id][number]]:
                raise self._damaged(name, f"slice {number} does not match its hash")
            checked[number] = True

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

    def _opened(self, path: Path, shape: tuple[int, int, int], dtype: np.dtype) -> np.ndarray:
        name = path.relative_to(self.path).as_posix()
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise self._damaged(name, f"missing or damaged ({error})") from error
        if array.shape != shape or array.dtype != dtype:
            found, expected = f"{array.dtype} {array.shape}", f"{dtype} {shape}"
            raise self._damaged(name, f"holds {found}, the index says {expected}")
        return array

    def verify(self) -> None:
        """Compare every table and array with its hash again; DataError names the scans that
        differ."""
        self.check_tables()
        self._checked.clear()
        damaged = [scan_id for scan_id in self.scan_ids if not self._whole(scan_id)]
        if damaged:
            raise DataError(
                f"{len(damaged)} scans in {self.path} do not match their hash:"
                f" {', '.join(damaged[:20])}. This repairs the store: {self._repair()}"
            )

    def _whole(self, scan_id: str) -> bool:
        """Whether the scan's arrays are those that were written."""
        try:
            self.volume(scan_id)
            if self.has_mask(scan_id):
                self.mask(scan_id)
        except DataError:
            return False
        return True


def open_stores(root: Path, datasets: Iterable[str]) -> dict[str, Store]:
    """Stores of several data sets under one root, by name."""
    return {name: Store(Path(root) / safe_name(name)) for name in datasets}


def concat_index(stores: Mapping[str, Store] | Iterable[Store]) -> pd.DataFrame:
    """The slice indices of several stores as one."""
    found = stores.values() if isinstance(stores, Mapping) else stores
    return typed(pd.concat([store.index for store in found]), INDEX_COLUMNS, "index")
