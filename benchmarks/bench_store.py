"""Speed of the store: DICOM into it beside bare pydicom, and a slice out of it beside NIfTI.

    python benchmarks/bench_store.py [--scans 24] [--slices 32] [--repeats 5] [--folder DIR]

Writes its own data (512 x 512 x slices, RSNA layout, uncompressed and JPEG Lossless where an encoder
is there; compressed NIfTI) into a temporary folder and prints ratios with hardware and versions.
Runs are interleaved, medians are taken; all files are in the page cache, which is the hardest case
for the store, as no disk hides its work.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from ich_study.datasets.rsna import RsnaReader
from ich_study.store import Store, build_store

TARGETS = {"build": 0.8, "read": 20.0}


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
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = CTImageStorage, generate_uid(), ExplicitVRLittleEndian
    slice_ = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    slice_.SOPClassUID, slice_.SOPInstanceUID, slice_.Modality = CTImageStorage, path.stem, "CT"
    slice_.PatientID, slice_.StudyInstanceUID, slice_.SeriesInstanceUID = f"ID_{scan:08x}", f"ID_{scan:010x}", f"ID_{scan + 2**30:010x}"
    slice_.ImagePositionPatient, slice_.ImageOrientationPatient = [-125, -125, index * 5.0], [1, 0, 0, 0, 1, 0]
    slice_.SamplesPerPixel, slice_.PhotometricInterpretation, slice_.Rows, slice_.Columns = 1, "MONOCHROME2", *hu.shape
    slice_.PixelSpacing, slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit, slice_.PixelRepresentation = [0.488281, 0.488281], 16, 16, 15, 1
    slice_.WindowCenter, slice_.WindowWidth, slice_.RescaleIntercept, slice_.RescaleSlope = "30", "80", "-1024", "1"
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
            rows += [f"{path.stem}_{name},0" for name in ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "any")]
    (root / "stage_2_train.csv").write_text("\n".join(["ID,Label", *rows, ""]))
    return sorted(folder.glob("*.dcm"))


def compress(source: Path, target: Path) -> bool:
    """The folder again in JPEG Lossless SV1, as CQ500 comes; False where GDCM is not installed."""
    try:
        import gdcm
    except ImportError:
        return False
    shutil.copytree(source, target)
    for path in (target / "stage_2_train").glob("*.dcm"):
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
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
    return True


def decode(files: list[Path]) -> None:
    """Bare pydicom: every file read and its pixels decoded, one after the other."""
    for path in files:
        pydicom.dcmread(path).pixel_array


def build(root: Path, stores: Path, workers: int) -> Store:
    """The store of the folder, from nothing."""
    shutil.rmtree(stores, ignore_errors=True)
    return build_store(RsnaReader(root, progress=False, workers=workers), stores, workers=workers, progress=False)


def interleaved(tasks: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each task; every repeat runs all of them, so that drift hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def bench_build(root: Path, stores: Path, repeats: int, syntax: str) -> list[dict[str, object]]:
    """DICOM to store against bare decoding, with 1 worker pinned to one core and with 2 workers."""
    files = sorted((root / "stage_2_train").glob("*.dcm"))
    cores = os.sched_getaffinity(0)

    def on_one_core(task: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            os.sched_setaffinity(0, {min(cores)})
            try:
                task()
            finally:
                os.sched_setaffinity(0, cores)
        return run

    seconds = interleaved({
        "bare": on_one_core(lambda: decode(files)),
        "one": on_one_core(lambda: build(root, stores, 1)),
        "free": lambda: build(root, stores, 1),
        "two": lambda: build(root, stores, 2),
    }, repeats)
    per_slice = {name: 1000 * value / len(files) for name, value in seconds.items()}
    return [
        {"measure": f"{syntax}: bare pydicom, 1 core", "ms per slice": per_slice["bare"]},
        {"measure": f"{syntax}: store, 1 worker on 1 core", "ms per slice": per_slice["one"], "ratio": seconds["bare"] / seconds["one"],
         "target": TARGETS["build"], "of": "bare pydicom"},
        {"measure": f"{syntax}: store, 1 worker", "ms per slice": per_slice["free"], "ratio": seconds["bare"] / seconds["free"],
         "of": "bare pydicom"},
        {"measure": f"{syntax}: store, 2 workers", "ms per slice": per_slice["two"], "ratio": seconds["free"] / seconds["two"], "of": "1 worker"},
    ]


def bench_read(store: Store, folder: Path, repeats: int, reads: int = 60) -> list[dict[str, object]]:
    """Random slices out of the store against the same slices out of compressed NIfTI."""
    for scan_id in store.scan_ids:
        nibabel.save(nibabel.Nifti1Image(np.asarray(store.volume(scan_id)).T, np.eye(4)), folder / f"{scan_id}.nii.gz")
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
    return [
        {"measure": "random slice, compressed NIfTI (nibabel slicing)", "ms per slice": 1000 * seconds["nifti"] / reads},
        {"measure": "random slice, store (opened anew)", "ms per slice": 1000 * seconds["store"] / reads,
         "ratio": seconds["nifti"] / seconds["store"], "target": TARGETS["read"], "of": "NIfTI"},
    ]


def machine() -> str:
    """Processor, cores and versions that the numbers hold for."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")] if info.is_file() else []
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "pandas", "pydicom", "python-gdcm", "nibabel"))
    return f"{names[0] if names else platform.processor()}, {len(os.sched_getaffinity(0))} cores; Python {platform.python_version()}, {versions}"


def main() -> None:
    """Write the data, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=int, default=24)
    parser.add_argument("--slices", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None, help="where to write (default: the system's temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        write_rsna(folder / "plain", options.scans, options.slices)
        rows = bench_build(folder / "plain", folder / "stores", options.repeats, "uncompressed")
        rows += bench_read(Store(folder / "stores" / "rsna"), folder, options.repeats)
        if compress(folder / "plain", folder / "lossless"):
            rows += bench_build(folder / "lossless", folder / "stores", options.repeats, "JPEG Lossless")
    print(machine())
    print(f"{options.scans} scans of {options.slices} slices, 512 x 512; median of {options.repeats} interleaved runs, files in the page cache")
    print(pd.DataFrame(rows)[["measure", "ms per slice", "ratio", "of", "target"]].round(3).fillna("").to_string(index=False))


if __name__ == "__main__":
    main()
