"""A cohort of synthetic patients, written in the on-disk layout of each real data set.

The readers, the notebooks and the methods then meet the same folders, file formats, labels and
defects as on real data. Some BHSD patients are RSNA patients, as in the real BHSD.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ich_study.atomic import write_json
from ich_study.errors import ParameterError
from ich_study.hashing import sha256_lines
from ich_study.phantom.patient import PatientSpec, draw_spec, simulate
from ich_study.phantom.scan import PhantomScan
from ich_study.phantom.write_bhsd import write_bhsd
from ich_study.phantom.write_cq500 import write_cq500
from ich_study.phantom.write_hemorica import write_hemorica
from ich_study.phantom.write_instance2022 import write_instance2022
from ich_study.phantom.write_physionet import write_physionet
from ich_study.phantom.write_rsna import write_rsna
from ich_study.sources import code_hash

Writer = Callable[[Path, Iterator[PhantomScan]], list[dict[str, str]]]

WRITERS: dict[str, Writer] = {
    "rsna": write_rsna,
    "bhsd": write_bhsd,
    "physionet": write_physionet,
    "cq500": write_cq500,
    "instance2022": write_instance2022,
    "hemorica": write_hemorica,
}

POSITIVE_FRACTION: dict[str, float] = {
    "rsna": 0.5,  # 41 % of its scans; more here, so that few scans hold every subtype
    "bhsd": 1.0,  # no empty mask among its 192 scans
    "physionet": 0.48,  # 36 of 75 scans
    "cq500": 0.42,  # 205 of 491 scans
    "instance2022": 1.0,  # every scan
    "hemorica": 0.5,
}
"""Share of scans with hemorrhage; the comments give the real data set's."""
PICKED = ("bhsd",)
"""Data sets whose positive scans are picked to show every subtype; the others' come as in a
clinic."""

_MARKER = "phantom.json"


def patient_seed(seed: int, dataset: str, number: int) -> int:
    """Seed of one patient, different for every cohort seed, data set and number."""
    return int(
        np.random.SeedSequence([seed, zlib.crc32(dataset.encode()), number]).generate_state(1)[0]
    )


def cohort_specs(
    patients: dict[str, int],
    seed: int,
    matrix: int,
    shared_with_rsna: int,
    slices: int | None = None,
    positive_fraction: float | None = None,
    lesions: str = "priors",
) -> dict[str, list[PatientSpec]]:
    """The patients of every data set. The first `shared_with_rsna` of BHSD are positive RSNA
    patients.

    slices, positive_fraction, lesions: as for `write_cohort`. Raises ParameterError for an unknown
    data set, or where RSNA has too few positive patients.
    """
    unknown = sorted(set(patients) - set(WRITERS))
    if unknown:
        raise ParameterError(f"no phantom layout for {unknown}; known: {sorted(WRITERS)}")
    specs = {}
    for name, count in patients.items():
        specs[name] = []
        for i in range(count):
            # probability of hemorrhage: 0 or 1 where the share is given, so that few scans keep it
            share = POSITIVE_FRACTION[name]
            if positive_fraction is not None:
                share = float(int((i + 1) * positive_fraction) - int(i * positive_fraction))
            drawn_from = patient_seed(seed, name, i)
            specs[name].append(
                draw_spec(drawn_from, share, matrix, lesions, name in PICKED, slices)
            )
    if "bhsd" in specs and shared_with_rsna:
        positive = [spec for spec in specs.get("rsna", []) if spec.subtypes]
        if len(positive) < shared_with_rsna or shared_with_rsna > len(specs["bhsd"]):
            raise ParameterError(
                f"{shared_with_rsna} shared patients asked for; RSNA has {len(positive)} positive"
                f" ones, BHSD {len(specs['bhsd'])} in all"
            )
        specs["bhsd"][:shared_with_rsna] = positive[:shared_with_rsna]
    return specs


Simulate = Callable[[list[PatientSpec]], Iterator[PhantomScan]]


@contextmanager
def _simulator(workers: int) -> Iterator[Simulate]:
    """Patients to scans, in order, by one pool of processes that serves every data set."""
    if workers <= 1:
        yield lambda specs: map(simulate, specs)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield lambda specs: pool.imap(simulate, specs)


def _fingerprint(specs: list[PatientSpec]) -> str:
    described = (json.dumps(asdict(spec), sort_keys=True, default=str) for spec in specs)
    return sha256_lines([code_hash(__name__), *described])


def write_cohort(
    root: Path,
    patients: dict[str, int],
    *,
    seed: int,
    matrix: int,
    shared_with_rsna: int = 0,
    slices: int | None = None,
    positive_fraction: float | None = None,
    lesions: str = "priors",
    workers: int = 1,
) -> dict[str, Path]:
    """Simulates and writes every data set under `root/<name>`; returns their folders.

    patients: data set -> number of scans. matrix: rows and columns in pixels. slices: of every
    scan, evenly over the head; None takes the whole head at each scan's thickness.
    positive_fraction: of every data set's scans, to the scan; None draws each with its data set's
    own probability, `POSITIVE_FRACTION`. lesions: what volumes and densities are drawn from, a name
    of `priors.LESIONS`. A data set that is already there, made by the same code from the same
    parameters, is left as it is; one that a kill left half-written is written again.
    """
    specs = cohort_specs(
        patients, seed, matrix, shared_with_rsna, slices, positive_fraction, lesions
    )
    wanted = {name: _fingerprint(of_one) for name, of_one in specs.items()}
    missing = [name for name in specs if _marked(root / name) != wanted[name]]
    if missing:
        with _simulator(workers) as simulated:
            for name in missing:
                _clear(root / name)
                bar = tqdm(
                    simulated(specs[name]),
                    f"phantom {name}",
                    len(specs[name]),
                    unit="scan",
                    mininterval=5,
                )
                written = WRITERS[name](root / name, bar)
                write_json(
                    root / name / _MARKER,
                    {"fingerprint": wanted[name], "scans": written, "synthetic": True},
                )
    return {name: root / name for name in specs}


def _marked(folder: Path) -> str | None:
    marker = folder / _MARKER
    if not marker.is_file():
        return None
    content = json.loads(marker.read_text(encoding="utf-8"))
    return content.get("fingerprint")


def _clear(folder: Path) -> None:
    """Empties a folder that an earlier cohort wrote; refuses one that it did not."""
    begun = folder / ".phantom-begun"
    if folder.exists() and any(folder.iterdir()) and not begun.exists():
        raise ParameterError(
            f"{folder} is not empty and was not written by the phantom; choose another phantom_root"
        )
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    begun.touch()
