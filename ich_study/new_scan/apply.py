"""Trained methods by where they lie, and what each finds in a scan, on the scan's own grid."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pandas as pd
import torch

from ich_study.errors import ParameterError, WeightsError
from ich_study.evaluate.heat import batches
from ich_study.evaluate.scan_methods import ScanMethod, ScanRecipe, recipe_from
from ich_study.manifest import RUN_NAME, check_run, read_record
from ich_study.models.weights import read_metadata
from ich_study.new_scan.read import OwnScan
from ich_study.paths import resolve, unset_variables
from ich_study.run.before import EVERY, IF_SET, PUBLISHED
from ich_study.schema import MASK_CODES, SUBTYPES, UNSPECIFIED_HEMORRHAGE

ROOMS = {
    "02_lse_unet": "lse_unet",
    "03_resnet_lstm": "resnet_lstm",
    "04_swin_hgi_sam": "hgi_sam",
    "05_mil_detector": "mil",
    "06_cam_benchmark": "cams",
}
"""The room that opens what a run of a notebook trained. A sixth method is one row here."""
SHIPPED = Path(__file__).parent / "weights"
READ_AT_ONCE = 16


def open_methods(sources: Sequence[str], device: torch.device) -> dict[str, ScanMethod]:
    """Methods by a name each. A source is one of

    * a name of the weights that travel with the package, `shipped()`;
    * the folder of a finished run of a notebook of `ROOMS`, after `every:` with all that its paper
      compares;
    * a checkpoint whose metadata holds a recipe (`tools.ship_weights` writes such);
    * `published_max_pooling:FILE` or `published_attention:FILE`, the MIL authors' own.

    Raises ParameterError for none or for a source twice, WeightsError where one does not open.
    """
    found: dict[str, ScanMethod] = {}
    for source in sources:
        for path, recipe in recipes_of(source):
            method = _room(recipe.room).open_method(path, recipe, device)
            name = recipe.name
            if name in found:
                name += f"_{told_apart(source, method.sha256)}"
            if name in found:
                raise ParameterError(f"the weights of {source} are named twice")
            found[name] = replace(method, patients=_patients(path))
    if not found:
        raise ParameterError(f"no method is named; shipped are {', '.join(shipped()) or 'none'}")
    return found


def _patients(weights: Path) -> Mapping[str, Sequence[str]] | None:
    """From whom weights learned; None of a file that is described in no way of this study."""
    with suppress(WeightsError):
        return read_metadata(weights, required=False).get("patients")
    return None


def told_apart(source: str, sha256: str) -> str:
    """What tells a second network of one name from the first: that it is shipped, the variant that
    its run's folder names (`02_lse_unet.large` is `large`), or else the beginning of its hash."""
    variant = Path(source).name.partition(".")[2] if (resolve(source) / RUN_NAME).is_file() else ""
    return "shipped" if source in shipped() else variant or sha256[:6]


def present(sources: Sequence[str]) -> list[str]:
    """`sources` of `open_methods` without those behind `if_set:` that name an environment variable
    which is not set; each of these is printed, with what to set."""
    found = []
    for source in sources:
        named = source.removeprefix(IF_SET)
        unset = unset_variables(named) if source != named else []
        if unset:
            print(f"left out: {named}; set {unset[0]} to the folder where the file lies")
        else:
            found.append(named)
    return found


def shipped() -> list[str]:
    """Names of the weights that travel with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def _room(name: str) -> ModuleType:
    """A room's module `scan`, imported when it is asked for: rooms are slow to import."""
    if name not in ROOMS.values():
        raise WeightsError(f"no room {name!r}; known are {', '.join(ROOMS.values())}")
    return importlib.import_module(f"ich_study.methods.{name}.scan")


def recipes_of(source: str) -> list[tuple[Path, ScanRecipe]]:
    """Checkpoints of a source of `open_methods`, each with its recipe."""
    if source.startswith(PUBLISHED) and ":" in source:
        head, _, path = source.removeprefix(PUBLISHED).partition(":")
        return [(resolve(path), _room("mil").published_recipe(head))]
    every, source = source.startswith(EVERY), source.removeprefix(EVERY)
    path = SHIPPED / f"{source}.safetensors" if source in shipped() else resolve(source)
    if path.is_file():
        return [(path, recipe_from(read_metadata(path), str(path)))]
    if not (path / RUN_NAME).is_file():
        raise WeightsError(
            f"{source} is none of the shipped weights ({', '.join(shipped())}), no file, and no"
            " folder of a finished run"
        )
    check_run(path)
    run = read_record(path)
    notebook = Path(str(run["notebook"])).stem
    if notebook not in ROOMS:
        raise WeightsError(
            f"{source} is a run of {notebook}; expected a finished run of {', '.join(ROOMS)}"
        )
    return _room(ROOMS[notebook]).recipes_of_run(path, run["parameters"], every)


@dataclass(frozen=True, repr=False)
class Finding:
    """What a method finds in a scan.

    heat: float32 (classes, slices, rows, columns), as the method scales it. mask: uint8 (slices,
    rows, columns) of `schema.MASK_CODES`, 6 where the method knows no subtype. probability: a row
    per slice, a column per class. points: `slice_index, row, column, x_mm, y_mm, z_mm`, pixels of
    the slice and patient coordinates (LPS). volumes_ml: by class. spans: how far above its
    threshold pictures show full heat, by class. seconds: of its computation.
    """

    name: str
    method: ScanMethod
    heat: np.ndarray
    mask: np.ndarray
    probability: pd.DataFrame
    points: pd.DataFrame
    volumes_ml: dict[str, float]
    spans: tuple[float, ...]
    seconds: float


def apply_method(
    name: str, method: ScanMethod, scan: OwnScan, inside_brain: bool = True
) -> Finding:
    """Heat, mask, points, probabilities and volumes of a scan.

    inside_brain: nothing outside the brain is marked. A pixel that several classes mark belongs to
    the one with most heat (LSE-UNet, Algorithm 1). Of a wide field the method is given its `frame`.
    """
    started = time.perf_counter()
    frame = scan.frame
    said, recipe = method.say(frame.scan), method.recipe
    seen = frame.scan.hu.shape[1:]
    heat = np.empty((len(recipe.classes), *scan.hu.shape), np.float32)
    for part in batches(len(scan.hu), READ_AT_ONCE):
        maps = torch.from_numpy(said.heat.read(part))
        for number in range(len(recipe.classes)):
            native = method.preprocessing.native(maps[:, number], *seen).numpy()
            heat[number, part] = frame.placed(native)
    mask = marked(heat, said.probability, recipe)
    if inside_brain:
        mask[~scan.source.brain] = 0
    probability = pd.DataFrame(said.probability, columns=list(recipe.classes))
    if said.points is None:
        places = _peaks(heat.max(0), mask)
    else:
        places = _native(said.points, method, seen)
        places += (0, frame.rows.start, frame.columns.start)
    if inside_brain:
        inside = np.clip(np.rint(places[:, 1:]).astype(int), 0, np.array(scan.hu.shape[1:]) - 1)
        places = places[scan.source.brain[places[:, 0].astype(int), inside[:, 0], inside[:, 1]]]
    points = pd.DataFrame(places, columns=["slice_index", "row", "column"])
    points[["x_mm", "y_mm", "z_mm"]] = scan.world_mm(places)
    return Finding(
        name,
        method,
        heat,
        mask,
        probability.rename_axis("slice_index").reset_index(),
        points.astype({"slice_index": int}),
        volumes_ml(mask, scan.pixel_ml, recipe.classes),
        tuple(shown_span(*pair) for pair in zip(heat, recipe.thresholds)),
        time.perf_counter() - started,
    )


def shown_span(heat: np.ndarray, threshold: float) -> float:
    """How far above the threshold pictures show full heat: at the highest value, but no less far
    than the median lies below, so that a scan without heat stays dark."""
    reach = max(float(heat.max()) - threshold, threshold - float(np.median(heat)))
    return max(reach, 1e-6 * max(1.0, abs(threshold)))


def marked(heat: np.ndarray, probability: np.ndarray, recipe: ScanRecipe) -> np.ndarray:
    """Mask codes (slices, rows, columns) of heat (classes, slices, rows, columns).

    Where the heat has subtypes, `any` marks nothing of its own.
    """
    subtypes = [name for name in recipe.classes if name in SUBTYPES]
    opened = recipe.opened(probability)
    mask = np.zeros(heat.shape[1:], np.uint8)
    most = np.full(heat.shape[1:], -np.inf, np.float32)
    for number, name in enumerate(recipe.classes):
        if subtypes and name not in subtypes:
            continue
        wins = (heat[number] >= recipe.thresholds[number]) & (heat[number] > most)
        wins &= opened[:, number, None, None]
        np.copyto(most, heat[number], where=wins)
        mask[wins] = MASK_CODES.get(name, UNSPECIFIED_HEMORRHAGE)
    return mask


def volumes_ml(mask: np.ndarray, pixel_ml: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """Volume of `any` and of each subtype of `classes`, mL."""
    parts = {name: mask == MASK_CODES[name] for name in SUBTYPES if name in classes}
    parts = {"any": mask > 0} | parts
    return {name: float(part.sum((1, 2)) @ pixel_ml) for name, part in parts.items()}


def _native(points: list[np.ndarray], method: ScanMethod, sides: tuple[int, ...]) -> np.ndarray:
    """Points of the network's grid as (n, 3) of slice, row and column in pixels of the slice."""
    places = [np.empty((0, 3))]
    for number, found in enumerate(points):
        native = method.preprocessing.native_points(torch.from_numpy(found), *sides).numpy()
        places.append(np.c_[np.full(len(found), number), native])
    return np.concatenate(places)


def _peaks(heat: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The hottest pixel of every connected part of a slice's mask, (n, 3) of slice, row, column."""
    places = []
    for number in np.flatnonzero(mask.any((1, 2))):
        count, parts = cv2.connectedComponents((mask[number] > 0).astype(np.uint8))
        for part in range(1, count):
            hottest = np.where(parts == part, heat[number], -np.inf).argmax()
            places.append((number, *np.unravel_index(hottest, mask.shape[1:])))
    return np.array(places, np.float64).reshape(-1, 3)
