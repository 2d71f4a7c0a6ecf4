"""LSE-UNet's experiment: heat of every method on the test slices, Algorithm 1, and counts under
every protocol.

LSE-UNet, Tables 2 to 7. A method is its heat and its decisions which subtypes a slice has; the five
classifiers give Grad-CAM before global pooling, LSE-UNet its score maps, trivial rivals heat that
knows no network and borrow LSE-UNet's decisions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from ich_study.errors import DataError, StudyError
from ich_study.evaluate.heat import Heat, Index, ReaderHeat, batches
from ich_study.evaluate.mask_free import otsu_thresholds, value_counts
from ich_study.evaluate.rivals import rivals
from ich_study.evaluate.scaling import HEAT_MAXIMUM
from ich_study.evaluate.thresholds import Threshold, fixed_threshold
from ich_study.evaluate.truth import Truth
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.methods.lse_unet.algorithm1 import heat_levels, label_maps, present_classes
from ich_study.methods.lse_unet.head_gradcam import head_gradcam
from ich_study.methods.lse_unet.joint_histogram import PAPER_GRID, JointHistogram
from ich_study.methods.lse_unet.joint_thresholds import (
    best_setting,
    cross_fitted,
    setting_of,
)
from ich_study.methods.lse_unet.score_maps import Method, RawHeat, lse_heatmaps, raw_maps
from ich_study.metrics.overlap import Counts
from ich_study.models.backbones import Backbone
from ich_study.models.registry import load
from ich_study.models.sources import weights_of_run
from ich_study.paths import resolve
from ich_study.schema import MASK_CODES, UNSPECIFIED_HEMORRHAGE
from ich_study.store.read import Store
from ich_study.training.learner import TrainingRun

METHOD = "lse_unet"
SUBSET_OF_RULE = {
    "class_thresholds": "all",
    "truth": "positive",
    "authors": "positive_or_called",
}
"""Presence rule -> `subset` in the result table: Table 2; Tables 3 and 5-7; the authors' evaluation
script (printed_and_authors, 000.8)."""
FIXED = (125, 75, 25)
"""Tables 5, 6 and 7; 125 is also the protocol without any choice, half of each map's own
maximum."""
HALF = 125
NEVER = np.inf
"""Threshold on the logit of a class that the validation part could not give one."""
Slices = tuple[Store, pd.DataFrame]
"""A store and rows of its index."""


@dataclass(frozen=True)
class MethodMaps:
    """One method on the test slices.

    heat: in [0, 1]. logits: (slices, classes). class_thresholds: on the logit, by class
    (Youden, validation). validation: heat of the validation slices, where the method has any.
    """

    heat: Heat = field(repr=False)
    logits: np.ndarray = field(repr=False)
    class_thresholds: Mapping[str, Threshold]
    validation: Heat | None = field(repr=False, default=None)

    @property
    def name(self) -> str:
        """Method, with its variant where that is not the printed one."""
        heat = self.heat
        return heat.name if heat.variant == "printed" else f"{heat.name} ({heat.variant})"

    @property
    def levels(self) -> Heat:
        """The heat as Algorithm 1 takes it, whole numbers 0..255, uint8."""
        return whole_heat(self.heat)

    def present(self, rule: str, truth: np.ndarray) -> np.ndarray:
        """Which classes get a mask, bool (slices, classes): those of the `truth`; those above
        `class_thresholds`, which a class without a threshold never is; or, as `authors`, either,
        on slices that hold hemorrhage and on no other."""
        if rule == "truth":
            return truth
        if rule == "authors":
            called = self.present("class_thresholds", truth)
            return (truth | called) & truth.any(1, keepdims=True)
        cuts = [
            self.class_thresholds[name].value if name in self.class_thresholds else NEVER
            for name in self.heat.classes
        ]
        return present_classes(self.logits, cuts)


def whole_heat(heat: Heat) -> Heat:
    """Heat in [0, 1] as whole numbers 0..255, uint8."""

    def read(index: Index) -> np.ndarray:
        return heat_levels(heat.read(index))

    return ReaderHeat(heat.name, heat.variant, heat.layer, heat.classes, len(heat), read)


def lse_maps(
    run: TrainingRun,
    variant: str,
    thresholds: Mapping[str, Threshold],
    classes: Sequence[str],
    test: Slices,
    validation: Slices,
) -> MethodMaps:
    """LSE-UNet's score maps of a finished training."""
    config = run.config
    network = (lse_heatmaps, run.model, run.preprocessing, config.classes, tuple(classes))
    inference = (run.device, config.batch_size, config.num_workers, config.precision)
    heat = partial(RawHeat, METHOD, variant, tuple(classes), run.preprocessing.size)
    return _maps_of(heat, network, thresholds, test, validation, inference)


def baseline_maps(
    run_folder: str | Path,
    classes: Sequence[str],
    test: Slices,
    validation: Slices,
    device: torch.device,
    batch_size: int,
    size: int,
    num_workers: int = 0,
    precision: str = "fp32",
) -> MethodMaps:
    """Grad-CAM before global pooling of a 01_backbones run, named after its folder, with the
    thresholds that the run found. Its maps are read at `size`, that of the truth, whatever the
    classifier sees."""
    folder = resolve(run_folder)
    found = load(weights_of_run(folder), device, Backbone)
    if found.preprocessing.crop != "none":
        raise StudyError(
            f"{folder} crops its slices ({found.preprocessing.crop}); its maps do not lie on"
            " the grid of the others"
        )
    cuts = pd.read_csv(folder / "thresholds.csv")
    if "logit" not in cuts:
        raise DataError(
            f"{folder / 'thresholds.csv'} has columns {list(cuts)}; expected `logit`: an older"
            " version wrote it, with thresholds on the probability; run 01_backbones again"
        )
    thresholds = {
        row["class"]: Threshold(row["logit"], row["threshold_source"], row["rule"])
        for _, row in cuts.iterrows()
    }
    network = (head_gradcam, found.model, found.preprocessing, found.metadata["classes"])
    inference = (device, batch_size, num_workers, precision)
    heat = partial(RawHeat, folder.name, "printed", tuple(classes), size)
    return _maps_of(heat, (*network, tuple(classes)), thresholds, test, validation, inference)


def _maps_of(
    heat: Callable[[np.ndarray], Heat],
    network: tuple[Method, nn.Module, Preprocessing, Sequence[str], tuple[str, ...]],
    thresholds: Mapping[str, Threshold],
    test: Slices,
    validation: Slices,
    inference: tuple[torch.device, int, int, str],
) -> MethodMaps:
    """heat: of raw maps. network, inference: what `raw_maps` takes before and after slices."""
    maps, logits = raw_maps(*network, *test, *inference)
    validation_maps, _ = raw_maps(*network, *validation, *inference)
    return MethodMaps(heat(maps), logits, thresholds, heat(validation_maps))


def rivals_of(model: MethodMaps, truth: Truth, smoothness_px: float, seed: int) -> list[MethodMaps]:
    """The trivial rivals, on `model`'s decisions which classes a slice has."""
    found = rivals(truth, model.heat.classes, smoothness_px, seed)
    return [MethodMaps(rival, model.logits, model.class_thresholds) for rival in found]


def labels_of(rows: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """Known labels of the slices, bool (slices, classes); DataError where one is unknown."""
    labels = rows[list(classes)]
    unknown = int(labels.isna().any(axis=1).sum())
    if unknown:
        raise DataError(
            f"{unknown} slices have an unknown label among {list(classes)}; Algorithm 1 needs"
            " them all"
        )
    return labels.astype(bool).to_numpy()


def empty_share(method: MethodMaps, slices: pd.DataFrame) -> float:
    """Share of maps of classes that a slice has in which nothing is positive: heatmaps without
    heat."""
    labels = labels_of(slices, method.heat.classes)
    empty = method.heat.maps.max((2, 3)) <= 0
    return float(empty[labels].mean()) if labels.any() else float("nan")


def scan_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """A row per scan, `scan_id` and `patient_id`, sorted by scan: the rows of counts per scan."""
    keys = rows[["scan_id", "patient_id"]].astype(str)
    return keys.drop_duplicates().sort_values("scan_id", ignore_index=True)


def slabs_of(truth: Truth) -> tuple[pd.DataFrame, np.ndarray]:
    """The slices of each scan by their depth, because pixels are counted once for many slices, and
    a pixel of a thick slice is more mL.

    Returns a row per slab, sorted: `slab, scan_id, patient_id, pixel_ml`; and the slab of every
    slice.
    """
    # A billionth of a mL apart is the rounding of positions, not another depth.
    keyed = truth.rows[["scan_id", "patient_id"]].astype(str).assign(ml=truth.pixel_ml.round(9))
    number = keyed.groupby("scan_id")["ml"].rank("dense", na_option="top").astype(int)
    slab = keyed["scan_id"] + number.map(" {:04d}".format)
    slabs = keyed.assign(slab=slab, pixel_ml=truth.pixel_ml).drop_duplicates("slab")
    slabs = slabs.sort_values("slab", ignore_index=True)
    return slabs[["slab", "scan_id", "patient_id", "pixel_ml"]], slab.to_numpy()


def truth_codes(truth: Truth, classes: Sequence[str]) -> np.ndarray:
    """Truth as label maps, 0 and 1.. in the order of `classes`; DataError where a mask holds
    another hemorrhage, or where `any` stands beside subtypes, which are parts of it."""
    if "any" in classes and len(classes) > 1:
        raise DataError(f"map_classes {list(classes)}: a pixel is of one class; any stands alone")
    codes = np.zeros_like(truth.codes)
    for number, name in enumerate(classes, start=1):
        codes[truth.mask(name)] = number
    if ((truth.codes > 0) & (codes == 0)).any():
        raise DataError(
            f"masks hold hemorrhage that is none of {list(classes)}; a label map by subtype cannot"
            " be scored on them"
        )
    return codes


def joint_histograms(method: MethodMaps, truth: Truth) -> dict[str, JointHistogram]:
    """Counts of all joint threshold settings per presence rule, grouped by slab (`slabs_of`), in
    one pass over the heat."""
    classes = method.heat.classes
    codes, labels = truth_codes(truth, classes), labels_of(truth.rows, classes)
    present = {rule: method.present(rule, labels) for rule in SUBSET_OF_RULE}
    found = {rule: JointHistogram(classes, PAPER_GRID) for rule in SUBSET_OF_RULE}
    slabs = truth.rows.groupby(slabs_of(truth)[1]).indices.items()
    bar = {"unit": "slab", "mininterval": 5, "leave": False}
    for slab, index in tqdm(slabs, f"Algorithm 1, {method.name}", **bar):
        levels = method.levels.read(index)
        for rule, histogram in found.items():
            histogram.add(levels, present[rule][index], codes[index], str(slab))
    return found


@dataclass(frozen=True)
class Protocol:
    """Counts per scan, (scans, 1 + classes), background first, under one choice of mask thresholds
    and one presence rule; by_slab: the same per slab (`slabs_of`).

    thresholds: by class; empty where they differ between patients (cross-fitted).
    """

    rule: str
    variant: str
    source: str
    counts: Counts
    thresholds: Mapping[str, Threshold]
    by_slab: Counts


def protocols(
    method: MethodMaps,
    histograms: Mapping[str, JointHistogram],
    truth: Truth,
    validation_labels: np.ndarray | None,
    seed: int,
) -> list[Protocol]:
    """Every protocol of a method.

    `masks-test`: chosen jointly on the test masks at the true labels, as in the paper.
    `masks-validation`: cross-fitted between two halves of the patients. `labels`: Otsu's cut of the
    validation slices' heat, no mask at all. Fixed thresholds 125, 75 and 25 (Tables 5-7) at the
    true labels, under a variant of their own, of the two readings of the paper alone.
    """
    at_truth, classes, variant = histograms["truth"], method.heat.classes, method.heat.variant
    slabs, _ = slabs_of(truth)
    fitted = cross_fitted(at_truth, slabs["patient_id"].tolist(), seed)
    chosen = {"masks-test": best_setting(at_truth, "masks-test"), "masks-validation": {}}
    if method.validation is not None and validation_labels is not None:
        chosen["labels"] = otsu_of(method.validation, validation_labels)
    wanted = [(rule, variant, *each) for rule in histograms for each in chosen.items()]
    reading = {"printed": "", "authors": "authors_"}.get(variant)
    for value in FIXED if reading is not None else ():
        cuts = dict.fromkeys(classes, fixed_threshold(value))
        wanted.append(("truth", f"{reading}threshold_{value}", "none", cuts))
    made = []
    for rule, variant, source, cuts in wanted:
        histogram = histograms[rule]
        counts = histogram.at(setting_of(cuts, classes)) if cuts else fitted.counts(histogram)
        by_scan = counts.by_group(slabs["scan_id"].to_numpy())
        made.append(Protocol(rule, variant, source, by_scan, cuts, counts))
    return made


def otsu_of(heat: Heat, labels: np.ndarray) -> dict[str, Threshold]:
    """Mask thresholds from the validation slices' heat at their labels, on the paper's grid."""
    levels, known = whole_heat(heat), np.flatnonzero(labels.any(1))
    counts = np.zeros((len(heat.classes), HEAT_MAXIMUM + 1), np.int64)
    for part in batches(len(known), 32):
        counts += value_counts(levels.read(known[part]), labels[known[part]])
    return otsu_thresholds(heat.classes, counts, PAPER_GRID, unseen=HALF)


def masks_of(
    method: MethodMaps, thresholds: Mapping[str, Threshold], labels: np.ndarray, index: np.ndarray
) -> np.ndarray:
    """Algorithm 1's label maps of some slices as mask codes, uint8 (n, size, size); `any`, which
    has no code, is hemorrhage of no stated subtype."""
    classes = method.heat.classes
    cuts = setting_of(thresholds, classes)
    numbers = label_maps(method.levels.read(index), labels[index], cuts)
    codes = [0, *(MASK_CODES.get(name, UNSPECIFIED_HEMORRHAGE) for name in classes)]
    return np.asarray(codes, np.uint8)[numbers]
