"""Masks as a DICOM segmentation that a viewer opens over the source series, through highdicom.

A segmentation carries the identity of its study, which is how a viewer finds the series; with
`anonymise` name, numbers, dates and every identifier are replaced, and it then belongs to a series
that is anonymised in the same way alone.

All codes are in the tables of the DICOM standard. These have no code for the subdural or the
epidural space, so SDH and EDH share the region "intracranial" and differ by their label.
"""

from __future__ import annotations

import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from matplotlib.colors import to_rgb
from pydicom.sr.codedict import codes
from pydicom.uid import UID, generate_uid

from ich_study.atomic import atomic_path
from ich_study.errors import DataError, require_known
from ich_study.figures.style import CLASS_COLOURS, NAME_OF_CODE
from ich_study.hashing import pixel_hash
from ich_study.new_scan.apply import Finding
from ich_study.new_scan.read import OwnScan
from ich_study.new_scan.write import IDENTIFIERS, IDENTITY, RESEARCH_USE
from ich_study.schema import MASK_CODES, UNSPECIFIED_HEMORRHAGE

if TYPE_CHECKING:
    import highdicom as hd

KINDS = ("binary", "labelmap")
NAMES = {
    "IPH": "Intraparenchymal hemorrhage",
    "IVH": "Intraventricular hemorrhage",
    "SAH": "Subarachnoid hemorrhage",
    "SDH": "Subdural hemorrhage",
    "EDH": "Epidural hemorrhage",
    "any": "Intracranial hemorrhage",
}
REGIONS = {
    "IPH": codes.SCT.Brain,
    "IVH": codes.SCT.BrainVentricle,
    "SAH": codes.SCT.CranialSubarachnoidSpace,
}
_EXPECTED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)


def write_segmentation(
    path: Path, scan: OwnScan, finding: Finding, kind: str = "binary", anonymise: bool = False
) -> bool:
    """The mask of a finding as DICOM SEG; False, and no file, where nothing is marked.

    kind: "binary", a frame per slice and segment, or "labelmap". Raises ParameterError for another
    kind, DataError for a scan that is no DICOM series or whose identifiers are no UIDs.
    """
    require_known("segmentation", kind, KINDS)
    if not scan.headers:
        raise DataError(f"{scan.name} is no DICOM series; a DICOM segmentation has no source")
    present = np.unique(finding.mask[finding.mask > 0]).tolist()
    if not present:
        return False
    stored = _as_stored(scan, finding.mask)
    import highdicom as hd  # slow to import

    # segments are numbered from 1 without gaps
    numbers = np.zeros(UNSPECIFIED_HEMORRHAGE + 1, np.uint8)
    numbers[present] = np.arange(1, len(present) + 1)
    source = _source_images(scan, anonymise)
    entropy = [pixel_hash(np.ascontiguousarray(stored)), finding.method.sha256, kind, scan.name]
    with warnings.catch_warnings():
        # the study's own name of its patient is kept, though it be one word
        warnings.filterwarnings("ignore", "The string .* is unlikely to represent the intended")
        segmentation = hd.seg.Segmentation(
            source_images=source,
            pixel_array=numbers[stored],
            segmentation_type=kind.upper(),
            segment_descriptions=[
                _described(number, code, finding, entropy)
                for number, code in enumerate(present, start=1)
            ],
            series_instance_uid=generate_uid(entropy_srcs=["series", *entropy]),
            series_number=1,
            sop_instance_uid=generate_uid(entropy_srcs=["instance", *entropy]),
            instance_number=1,
            manufacturer="ich_study",
            manufacturer_model_name=finding.name,
            software_versions=version("ich_study"),
            device_serial_number=finding.method.sha256[:16],
            content_description=f"Hemorrhage by {finding.name}. Research use only"[:64],
            content_label="HEMORRHAGE",
            series_description=RESEARCH_USE[:64],
        )
    with atomic_path(path) as temporary:
        segmentation.save_as(temporary)
    return True


def _described(
    number: int, code: int, finding: Finding, entropy: list[str]
) -> hd.seg.SegmentDescription:
    import highdicom as hd

    name = {code: name for name, code in MASK_CODES.items()}.get(code, "any")
    recipe = finding.method.recipe
    # a viewer shows a subtype in the colour that it has in every figure
    colour = np.rint(255 * np.array(to_rgb(CLASS_COLOURS[NAME_OF_CODE[code]]))).astype(int)
    identification = hd.AlgorithmIdentificationSequence(
        name=f"{recipe.name} ({recipe.variant})",
        version=finding.method.sha256[:16],
        family=codes.DCM.ArtificialIntelligence,
        source="ich_study, research use only",
        parameters={"weights_sha256": finding.method.sha256},
    )
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=NAMES[name],
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Hemorrhage,
        algorithm_type="AUTOMATIC",
        algorithm_identification=identification,
        tracking_uid=generate_uid(entropy_srcs=["segment", name, *entropy]),
        tracking_id=name,
        anatomic_regions=[REGIONS.get(name, codes.SCT.IntracranialStructure)],
        display_color=hd.color.CIELabColor.from_rgb(*colour),
    )


def _as_stored(scan: OwnScan, mask: np.ndarray) -> np.ndarray:
    """A mask in the study's orientation as the slices are stored: the way back from
    `InPlane.image`."""
    turn = scan.in_plane
    back = mask[:, :: -1 if turn.flip_rows else 1, :: -1 if turn.flip_columns else 1]
    return np.ascontiguousarray(back.swapaxes(1, 2) if turn.transpose else back)


def _source_images(scan: OwnScan, anonymise: bool) -> list[pydicom.Dataset]:
    """Headers of the slices in their order; what DICOM demands and a file leaves out is empty."""
    images = [pydicom.dcmread(header.path, stop_before_pixels=True) for header in scan.headers]
    for image in images:
        frame = generate_uid(entropy_srcs=["frame", image.SeriesInstanceUID])
        image.setdefault("FrameOfReferenceUID", frame)
        broken = [name for name in IDENTIFIERS if not UID(str(image.get(name))).is_valid]
        if broken:
            raise DataError(
                f"{scan.name}: {', '.join(broken)} of its slices are no DICOM identifiers, so that"
                " no segmentation can refer to them; segmentation: null writes none"
            )
        for name in IDENTITY if anonymise else ():
            image.pop(name, None)
        for name in _EXPECTED:
            image.setdefault(name, "")
        if anonymise:
            image.PatientID, image.PatientName = scan.name, f"{scan.name}^"
            for name in IDENTIFIERS:
                setattr(image, name, pseudonymous_uid(str(image[name].value)))
    return images


def pseudonymous_uid(uid: str) -> str:
    """The identifier that stands for `uid` in an anonymised segmentation: whoever has the original
    can link the two."""
    return str(generate_uid(entropy_srcs=["anonymous", uid]))
