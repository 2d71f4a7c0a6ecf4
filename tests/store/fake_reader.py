"""A small reader for tests: each scan is one .npz file; importable, so that workers can load it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ich_study.datasets.contract import ScanRef, ScanVolume, box_frame, label_frame
from ich_study.errors import DataError
from ich_study.schema import SUBTYPES
from ich_study.store import build_store


def head(seed: int, slices: int = 12, size: int = 32) -> np.ndarray:
    """int16 HU: noisy brain in a ring of bone in air."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    radius = np.hypot(x, y) / (size / 2)
    image = np.where(radius < 0.7, 30, np.where(radius < 0.85, 900, -1000))
    return np.round(image + rng.normal(0, 5, (slices, size, size))).astype(np.int16)


def make_scan(seed: int = 0, **changes: object) -> ScanVolume:
    """A scan without contradictions, its mask and box in slice 3; `changes` replace fields."""
    hu = head(seed)
    subtype = SUBTYPES[seed % 5]
    drawn = np.zeros(hu.shape, np.uint8)
    drawn[3, 14:18, 12:18] = seed % 5 + 1
    yes = [index == 3 for index in range(len(hu))]
    labels = label_frame(
        {"any": yes, **{name: yes if name == subtype else [False] * len(hu) for name in SUBTYPES}},
        len(hu),
    )
    scan_id = f"scan {seed}"
    fields = {
        "ref": ScanRef("fake", f"P{seed}", scan_id, (Path(f"{seed}.npz"),)),
        "hu": hu,
        "z_mm": np.arange(len(hu)) * 5.0,
        "spacing_mm": (0.5, 0.5),
        "thickness_mm": float("nan") if seed % 2 else 5.0,
        "labels": labels,
        "mask": drawn,
        "boxes": box_frame(
            [
                {
                    "scan_id": scan_id,
                    "slice_index": 3,
                    "x": 12,
                    "y": 14,
                    "width": 6,
                    "height": 4,
                    "label": subtype,
                }
            ]
        ),
        "boxes_known": np.ones(len(hu), bool),
        "sources": tuple(f"{seed}.npz" for _ in hu),
        "notes": ("padding set to air",),
    }
    return ScanVolume(**{**fields, **changes})


@dataclass
class FakeReader:
    """Files `<seed>.npz` under the root, every third scan without a mask; `_seconds` slows each
    scan down, `offset` is added to HU."""

    root: Path
    name: str = "fake"
    intensity: str = "hu"
    offset: int = 0
    _seconds: float = 0.0

    def scans(self) -> list[ScanRef]:
        return [
            ScanRef(self.name, f"P{path.stem}", f"scan {path.stem}", (path,))
            for path in sorted(self.root.glob("*.npz"))
        ]

    def load(self, ref: ScanRef) -> ScanVolume:
        time.sleep(self._seconds)
        try:
            hu = np.load(ref.files[0], allow_pickle=False)["hu"] + np.int16(self.offset)
        except (ValueError, OSError, EOFError) as error:
            raise DataError(f"damaged file: {error}") from error
        seed = int(ref.files[0].stem)
        return (
            make_scan(seed, ref=ref, hu=hu)
            if seed % 3
            else make_scan(seed, ref=ref, hu=hu, mask=None)
        )


def write_source(root: Path, scans: int) -> FakeReader:
    """`scans` files under `root`, and their reader."""
    root.mkdir(parents=True, exist_ok=True)
    for seed in range(scans):
        np.savez(root / f"{seed}.npz", hu=head(seed))
    return FakeReader(root)


def touch_later(path: Path) -> None:
    """Give a file a newer time than it has."""
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))


def built(tmp_path, scans=4, **options):
    return build_store(
        write_source(tmp_path / "source", scans),
        tmp_path / "stores",
        workers=1,
        **options,
    )


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "scans").glob("[!.]*.npy")}
