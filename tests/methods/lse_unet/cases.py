"""Methods and slices for the tests of LSE-UNet's room: squares under noisy maps, and one case whose
numbers can be worked out by hand."""

import numpy as np
import pandas as pd
import torch

from ich_study.evaluate.thresholds import Threshold
from ich_study.evaluate.truth import PackedMasks, Truth
from ich_study.methods.lse_unet.joint_thresholds import patient_folds
from ich_study.methods.lse_unet.score_maps import RawHeat
from ich_study.methods.lse_unet.study import MethodMaps
from ich_study.schema import SUBTYPES

PATIENTS, SLICES, SIDE, LATENT = 6, 5, 32, 8
RNG = np.random.default_rng(0)


def scored(spacing=0.05):
    """A square of one subtype in most slices; the first slice of every patient is normal."""
    codes = np.zeros((PATIENTS * SLICES, SIDE, SIDE), np.uint8)
    for place in range(len(codes)):
        if place % SLICES:
            row, column = RNG.integers(0, SIDE - 8, 2)
            codes[place, row : row + 8, column : column + 8] = 1 + (place + place // SLICES) % 5
    names = [f"p{number}" for number in range(PATIENTS) for _ in range(SLICES)]
    return slices_of(codes, SUBTYPES, names, spacing)


def slices_of(codes, classes, patients, spacing=0.05, boxes=None):
    """Truth with these mask codes, labelled accordingly, a scan per patient; or with these
    boxes."""
    labels = {
        name: pd.array((codes == code).any((1, 2)), dtype="boolean")
        for code, name in enumerate(classes, 1)
    }
    rows = pd.DataFrame(
        {
            "patient_id": patients,
            "scan_id": [f"{name}-scan" for name in patients],
            "slice_index": range(len(codes)),
            **labels,
        }
    )
    hu = 30 + 40 * (codes > 0).astype(np.int16)
    brain = PackedMasks.of(np.ones(codes.shape, bool))
    nothing = [np.zeros((0, 4))] * len(codes)
    kind = "masks" if boxes is None else "boxes"
    measured = np.full(len(codes), spacing)
    return Truth(rows, kind, codes.shape[1], hu, codes, brain, boxes or nothing, measured, measured)


SCORED = scored()
LABELS = SCORED.rows[list(SUBTYPES)].astype(bool).to_numpy()


def made_of(maps, classes, name="m", variant="printed", logits=None, cuts=None, validation=None):
    """A method of these raw maps (slices, classes, rows, columns), read at their own size."""
    size = maps.shape[-1]
    logits = np.zeros(maps.shape[:2]) if logits is None else logits
    beside = None if validation is None else RawHeat(name, variant, classes, size, validation)
    return MethodMaps(RawHeat(name, variant, classes, size, maps), logits, cuts or {}, beside)


def youden(classes, value=0.0):
    """Class thresholds on the logit."""
    return {name: Threshold(value, "labels", "youden") for name in classes}


def method(name, quality, variant="printed", logits=None):
    """Maps between noise (quality 0) and the truth itself (1)."""
    truth = np.stack([SCORED.mask(each) for each in SUBTYPES], 1).astype(np.float32)
    small = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(truth), LATENT).numpy()
    maps = quality * small + (1 - quality) * RNG.random(small.shape, dtype=np.float32) - 0.05
    logits = np.where(LABELS, 2.0, -2.0) if logits is None else logits
    heat = RawHeat(name, variant, SUBTYPES, SIDE, maps.astype(np.float32))
    return MethodMaps(heat, logits, youden(SUBTYPES), heat)


GOOD, BAD = method("lse_unet", 0.9), method("rdnet_tiny", 0.0)


def levels_as_maps(levels):
    """Maps (slices, rows, columns) whose heat is exactly these levels 0..255, one class; every
    slice holds 0 and 255."""
    maps = np.where(levels > 0, (levels + 0.5) / 255, 0).clip(0, 1)
    return maps.astype(np.float32)[:, None]


def two_kinds(found="low", method_name="lse_unet", variant="printed", upside_down=False):
    """Four patients with one slice of 64 pixels and one lesion of 8 (row 0), two of either kind.

    Kind "low": lesion at heat 60 with one pixel of 255, a stray row of 40: its best threshold is 50
    (Dice 1). Kind "high": lesion at 255, three stray rows of 160: its best is 200 (Dice 1). The
    kinds are the halves of the cross-fit of seed 0. Only the kind `found` is above the class
    threshold; the other's logit equals it. The validation slice's Otsu cut is 0, so 25.
    Returns the method and its slices.
    """
    patients = np.array(["p0", "p1", "p2", "p3"])
    half = patient_folds(np.full((4, 1), 8), patients, seed=0)
    levels = np.zeros((4, 8, 8))
    low, high = half == 0, half == 1
    levels[low, 0], levels[low, 5] = 60, 40
    levels[low, 0, 0] = 255
    levels[high, 0], levels[high, 3:6] = 255, 160
    codes = np.zeros((4, 8, 8), np.uint8)
    codes[:, 0] = 1
    validation = np.zeros((1, 8, 8))
    validation[0, :2], validation[0, 0, 0] = 90, 255
    logits = np.where(low if found == "low" else high, 2.0, 0.0)[:, None]
    maps = levels_as_maps(levels[:, ::-1] if upside_down else levels)
    beside = levels_as_maps(validation)
    made = made_of(maps, ("IPH",), method_name, variant, logits, youden(["IPH"]), beside)
    return made, slices_of(codes, ("IPH",), patients)


VALIDATION_LABELS = np.ones((1, 1), bool)
