"""Speed of the store: DICOM into it beside bare pydicom, and a slice out of it beside NIfTI.

    python benchmarks/bench_store.py [--scans 24] [--slices 32] [--copies 4] [--repeats 5] [--folder
    DIR]

What is compared, per slice of 512 x 512: the process CPU time (user + system) of a whole
`build_store` with one worker, from an empty folder to the finished store, against that of a loop of
`pydicom.dcmread(path).pixel_array` over the same files. The build holds all that a user waits for:
finding the files and reading the label table and the headers (`scans()`), decoding, HU, integrity
checks, the hash of every slice, writing with fsync, and the tables. The ratio is bare / build; 0.8
is
the target. Bare decoding holds no HU: `pixel_array` alone, the strictest reading of the target. The
least that a build can cost is printed beside it: reading a file's bytes, the hash of a slice, and
writing it, with nothing decoded or checked.

Scaling compares one worker with two. Starting the workers costs about a second once, which a build
of hours does not feel and one of seconds is all about, so the marginal cost is measured too: what
`copies` times the scans cost more than the scans once, per slice more, in wall and in CPU time. "in
the parent" is the CPU time that no worker takes over; it bounds what any number of workers can
gain.

Writes its own data (RSNA layout, uncompressed and JPEG Lossless; compressed NIfTI) into a temporary
folder, about 8 GB. Runs are interleaved, medians are taken. All files are in the page cache, the
hardest case for the store: no disk hides its work. What a build writes it takes out of the cache,
so the first repeat of random reading finds it on disk, the others in memory. CPU time is little
changed by other jobs on the machine; scaling over workers and random reading are in wall time and
need a machine at rest, and scaling on disk ends where the disk is busy all the time (`--folder`
chooses the disk).
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import statistics
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import gdcm
import nibabel
import numpy as np
import pandas as pd
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from ich_study.datasets.contract import ScanRef
from ich_study.datasets.rsna import SUBTYPE_NAMES, RsnaReader
from ich_study.hashing import pixel_hash
from ich_study.store import Store, build_store

BUILD_TARGET, READ_TARGET = 0.8, 20.0


def head(slices: int, seed: int) -> np.ndarray:
    """int16 HU (slices, 512, 512): brain with noise in a ring of bone, in air with noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:512, :512] - 255.5
    radius = np.hypot(x, y * 0.85)
    image = np.where(radius < 160, 32.0, np.where(radius < 175, 1100.0, -1000.0))
    noise = rng.normal(0, 6, (slices, 512, 512)).astype(np.float32)
    return np.clip(np.round(image + noise), -1024, 3071).astype(np.int16)


def write_slice(path: Path, hu: np.ndarray, scan: int, index: int) -> None:
    """One slice as RSNA 2019 writes it: few tags, 16-bit signed, intercept -1024."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    slice_ = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    slice_.SOPClassUID, slice_.SOPInstanceUID, slice_.Modality = CTImageStorage, path.stem, "CT"
    slice_.PatientID, slice_.StudyInstanceUID, slice_.SeriesInstanceUID = (
        f"ID_{scan:08x}",
        f"ID_{scan:010x}",
        f"ID_{scan + 2**30:010x}",
    )
    slice_.ImagePositionPatient, slice_.ImageOrientationPatient = (
        [-125, -125, index * 5.0],
        [1, 0, 0, 0, 1, 0],
    )
    slice_.SamplesPerPixel, slice_.PhotometricInterpretation, slice_.Rows, slice_.Columns = (
        1,
        "MONOCHROME2",
        *hu.shape,
    )
    slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit, slice_.PixelRepresentation = (
        16,
        16,
        15,
        1,
    )
    slice_.PixelSpacing = [0.488281, 0.488281]
    slice_.WindowCenter, slice_.WindowWidth, slice_.RescaleIntercept, slice_.RescaleSlope = (
        "30",
        "80",
        "-1024",
        "1",
    )
    slice_.PixelData = (hu + 1024).astype("<i2").tobytes()
    slice_.save_as(path, enforce_file_format=True)


def write_rsna(root: Path, scans: int, slices: int) -> list[Path]:
    """A folder in the RSNA layout; gives its DICOM files."""
    folder = root / "stage_2_train"
    folder.mkdir(parents=True)
    rows = []
    for scan in range(scans):
        for index, hu in enumerate(head(slices, scan)):
            path = folder / f"ID_{scan * slices + index:09x}.dcm"
            write_slice(path, hu, scan, index)
            rows += [f"{path.stem}_{name},0" for name in SUBTYPE_NAMES]
    (root / "stage_2_train.csv").write_text("\n".join(["ID,Label", *rows, ""]))
    return sorted(folder.glob("*.dcm"))


def compress(source: Path, target: Path) -> None:
    """The folder again in JPEG Lossless SV1, as CQ500 comes."""
    shutil.copytree(source, target)
    for path in (target / "stage_2_train").glob("*.dcm"):
        reader, change, writer = (
            gdcm.ImageReader(),
            gdcm.ImageChangeTransferSyntax(),
            gdcm.ImageWriter(),
        )
        reader.SetFileName(str(path))
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        if not reader.Read():
            raise RuntimeError(f"GDCM cannot read {path}")
        change.SetInput(reader.GetImage())
        if not change.Change():
            raise RuntimeError(f"GDCM cannot compress {path}")
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(path))
        if not writer.Write():
            raise RuntimeError(f"GDCM cannot write {path}")


def decode(files: list[Path]) -> None:
    """Bare pydicom: every file read and its pixels decoded, one after the other."""
    for path in files:
        _ = pydicom.dcmread(path).pixel_array


def floor(files: list[Path], folder: Path) -> None:
    """What no build can leave out: every file read, the hash of as many bytes as a slice has, and
    these written, 32 slices to a file, each file on the disk and out of the page cache before the
    next."""
    pixels = np.zeros((512, 512), np.int16)
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(files), 32):
        with (folder / f"{start}").open("wb", buffering=0) as stream:
            for path in files[start : start + 32]:
                path.read_bytes()
                pixel_hash(pixels)
                stream.write(pixels)
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class RepeatedReader(RsnaReader):
    """The RSNA reader with every scan `copies` times, so that starting the workers weighs
    little."""

    copies = 1

    def scans(self) -> list[ScanRef]:
        """Every series, `copies` times under different names."""
        return [
            replace(ref, scan_id=f"{ref.scan_id}-{copy}")
            for ref in super().scans()
            for copy in range(self.copies)
        ]


def build(root: Path, stores: Path, workers: int, copies: int = 1) -> None:
    """The store of the folder, from nothing."""
    reader = RepeatedReader(root)
    reader.copies = copies
    build_store(reader, stores, workers=workers)


class Seconds(NamedTuple):
    """Time of a task: wall; CPU, user and system, with the processes it waited for; CPU of this
    process alone."""

    wall: float
    cpu: float
    parent: float

    def less(self, other: Seconds) -> Seconds:
        """What this took more than the other."""
        return Seconds(*(a - b for a, b in zip(self, other)))


def clocks() -> Seconds:
    """The clocks now."""
    parent, children = (
        sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return Seconds(time.perf_counter(), parent + children, parent)


def interleaved(
    tasks: dict[str, Callable[[], object]], repeats: int, scratch: Path | None = None
) -> dict[str, Seconds]:
    """Medians for each task; every repeat runs all of them, so that drift hits all alike. The
    scratch folder is emptied between runs, outside the clock."""
    seconds: dict[str, list[Seconds]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            if scratch is not None:
                shutil.rmtree(scratch, ignore_errors=True)
            before = clocks()
            task()
            seconds[name].append(clocks().less(before))
    return {
        name: Seconds(*(statistics.median(column) for column in zip(*values)))
        for name, values in seconds.items()
    }


def row(
    measure: str,
    seconds: Seconds,
    slices: int,
    ratio: float | None = None,
    of: str = "",
    target: float | None = None,
) -> dict[str, object]:
    """One line of the table, in ms per slice."""
    wall, cpu, parent = (1000 * value / slices for value in seconds)
    return {
        "measure": measure,
        "wall ms": wall,
        "CPU ms": cpu,
        "in the parent": parent,
        "ratio": ratio,
        "of": of,
        "target": target,
    }


def bench_build(
    root: Path, stores: Path, repeats: int, copies: int, syntax: str
) -> list[dict[str, object]]:
    """DICOM to store against bare decoding in CPU time, which is what a core has to give."""
    files = sorted((root / "stage_2_train").glob("*.dcm"))
    reader = RsnaReader(root)
    refs = reader.scans()
    per_core = interleaved(
        {
            "bare": lambda: decode(files),
            "find": reader.scans,
            "load": lambda: deque(map(reader.load, refs), maxlen=0),
            "store": lambda: build(root, stores, 1),
            "floor": lambda: floor(files, stores / "floor"),
        },
        repeats,
        stores,
    )
    against = {name: per_core["bare"].cpu / value.cpu for name, value in per_core.items()}
    return [
        row(f"{syntax}: bare pydicom", per_core["bare"], len(files)),
        row(f"{syntax}: reader, headers only", per_core["find"], len(files)),
        row(f"{syntax}: reader, load", per_core["load"], len(files), against["load"], "bare, CPU"),
        row(
            f"{syntax}: read, hash, write only",
            per_core["floor"],
            len(files),
            against["floor"],
            "bare, CPU",
        ),
        row(
            f"{syntax}: whole build, 1 worker",
            per_core["store"],
            len(files),
            against["store"],
            "bare, CPU",
            BUILD_TARGET,
        ),
        *bench_scaling(root, stores, max(repeats // 2, 1), copies, syntax, len(files)),
    ]


def bench_scaling(
    root: Path, stores: Path, repeats: int, copies: int, syntax: str, slices: int
) -> list[dict[str, object]]:
    """How wall and CPU time change from one worker to two, with the start of the workers and
    without."""
    sizes = {
        (count, times): partial(build, root, stores, count, times)
        for times in (1, copies)
        for count in (1, 2)
    }
    seconds = interleaved(sizes, repeats, stores)
    one, two = seconds[1, copies], seconds[2, copies]
    more = {count: seconds[count, copies].less(seconds[count, 1]) for count in (1, 2)}
    added = slices * (copies - 1)
    return [
        row(f"{syntax}: {copies} x the scans, 1 worker", one, slices * copies),
        row(
            f"{syntax}: {copies} x the scans, 2 workers",
            two,
            slices * copies,
            one.wall / two.wall,
            "1 worker, wall",
            2.0,
        ),
        row(f"{syntax}: marginal slice, 1 worker", more[1], added),
        row(
            f"{syntax}: marginal slice, 2 workers",
            more[2],
            added,
            more[1].wall / more[2].wall,
            "1 worker, wall",
            2.0,
        ),
        row(
            f"{syntax}: the same, CPU",
            more[2],
            added,
            more[1].cpu / more[2].cpu,
            "1 worker, CPU",
            1.0,
        ),
    ]


def bench_read(
    store: Store, folder: Path, repeats: int, reads: int = 60
) -> list[dict[str, object]]:
    """Random slices out of the store against the same slices out of compressed NIfTI."""
    for scan_id in store.scan_ids:
        nibabel.save(
            nibabel.Nifti1Image(np.asarray(store.volume(scan_id)).T, np.eye(4)),
            folder / f"{scan_id}.nii.gz",
        )
    rng = np.random.default_rng(0)
    rows = store.index.iloc[rng.integers(0, len(store.index), reads)]
    wanted = [(str(scan), int(index)) for scan, index in zip(rows["scan_id"], rows["slice_index"])]

    def from_nifti() -> None:
        for scan_id, index in wanted:
            np.asarray(nibabel.load(folder / f"{scan_id}.nii.gz").dataobj[:, :, index])

    def from_store() -> None:
        opened = Store(store.path)
        for scan_id, index in wanted:
            opened.slice(scan_id, index)

    seconds = interleaved({"nifti": from_nifti, "store": from_store}, repeats)
    faster = seconds["nifti"].wall / seconds["store"].wall
    return [
        row("random slice, compressed NIfTI", seconds["nifti"], reads),
        row(
            "random slice, store opened anew",
            seconds["store"],
            reads,
            faster,
            "NIfTI, wall",
            READ_TARGET,
        ),
    ]


def machine() -> str:
    """Processor, cores, load and versions that the numbers hold for."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    name = next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
    versions = ", ".join(
        f"{package} {version(package)}"
        for package in ("numpy", "pandas", "pydicom", "python-gdcm", "nibabel", "xxhash")
    )
    return (
        f"{name}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}; Python"
        f" {platform.python_version()}, {versions}"
    )


def main() -> None:
    """Write the data, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=int, default=24)
    parser.add_argument("--slices", type=int, default=32)
    parser.add_argument(
        "--copies",
        type=int,
        default=4,
        help="how often each scan is built where scaling is measured",
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--folder",
        type=Path,
        default=None,
        help="where to write (default: the system's temporary folder)",
    )
    options = parser.parse_args()
    if options.copies < 2:
        parser.error(
            "--copies must be at least 2: the marginal slice is measured between once and `copies`"
            " times the scans"
        )
    warnings.filterwarnings(
        "ignore", "Invalid value for VR UI", UserWarning
    )  # RSNA identifiers are no UIDs
    print(machine())
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        write_rsna(folder / "plain", options.scans, options.slices)
        rows = bench_build(
            folder / "plain", folder / "stores", options.repeats, options.copies, "uncompressed"
        )
        build(folder / "plain", folder / "reading", 1)
        rows += bench_read(Store(folder / "reading" / "rsna"), folder, options.repeats)
        compress(folder / "plain", folder / "lossless")
        rows += bench_build(
            folder / "lossless", folder / "stores", options.repeats, options.copies, "JPEG Lossless"
        )
    print(
        f"{options.scans} scans of {options.slices} slices, 512 x 512; ms per slice, medians of"
        f" {options.repeats} interleaved runs"
    )
    print(pd.DataFrame(rows).to_string(index=False, na_rep="", float_format="{:.2f}".format))


if __name__ == "__main__":
    main()
