"""The cache: int16 HU per scan, memory-mapped, one slice at a time; slice index in Parquet.

`<root>/<dataset>/` holds `scans/*.npy`, `masks/*.npy`, a record per scan in `records/`, the tables
`index`, `boxes`, `images` and `scans` (Parquet), `notes` and `findings` (CSV), and `store.json`,
written last, with the content hash.
"""

from ich_study.store.build import build_store
from ich_study.store.read import Store, concat_index, open_stores

__all__ = ["Store", "build_store", "concat_index", "open_stores"]
