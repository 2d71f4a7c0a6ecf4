"""Raw maps of many slices on disk, at the resolution of their layers: computed once, read a few
slices at a time.

27 maps of a slice at 512 px take about 80 kB at layer resolution against 28 MB at full size. One
memory-mapped float32 file per method and layer; a run that was killed goes on after its last batch.
The archive holds a hash of each file's finished maps, which is checked before they are read or
continued.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import xxhash
from torch import Tensor
from tqdm import tqdm

from ich_study.atomic import write_json
from ich_study.errors import DataError
from ich_study.evaluate.scaling import checked_maps
from ich_study.hashing import sha256_bytes, sha256_lines
from ich_study.inputs.slices import SliceDataset

MapName = tuple[str, str]
"""Method and layer, such as ("hires_cam", "[-3]")."""
Maps = Mapping[MapName, Tensor]
_STATE = "archive.json"
_SAVE_EVERY_S = 10.0
_ANEW = "delete the folder {} and run the notebook again, which computes them anew"


class MapArchive:
    """Finished maps of one part. names: what it holds. count: slices."""

    def __init__(self, folder: Path) -> None:
        """Open a finished archive."""
        self.folder = folder
        state = _state(folder)
        self.names: list[MapName] = [tuple(name) for name in state["names"]]
        self.count = int(state["count"])
        self._hashes = dict(zip(self.names, state["hashes"]))
        self._arrays: dict[MapName, np.ndarray] = {}

    def raw(self, name: MapName, places: slice | np.ndarray | None = None) -> np.ndarray:
        """Raw maps (slices, h, w) at layer resolution, float32, a copy. Raises DataError for maps
        that are not those that were written."""
        if name not in self._arrays:
            self._arrays[name], _ = _opened(self.folder, name, self.count, self._hashes[name], "r")
        return np.array(self._arrays[name][slice(None) if places is None else places])


def archive_slices(
    folder: Path,
    dataset: SliceDataset,
    batch_size: int,
    device: torch.device,
    maps_of: Callable[[Tensor], Maps],
    key: Mapping[str, Any],
    what: str,
) -> MapArchive:
    """Maps of the slices of `dataset`, without augmentation, computed on `device`, in `folder`;
    what is there of the same `key` is kept and continued.

    maps_of: raw maps (B, h, w) of one batch of network inputs (B, C, H, W). key: what the maps
    depend on beside the slices and what is seen of them, JSON-able; other content of the folder's
    archive is replaced. Raises MapError naming method, layer and first slice where a map is not
    finite, or has no pixel.
    """
    count = len(dataset)
    if count < 1:
        raise DataError(f"no slices to compute {what} of: the part is empty")
    seen = {
        "data": dataset.source.content_hash,
        "slices": sha256_lines(dataset.rows.astype(str).agg(" ".join, axis=1)),
        "preprocessing": dataset.preprocessing.describe(),
        "batch": batch_size,
        **key,
        "count": count,
    }
    mark = sha256_bytes(json.dumps(seen, sort_keys=True, default=str).encode())
    state = _state(folder)
    if state.get("mark") != mark:
        state = {"mark": mark, "count": count, "done": 0, "names": [], "hashes": []}
    done = state["done"]
    if done == count:
        return MapArchive(folder)
    arrays: dict[MapName, np.ndarray] = {}
    hashes: dict[MapName, xxhash.xxh3_128] = {}
    for listed, known in zip(state["names"], state["hashes"]):
        name = tuple(listed)
        arrays[name], hashes[name] = _opened(folder, name, done, known, "r+")
    saved = time.perf_counter()
    bar = {"initial": done, "unit": "slice", "mininterval": 5, "leave": False}
    with tqdm(total=count, desc=f"computing {what}", **bar) as progress:
        while done < count:
            places = slice(done, min(done + batch_size, count))
            hu, _ = dataset.__getitems__(range(places.start, places.stop))
            found = maps_of(dataset.preprocessing.inputs(hu.to(device)))
            arrays = arrays or _created(folder, count, found)
            for name, maps in found.items():
                where = f"slices {places.start} to {places.stop - 1}"
                checked_maps(maps, f"{name[0]} at layer {name[1]}, {where}")
                arrays[name][places] = maps.detach().float().cpu().numpy()
                hashes.setdefault(name, xxhash.xxh3_128()).update(arrays[name][places])
            done = places.stop
            progress.update(len(hu))
            if time.perf_counter() - saved > _SAVE_EVERY_S or done == count:
                state |= {
                    "names": list(arrays),
                    "hashes": [hashes[name].hexdigest() for name in arrays],
                    "done": done,
                }
                for array in arrays.values():
                    array.flush()
                write_json(folder / _STATE, state)
                saved = time.perf_counter()
    return MapArchive(folder)


def _created(folder: Path, count: int, found: Maps) -> dict[MapName, np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    for old in (folder / _STATE, *folder.glob("*.npy")):
        old.unlink(missing_ok=True)
    arrays = {}
    for name, maps in found.items():
        path, shape = _file(folder, name), (count, *maps.shape[-2:])
        arrays[name] = np.lib.format.open_memmap(path, "w+", np.float32, shape)
        # a full disk is an error here, not the end of the process at some later page
        with path.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return arrays


def _opened(
    folder: Path, name: MapName, done: int, known: str, mode: Literal["r", "r+"]
) -> tuple[np.ndarray, xxhash.xxh3_128]:
    """The maps of one name, with the hash of the first `done`; DataError unless it is `known`."""
    path, found = _file(folder, name), xxhash.xxh3_128()
    try:
        array = np.load(path, mmap_mode=mode)
        found.update(array[:done])
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); {_ANEW.format(folder)}") from error
    if found.hexdigest() != known:
        raise DataError(f"{path}: its maps are not those that were written; {_ANEW.format(folder)}")
    return array, found


def _state(folder: Path) -> dict[str, Any]:
    """What the folder's archive says of itself; nothing where it was written before maps had
    hashes, so that those are computed anew."""
    path = folder / _STATE
    state = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return state if "hashes" in state else {}


def _file(folder: Path, name: MapName) -> Path:
    return folder / f"{name[0]}{name[1]}.npy"
