"""The arms of ResNet-LSTM's ablation, one fold at a time: masks of stage 1, U-Nets of stage 2, all
measured per volume."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ich_study.errors import ParameterError
from ich_study.evaluate.rivals import rivals
from ich_study.evaluate.score import Scores, score
from ich_study.evaluate.truth import Truth
from ich_study.methods.resnet_lstm.class_activation import cam_region
from ich_study.methods.resnet_lstm.fold_masks import FoldMasks, Masks
from ich_study.methods.resnet_lstm.measures import measured_volumes, on_scan_grid, overlap_measures
from ich_study.methods.resnet_lstm.pseudo_masks import CAM, PseudoLabeller
from ich_study.methods.resnet_lstm.settings import CamRegion, UNetSettings
from ich_study.methods.resnet_lstm.study import Fold
from ich_study.methods.resnet_lstm.volumes import (
    VolumeSegmentation,
    prepared_variants,
    resized_masks,
    segment,
    train_unet,
)
from ich_study.store import Store
from ich_study.training.config import LoopSettings
from ich_study.training.loop import Run

KMEANS = "kmeans"
"""Name of the printed recipe among the recipes."""
MAIN = "resnet_lstm_kmeans_unet"
SUPERVISED = "unet"
PLAIN = "no_contrast_enhancement"
TEACHERS: dict[str, tuple[str, str]] = {
    "resnet_unet": ("resnet", CAM),
    "resnet_lstm_unet": ("resnet_lstm", CAM),
    "resnet_kmeans_unet": ("resnet", KMEANS),
    MAIN: ("resnet_lstm", KMEANS),
    PLAIN: ("resnet_lstm", KMEANS),
}
"""Classifier and recipe whose pseudo-masks teach each U-Net: the rows of Table 2 from the top, and
the method without contrast enhancement."""
ARMS: tuple[str, ...] = (*TEACHERS, SUPERVISED)
Prepared = Mapping[bool, Masks]
"""Grey volumes uint8 (slices, size, size) by scan, with (True) or without equalisation."""


@dataclass(frozen=True)
class Stage2:
    """volumes: measures per test volume and arm. segmentations: of the main arm, scan -> bool on
    the grid of the pseudo-masks. history: of every U-Net. weights: SHA-256 by arm."""

    volumes: pd.DataFrame
    segmentations: Masks = field(repr=False)
    history: pd.DataFrame = field(repr=False)
    weights: Mapping[str, str] = field(repr=False)


def prepared_volumes(
    store: Store, scans: Iterable[str], size: int, arms: Collection[str] = (MAIN,)
) -> dict[bool, dict[str, np.ndarray]]:
    """The U-Net's grey volumes of some scans, for what `arms` ask for.

    Made once for all folds: every fold holds every scan, and finding the skulls takes longer than
    an epoch.
    """
    variants = sorted({arm != PLAIN for arm in arms})
    found: dict[bool, dict[str, np.ndarray]] = {equalise: {} for equalise in variants}
    for scan in scans:
        for equalise, volume in prepared_variants(store.volume(scan), size, variants).items():
            found[equalise][scan] = volume
    return found


def run_arms(
    fold: Fold,
    masks: FoldMasks,
    arms: Sequence[str],
    prepared: Prepared,
    settings: UNetSettings,
    loop: LoopSettings,
    *,
    variant: str,
    tolerance_mm: float,
    threshold: float = 0.5,
) -> Stage2:
    """A U-Net for each of `arms`, measured on the test volumes.

    The supervised arm is left out, and said to be, where the data have no masks. Raises
    ParameterError for an unknown arm, or where the main arm is missing.
    """
    unknown = sorted(set(arms) - set(ARMS))
    if unknown or MAIN not in arms:
        raise ParameterError(
            f"arms {list(arms)}: unknown {unknown}; expected {MAIN} and any of {', '.join(ARMS)}"
        )
    side = masks.labellers["resnet_lstm"].preprocessing.size
    tables, histories, weights, shown = [], [], {}, {}
    for arm in arms:
        if arm == SUPERVISED and fold.truth_kind != "masks":
            print(f"{arm}: left out, {fold.store.dataset} has no masks to be supervised by")
            continue
        equalise = arm != PLAIN
        run, probabilities = train_arm(
            fold,
            arm,
            prepared[equalise],
            teacher_of(arm, fold, masks),
            settings.changed(equalise=equalise),
            loop,
        )
        found = {}
        for scan, probability in probabilities.items():
            found[scan] = on_scan_grid(probability, fold.truth(scan).shape[1:], threshold)
            if arm == MAIN:
                shown[scan] = on_scan_grid(probability, (side, side), threshold)
        # without contrast enhancement it is the same method, as a variant
        named = (MAIN, PLAIN) if arm == PLAIN else (arm, variant)
        tables.append(measured_volumes(fold, found, *named, tolerance_mm))
        histories.append(run.history.assign(arm=arm, fold=fold.number))
        weights[arm] = run.weights_sha256
    volumes, history = (pd.concat(each, ignore_index=True) for each in (tables, histories))
    return Stage2(volumes, shown, history, weights)


def teacher_of(arm: str, fold: Fold, masks: FoldMasks) -> Masks:
    """The masks that teach an arm; the supervised one sees the truth of training and validation."""
    if arm == SUPERVISED:
        return {scan: fold.truth(scan) for scan in fold.scans("train", "validation")}
    return masks.teaching(*TEACHERS[arm])


def train_arm(
    fold: Fold,
    name: str,
    volumes: Masks,
    teacher: Masks,
    settings: UNetSettings,
    loop: LoopSettings,
) -> tuple[Run, dict[str, np.ndarray]]:
    """A U-Net taught by masks (of training and validation scans, on any grid) and its probabilities
    of the test scans.

    Probabilities: scan -> float32 (N, S, S). Scans of the validation part without any voxel are
    kept, as true negatives.
    """
    parts, side = (fold.scans("train"), fold.scans("validation")), (settings.size, settings.size)
    masks = {scan: resized_masks(teacher[scan], side) for part in parts for scan in part}
    task = VolumeSegmentation(volumes, masks, parts, settings, loop.seed)
    folder = fold.folder / "unet" / name
    named = {"arm": name, "fold": fold.number, "patients": fold.marks}
    run = train_unet(task, loop, folder, named)
    found = {}
    for scan in fold.scans("test"):
        found[scan] = segment(run.model, volumes[scan], settings, run.device)
    return run, found


def stage_1_volumes(
    fold: Fold,
    masks: FoldMasks,
    truth: Truth,
    cam: CamRegion,
    *,
    variant: str,
    tolerance_mm: float,
    smoothness_px: float,
    seed: int,
) -> pd.DataFrame:
    """Measures per test volume of the CAM regions, the pseudo-masks and the trivial rivals.

    truth: of the test part. Methods `<classifier>_cam` and `<classifier>_kmeans`; other recipes are
    variants of the latter by their name, and `labelled_slices` is what the masks would be were the
    test slices' labels known.
    """
    found = []
    for classifier, recipes in masks.made.items():
        for recipe in recipes:
            printed = recipe in (CAM, KMEANS)
            method = f"{classifier}_{recipe if printed else KMEANS}"
            named = variant if printed else recipe
            found.append((method, named, masks.test(classifier, recipe)))
        for recipe in (CAM, KMEANS):
            known = masks.test(classifier, recipe, by="label")
            found.append((f"{classifier}_{recipe}", "labelled_slices", known))
    for name, each in rival_masks(truth, masks.called["resnet_lstm"], cam, smoothness_px, seed):
        found.append((name, variant, each))
    tables = [
        measured_volumes(fold, each, method, named, tolerance_mm) for method, named, each in found
    ]
    return pd.concat(tables, ignore_index=True)


def teaching_quality(fold: Fold, masks: FoldMasks) -> pd.DataFrame:
    """How good the pseudo-masks are that teach the U-Net: mean Dice, TPR and RVD over training and
    validation volumes, by classifier and recipe.

    Measured for the reader; nothing is chosen by it.
    """
    rows = []
    for classifier, recipes in masks.made.items():
        for recipe in recipes:
            measured = []
            for scan, mask in masks.teaching(classifier, recipe).items():
                truth, depth_mm = fold.truth(scan), fold.grid(scan).depth_mm
                on_grid = resized_masks(mask, truth.shape[1:])
                measured.append(overlap_measures(on_grid, truth, depth_mm))
            mean = pd.DataFrame(measured)[["dice", "tpr", "rvd"]].mean()
            named = {"fold": fold.number, "classifier": classifier, "recipe": recipe}
            rows.append({**named, **mean.to_dict()})
    return pd.DataFrame(rows)


def recipe_results(
    labeller: PseudoLabeller, channels: np.ndarray, region: np.ndarray, truth: np.ndarray
) -> pd.DataFrame:
    """What every recipe makes of one slice's region: how many clusters, which it takes (1 is the
    darkest, 0 none) and which is the largest, pixels, and overlap with the truth, a row per recipe.
    channels: (C, S, S). region, truth: bool (S, S)."""
    rows = []
    for name, recipe in labeller.recipes.items():
        label = labeller.label(channels, region, recipe)
        sizes = np.bincount(label.clusters.ravel())[1:]
        largest = int(sizes.argmax()) + 1 if len(sizes) else 0
        made = {"recipe": name, "clusters": len(sizes), "taken": label.chosen, "largest": largest}
        measured = overlap_measures(label.mask[None], truth[None])
        rows.append({**made, "pixels": int(label.mask.sum()), **measured})
    return pd.DataFrame(rows)


def cluster_choices(masks: Mapping[int, FoldMasks], truths: Mapping[int, Truth]) -> pd.DataFrame:
    """`recipe_results` after the LSTM of every test slice with truth: fold, scan_id and
    slice_index, and whether the taken cluster is the largest, and the brightest.

    masks, truths: of the test parts, by fold.
    """
    tables = []
    for fold, truth in truths.items():
        labeller = masks[fold].labellers["resnet_lstm"]
        for number in np.flatnonzero(truth.positive()):
            scan, index = truth.rows.loc[number, ["scan_id", "slice_index"]]
            channels = labeller.channels(scan, [index])
            region = cam_region(labeller.maps(scan, [index], channels), labeller.cam)[0]
            inside = truth.mask("any", np.array([number]))[0]
            table = recipe_results(labeller, channels[0].cpu().numpy(), region, inside)
            tables.append(table.assign(fold=fold, scan_id=scan, slice_index=index))
    found = pd.concat(tables, ignore_index=True)
    found["took_largest"] = found["taken"] == found["largest"]
    found["took_brightest"] = found["taken"] == found["clusters"]
    return found


def rival_masks(
    truth: Truth,
    called: Mapping[str, np.ndarray],
    cam: CamRegion,
    smoothness_px: float,
    seed: int,
) -> Iterable[tuple[str, Masks]]:
    """Masks of the trivial rivals: name, and scan -> bool (slices, S, S).

    The HU threshold stands alone. The centred blob and the random map are cut like a CAM and stand
    on the slices that the classifier calls positive (`called`: scan -> bool), as the CAM does.
    """
    for heat in rivals(truth, smoothness_px=smoothness_px, seed=seed):
        found = {}
        for scan, rows in truth.rows.groupby("scan_id", sort=False):
            maps = heat.read(rows.sort_values("slice_index").index.to_numpy())[:, 0]
            if heat.name == "hu_threshold":
                found[str(scan)] = maps > 0
            else:
                found[str(scan)] = cam_region(maps, cam) & called[str(scan)][:, None, None]
        yield heat.name, found


def score_maps(
    masks: FoldMasks, truth: Truth, smoothness_px: float, seed: int, variant: str = "printed"
) -> list[Scores]:
    """Pointing game and mass inside of the CAMs of both classifiers and of the trivial rivals, on
    the test slices of `truth`."""
    heats = [*masks.heats(truth.rows, variant)]
    heats += rivals(truth, smoothness_px=smoothness_px, seed=seed)
    return [score(heat, truth) for heat in heats]
