"""LSE-UNet's experiment: every method's heatmaps on the test slices, Algorithm 1, and counts under
every protocol.

LSE-UNet, Tables 2 to 7. A method is a set of raw maps and of decisions which subtypes a slice has;
the five classifiers give Grad-CAM before global pooling, LSE-UNet its score maps, trivial rivals
maps that know no network and borrow LSE-UNet's decisions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from ich_study.errors import DataError, StudyError
from ich_study.evaluate.classification import load_classifier
from ich_study.evaluate.mask_free import HeatHistogram, otsu_thresholds
from ich_study.evaluate.rivals import RIVALS, rival_maps
from ich_study.evaluate.scored_slices import ScoredSlices
from ich_study.evaluate.thresholds import Threshold
from ich_study.methods.lse_unet.algorithm1 import heat_levels, label_maps, present_classes
from ich_study.methods.lse_unet.head_gradcam import head_gradcam
from ich_study.methods.lse_unet.joint_histogram import PAPER_GRID, JointHistogram
from ich_study.methods.lse_unet.joint_thresholds import (
    CrossFit,
    cross_fitted,
    fixed_thresholds,
    search,
    setting_of,
)
from ich_study.methods.lse_unet.score_maps import LatentMaps, latent_maps, lse_heatmaps
from ich_study.methods.lse_unet.train import weights_of_run
from ich_study.metrics.overlap import Counts
from ich_study.schema import MASK_CODES, SUBTYPES
from ich_study.store.read import Store
from ich_study.training.learner import TrainingRun

METHOD = "lse_unet"
SUBSET_OF_RULE = {"class_thresholds": "all", "truth": "positive"}
"""Presence rule -> `subset` in the result table: Table 2, and Tables 3 and 5-7."""
FIXED = (125, 75, 25)
"""Tables 5, 6 and 7; 125 is also the protocol without any choice, half of each map's own
maximum."""
HALF = 125


@dataclass(frozen=True)
class RivalMaps:
    """A trivial rival's maps, made when asked for, the same for every class; stands in for
    `LatentMaps`."""

    rival: str
    slices: ScoredSlices = field(repr=False)
    logits: np.ndarray = field(repr=False)
    classes: tuple[str, ...]
    smoothness_px: float
    seed: int

    def __len__(self) -> int:
        return len(self.slices)

    def scaled(self, size: int, places: slice | np.ndarray = slice(None)) -> np.ndarray:
        """Heatmaps of some slices, float32 (n, classes, size, size) in [0, 1]; StudyError for a
        grid other than the slices' own."""
        if size != self.slices.hu.shape[-1]:
            raise StudyError(
                f"rivals' maps at {size} px; the slices have {self.slices.hu.shape[-1]}"
            )
        numbers = np.arange(len(self))[places]
        maps = [
            rival_maps(
                self.rival,
                self.slices.hu[[place]],
                self.slices.brain[[place]],
                self.smoothness_px,
                self.seed + int(place),
            )[0]
            for place in numbers
        ]
        return np.repeat(np.stack(maps)[:, None], len(self.classes), axis=1)


@dataclass(frozen=True)
class MethodMaps:
    """Raw maps of one method on the test slices, and on the validation slices where it has any.

    class_thresholds: on the probability, by class (Youden, validation).
    """

    method: str
    variant: str
    test: LatentMaps | RivalMaps = field(repr=False)
    validation: LatentMaps | None = field(repr=False)
    class_thresholds: Mapping[str, Threshold]

    @property
    def name(self) -> str:
        """Method, with its variant where that is not the printed one."""
        return self.method if self.variant == "printed" else f"{self.method} ({self.variant})"

    def present(self, rule: str, truth: np.ndarray) -> np.ndarray:
        """Which classes get a mask, bool (slices, classes); a class without a threshold never does
        under `class_thresholds`."""
        cuts = [
            self.class_thresholds[name].value if name in self.class_thresholds else 2.0
            for name in self.test.classes
        ]
        probabilities = 1 / (1 + np.exp(-self.test.logits))
        return present_classes(rule, scores=probabilities, class_thresholds=cuts, truth=truth)


def labels_of(rows: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """Known labels of the slices, bool (slices, classes); DataError where one is unknown."""
    labels = rows[list(classes)]
    if labels.isna().to_numpy().any():
        unknown = int(labels.isna().to_numpy().any(1).sum())
        raise DataError(
            f"{unknown} slices have an unknown label among {list(classes)}; Algorithm 1 needs"
            " them all"
        )
    return labels.astype(bool).to_numpy()


def lse_maps(
    run: TrainingRun,
    variant: str,
    thresholds: Mapping[str, Threshold],
    classes: Sequence[str],
    test: tuple[Store, pd.DataFrame],
    validation: tuple[Store, pd.DataFrame],
) -> MethodMaps:
    """LSE-UNet's score maps of a finished training."""
    config, shared = run.config, (run.model, run.preprocessing, run.config.classes, classes)
    options = {
        "device": run.device,
        "batch_size": config.batch_size,
        "num_workers": config.num_workers,
        "precision": config.precision,
    }
    maps = [latent_maps(lse_heatmaps, *shared, *part, **options) for part in (test, validation)]
    return MethodMaps(METHOD, variant, *maps, thresholds)


def baseline_maps(
    folder: Path,
    classes: Sequence[str],
    test: tuple[Store, pd.DataFrame],
    validation: tuple[Store, pd.DataFrame],
    device: torch.device,
    batch_size: int,
    num_workers: int = 0,
    precision: str = "fp32",
) -> MethodMaps:
    """Grad-CAM before global pooling of a 01_backbones run, named after its folder, with the
    thresholds that the run found."""
    backbone, preprocessing, metadata = load_classifier(weights_of_run(folder), device)
    if preprocessing.crop != "none":
        raise StudyError(
            f"{folder} crops its slices ({preprocessing.crop}); its maps do not lie on the grid of"
            " the others"
        )
    shared = (backbone.model, preprocessing, metadata["classes"], classes)
    options = {
        "device": device,
        "batch_size": batch_size,
        "num_workers": num_workers,
        "precision": precision,
    }
    found = pd.read_csv(folder / "thresholds.csv")
    thresholds = {
        row["class"]: Threshold(row["threshold"], row["threshold_source"], row["rule"])
        for _, row in found.iterrows()
    }
    maps = [latent_maps(head_gradcam, *shared, *part, **options) for part in (test, validation)]
    return MethodMaps(folder.name, "printed", *maps, thresholds)


def rivals_of(
    model: MethodMaps, slices: ScoredSlices, smoothness_px: float, seed: int
) -> list[MethodMaps]:
    """The trivial rivals, on `model`'s decisions which classes a slice has."""
    shared = (slices, model.test.logits, model.test.classes, smoothness_px, seed)
    return [
        MethodMaps(name, "printed", RivalMaps(name, *shared), None, model.class_thresholds)
        for name in RIVALS
    ]


def scan_places(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Places of each scan's slices, scans sorted by name."""
    groups = rows.reset_index(drop=True).groupby("scan_id", sort=True).indices
    return {str(scan): np.asarray(places) for scan, places in sorted(groups.items())}


def scan_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """A row per scan, `scan_id` and `patient_id`, sorted by scan: the rows of counts per scan."""
    return (
        rows[["scan_id", "patient_id"]]
        .astype(str)
        .drop_duplicates()
        .sort_values("scan_id", ignore_index=True)
    )


def truth_codes(slices: ScoredSlices, classes: Sequence[str]) -> np.ndarray:
    """Truth as label maps, 0 and 1.. in the order of `classes`; DataError where a mask holds
    another hemorrhage."""
    codes = np.zeros_like(slices.codes)
    for place, name in enumerate(classes, start=1):
        codes[slices.codes == MASK_CODES[name]] = place
    if ((slices.codes > 0) & (codes == 0)).any():
        raise DataError(
            f"masks hold hemorrhage that is none of {list(classes)}; a label map by subtype cannot"
            " be scored on them"
        )
    return codes


def heat(maps: LatentMaps | RivalMaps, size: int, places: np.ndarray | slice) -> np.ndarray:
    """Heat 0..255 of some slices, uint8 (n, classes, size, size)."""
    return heat_levels(maps.scaled(size, places))


def joint_histograms(method: MethodMaps, slices: ScoredSlices) -> dict[str, JointHistogram]:
    """Counts of all joint threshold settings per presence rule, grouped by scan, in one pass over
    the heat."""
    classes, size = method.test.classes, slices.hu.shape[-1]
    truth, labels = truth_codes(slices, classes), labels_of(slices.rows, classes)
    present = {rule: method.present(rule, labels) for rule in SUBSET_OF_RULE}
    found = {rule: JointHistogram(classes, PAPER_GRID) for rule in SUBSET_OF_RULE}
    for scan, places in tqdm(
        scan_places(slices.rows).items(),
        f"Algorithm 1, {method.name}",
        unit="scan",
        mininterval=5,
        leave=False,
    ):
        levels = heat(method.test, size, places)
        for rule, histogram in found.items():
            histogram.add(levels, present[rule][places], truth[places], scan)
    return found


@dataclass(frozen=True)
class Protocol:
    """Counts per scan, (scans, 1 + classes), background first, under one choice of mask thresholds
    and one presence rule.

    thresholds: by class; empty where they differ between patients (cross-fitted).
    """

    rule: str
    variant: str
    source: str
    counts: Counts
    thresholds: Mapping[str, Threshold]


def protocols(
    method: MethodMaps,
    histograms: Mapping[str, JointHistogram],
    rows: pd.DataFrame,
    validation_labels: np.ndarray | None,
    size: int,
    seed: int,
) -> list[Protocol]:
    """Every protocol of a method.

    `masks-test`: chosen jointly on the test masks at the true labels, as in the paper.
    `masks-validation`: cross-fitted between two halves of the patients. `labels`: Otsu's cut of the
    validation slices' heat, no mask at all. Fixed thresholds 125, 75 and 25 (Tables 5-7) at the
    true labels, under a variant of their own.
    """
    patients = dict(zip(*(scan_rows(rows)[name] for name in ("scan_id", "patient_id"))))
    chosen = search(histograms["truth"]).best("masks-test")
    fitted = cross_fitted(histograms["truth"], patients, 2, seed)
    found = []
    for rule, histogram in histograms.items():
        found.append(
            Protocol(
                rule,
                method.variant,
                "masks-test",
                histogram.at(setting_of(chosen, histogram.classes)),
                chosen,
            )
        )
        found.append(
            Protocol(rule, method.variant, "masks-validation", at_fitted(histogram, fitted), {})
        )
        if method.validation is not None and validation_labels is not None:
            cuts = otsu_of(method.validation, validation_labels, size)
            found.append(
                Protocol(
                    rule,
                    method.variant,
                    "labels",
                    histogram.at(setting_of(cuts, histogram.classes)),
                    cuts,
                )
            )
    if method.variant == "printed":
        histogram = histograms["truth"]
        for value in FIXED:
            fixed = fixed_thresholds(value, histogram.classes)
            found.append(
                Protocol(
                    "truth",
                    f"threshold_{value}",
                    "none",
                    histogram.at(setting_of(fixed, histogram.classes)),
                    fixed,
                )
            )
    return found


def at_fitted(histogram: JointHistogram, fitted: CrossFit) -> Counts:
    """Counts per group at the thresholds that were fitted on the other fold's patients."""
    parts = [
        histogram.at(setting_of(thresholds, histogram.classes)) for thresholds in fitted.thresholds
    ]
    pick = np.asarray(fitted.fold), np.arange(len(fitted.groups))
    return Counts(
        *(np.stack([getattr(part, name) for part in parts])[pick] for name in ("tp", "fp", "fn"))
    )


def otsu_of(maps: LatentMaps, labels: np.ndarray, size: int) -> dict[str, Threshold]:
    """Mask thresholds from the validation slices' heat at their labels, on the paper's grid."""
    histogram = HeatHistogram(maps.classes)
    for start in range(0, len(maps), 32):
        places = np.arange(start, min(start + 32, len(maps)))
        places = places[labels[places].any(1)]
        if len(places):
            histogram.add(heat(maps, size, places), labels[places])
    return otsu_thresholds(histogram, PAPER_GRID, unseen=HALF)


def masks_of(
    method: MethodMaps,
    thresholds: Mapping[str, Threshold],
    labels: np.ndarray,
    size: int,
    places: np.ndarray,
) -> np.ndarray:
    """Algorithm 1's label maps of some slices as mask codes, uint8 (n, size, size)."""
    classes = method.test.classes
    numbers = label_maps(
        heat(method.test, size, places), labels[places], setting_of(thresholds, classes), classes
    )
    return np.asarray([0, *(MASK_CODES[name] for name in classes)], np.uint8)[numbers]


def shown_slices(slices: ScoredSlices, classes: Sequence[str] = SUBTYPES) -> pd.DataFrame:
    """For each subtype the slice with its largest area, patients not repeated while others are
    left: `class, place`."""
    picked, seen = [], set()
    for name in classes:
        areas = slices.truth(name).sum((1, 2))
        if not areas.any():
            continue
        known = slices.rows["patient_id"].isin(seen).to_numpy()
        places = np.flatnonzero((areas > 0) & ~known)
        places = places if len(places) else np.flatnonzero(areas)
        place = int(places[areas[places].argmax()])
        seen.add(slices.rows["patient_id"].iloc[place])
        picked.append((name, place))
    return pd.DataFrame(picked, columns=["class", "place"])
