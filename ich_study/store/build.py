"""Building the store: every scan of a reader, in parallel, resumable after a kill (POSIX)."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ich_study.atomic import locked
from ich_study.datasets.contract import Reader, ScanRef
from ich_study.errors import DataError, ParameterError
from ich_study.integrity import Finding, check_names
from ich_study.paths import safe_name
from ich_study.run.workers import worker_pool
from ich_study.store.assemble import assemble
from ich_study.store.fingerprint import fingerprint, reader_options, source_marks
from ich_study.store.read import META, TABLES, Store
from ich_study.store.record import damage, file_name, read_record, write_scan

SHOWN = 20
FEW_SCANS = 4  # up to here, starting processes costs more than they save


@dataclass(frozen=True)
class ScanBuilder:
    """Builds one scan of a reader into a folder; picklable, so that any process can do it."""

    reader: Reader
    folder: Path
    options: str

    def source(self, ref: ScanRef, marks: Mapping[str, list[Any]]) -> str:
        """Fingerprint of what the scan is built from. marks: of its files."""
        return fingerprint(ref, self.options, self.reader.root, marks)

    def is_built(self, ref: ScanRef) -> bool:
        """Whether the scan stands in the store as its source is now, whole by its hashes."""
        record = read_record(self.folder, ref.scan_id)
        if record is None:
            return False
        marks = source_marks(ref, self.reader.root, record.sources)
        unchanged = record.fingerprint == self.source(ref, marks)
        return unchanged and damage(self.folder, record) is None

    def build(self, ref: ScanRef) -> Finding | None:
        """Write the scan; the finding that says why not where its data are bad. Raises DataError
        when the store cannot be written."""
        if not ref.files:
            return Finding(
                "error",
                "scan-without-slices",
                ref.dataset,
                ref.scan_id,
                None,
                "the data set lists no file for it",
            )
        marks = source_marks(ref, self.reader.root)
        try:
            volume = self.reader.load(ref)
        except MemoryError:
            raise
        except (
            Exception
        ) as error:  # damaged medical files raise anything; one of them must not end the build
            return Finding(
                "error", "unreadable-scan", ref.dataset, ref.scan_id, None, _reason(error, ref)
            )
        try:
            source = self.source(ref, marks)
            write_scan(self.folder, volume, source, self.reader.intensity, marks)
        except OSError as error:
            raise DataError(
                f"cannot write scan {ref.scan_id} into {self.folder}: {error}. Free space there or"
                " choose another store root and run again; the scans that are finished are kept."
            ) from error
        return None


def _reason(error: Exception, ref: ScanRef) -> str:
    where = f"{ref.files[0]}" + (
        f" and {len(ref.files) - 1} more files" if len(ref.files) > 1 else ""
    )
    kind = "" if isinstance(error, DataError) else f"{type(error).__name__}: "
    return f"{kind}{error} [{where}]"


_BUILDER: ScanBuilder | None = None


def _hold(builder: ScanBuilder) -> None:
    """Hold the builder for this process."""
    global _BUILDER
    _BUILDER = builder


def _build_in_worker(ref: ScanRef) -> Finding | None:
    return _BUILDER.build(ref)


def _built(builder: ScanBuilder, refs: Sequence[ScanRef], workers: int) -> Iterator[Finding | None]:
    """What `builder.build` says of each scan, as they end."""
    if workers == 1 or len(refs) <= FEW_SCANS:
        yield from map(builder.build, refs)
        return
    pool = worker_pool(min(workers, len(refs)), _hold, builder)
    try:
        futures: list[Future[Finding | None]] = [pool.submit(_build_in_worker, ref) for ref in refs]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise DataError(
            f"a worker that builds {builder.folder} died, most likely for lack of memory. Run again"
            " with fewer workers; the scans that are finished are kept."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process builds a data set at a time; the lock ends with its process, however that
    ends."""
    busy = DataError(f"another process is building {folder}; wait for it to end")
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file where the store of a data set belongs; remove it")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "build.lock", busy):
        yield


def _remove_stale(folder: Path, scan_ids: Iterable[str]) -> None:
    """Remove what is left of killed writes, of scans that the data set no longer has, and what
    stands where a file or folder of another kind belongs."""
    for name in (META, "build.lock", *TABLES):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
    for name in ("records", "scans", "masks"):
        if (folder / name).is_file():
            (folder / name).unlink()
    names = {file_name(scan_id) for scan_id in scan_ids}
    for pattern in ("records/*.json", "scans/*.npy", "masks/*.npy"):
        for path in folder.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name.startswith(".") or path.stem not in names:
                path.unlink(missing_ok=True)


def _found(reader: Reader) -> list[ScanRef]:
    refs = reader.scans()
    names: dict[str, ScanRef] = {}
    for ref in refs:
        name = file_name(ref.scan_id)
        if name in names:
            patients = f"patients {names[name].patient_id} and {ref.patient_id}"
            raise DataError(
                f"{reader.name}: two scans are called {ref.scan_id!r} ({patients}) under"
                f" {reader.root}"
            )
        if ref.dataset != reader.name:
            raise DataError(
                f"scan {ref.scan_id} says data set {ref.dataset!r}, its reader {reader.name!r}"
            )
        names[name] = ref
    if not refs:
        raise DataError(f"{reader.name}: no scan under {reader.root}")
    return refs


def build_store(reader: Reader, root: Path, *, workers: int, allow: Sequence[str] = ()) -> Store:
    """The store of a reader's data set in `root / reader.name`, complete and up to date.

    Scans whose source files, details, reader options and code are unchanged are kept where they
    match their hashes. The content hash depends on the data alone, not on
    workers, order or machine. workers: processes; the reader must be picklable. allow: names of
    checks (`integrity.CHECKS`); with "unreadable-scan" a bad scan is left out and reported in
    `Store.findings`. Raises DataError at the end, naming all bad scans, or at once where the store
    cannot be written; what is finished is kept either way.
    """
    check_names(allow)
    if workers < 1:
        raise ParameterError(f"workers is {workers}; expected at least 1")
    builder = ScanBuilder(
        reader, Path(root).resolve() / safe_name(reader.name), reader_options(reader)
    )
    refs = _found(reader)
    with _locked(builder.folder):
        _remove_stale(builder.folder, [ref.scan_id for ref in refs])
        missing = _missing(builder, refs, workers)
        if missing or not _complete(builder.folder, refs):
            (builder.folder / META).unlink(missing_ok=True)
            bar = _bar(_built(builder, missing, workers), f"store {reader.name}", len(missing))
            bad = sorted(
                (finding for finding in bar if finding), key=lambda finding: finding.scan_id
            )
            _stop_on_bad(bad, len(refs), allow)
            skipped = {finding.scan_id for finding in bad}
            assemble(
                builder.folder,
                reader,
                [ref.scan_id for ref in refs if ref.scan_id not in skipped],
                bad,
            )
    return Store(builder.folder)


def _bar(items: Iterator[Any], name: str, total: int) -> Iterable[Any]:
    return tqdm(items, name, total, unit="scan", mininterval=5)


def _missing(builder: ScanBuilder, refs: Sequence[ScanRef], workers: int) -> list[ScanRef]:
    """Scans to build: those that are not there, changed at their source, or do not match their
    hashes."""
    with ThreadPoolExecutor(workers) as pool:
        states = pool.map(builder.is_built, refs)
        bar = _bar(states, f"check {builder.reader.name}", len(refs))
        return [ref for ref, built in zip(refs, bar) if not built]


def _complete(folder: Path, refs: Sequence[ScanRef]) -> bool:
    """Whether the tables are whole and the index holds exactly these scans."""
    try:
        store = Store(folder)
        store.check_tables()
        return set(store.scan_ids) == {ref.scan_id for ref in refs}
    except DataError:
        return False


def _stop_on_bad(bad: Sequence[Finding], total: int, allow: Sequence[str]) -> None:
    refused = [finding for finding in bad if finding.check not in allow]
    if not refused:
        return
    lines = [f"  {finding.scan_id}: {finding.detail}" for finding in refused]
    shown = lines[:SHOWN] + ([f"  and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else [])
    checks = sorted({finding.check for finding in refused})
    raise DataError(
        "\n".join(
            [
                f"{len(refused)} of {total} scans of {refused[0].dataset} are bad:",
                *shown,
                (
                    f"The other scans are built and kept. Repair these, or name {checks} in `allow`"
                    " to go on without them."
                ),
            ]
        )
    )
