"""A synthetic study to try the notebook with: a phantom as DICOM, generated and not a patient."""

from __future__ import annotations

from pathlib import Path

from ich_study.phantom.patient import PatientSpec, simulate
from ich_study.phantom.write_cq500 import write_cq500

SPEC = PatientSpec(seed=3, subtypes=("IPH",), matrix=128, thickness_mm=5.0, tilt_degrees=12.0)


def example_study(folder: Path) -> Path:
    """The folder of a tilted DICOM series of 31 slices with 25 mL of hemorrhage in the brain's
    tissue; written once."""
    study = folder / "CQ500CT0 CQ500CT0"
    if not (folder / "reads.csv").is_file():  # which is written last
        write_cq500(folder, [simulate(SPEC)], second_series=False)
    return study
