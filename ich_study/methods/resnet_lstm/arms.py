"""The arms of ResNet-LSTM's ablation, one fold at a time: masks of stage 1, U-Nets of stage 2, all
measured per volume."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ich_study.errors import ParameterError
from ich_study.methods.resnet_lstm.class_activation import CamRecipe
from ich_study.methods.resnet_lstm.pseudo_masks import CAM
from ich_study.methods.resnet_lstm.report import measured_volumes, on_scan_grid
from ich_study.methods.resnet_lstm.study import Fold, FoldMasks, prepared_volumes, train_arm
from ich_study.methods.resnet_lstm.truth import rival_masks, score_test_part, truth_kind, truths
from ich_study.methods.resnet_lstm.volumes import UNetSettings
from ich_study.training.config import LoopSettings

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
"""Classifier and recipe whose pseudo-masks teach each U-Net."""
ARMS: tuple[str, ...] = (*TEACHERS, SUPERVISED)
PAIRS: tuple[tuple[str, str], ...] = (
    ("resnet_lstm_unet", "resnet_unet"),
    ("resnet_unet", "resnet_lstm_unet"),
    ("resnet_unet", "resnet_kmeans_unet"),
    ("resnet_unet", MAIN),
    (MAIN, "resnet_kmeans_unet"),
    (MAIN, "resnet_lstm_unet"),
    (MAIN, "resnet_unet"),
    (SUPERVISED, MAIN),
    (MAIN, "resnet_lstm_kmeans"),
    ("resnet_lstm_kmeans", "resnet_lstm_cam"),
    (MAIN, "hu_threshold"),
    (MAIN, "centred_blob"),
    (MAIN, "random_map"),
)
"""Comparisons that the paper's sentences rest on, and the trivial rivals."""


def stage_1_volumes(
    fold: Fold,
    masks: FoldMasks,
    gates: Mapping[str, np.ndarray],
    cam: CamRecipe,
    *,
    variant: str,
    tolerance_mm: float,
    smoothness_px: float,
    seed: int,
) -> pd.DataFrame:
    """Measures per test volume of the CAM regions, the pseudo-masks and the rivals
    (`resnet_lstm_report.COLUMNS`).

    Methods `<classifier>_cam` and `<classifier>_kmeans`; other recipes are variants of the latter
    by their name, and `labelled_slices` is what the masks would be were the test slices' labels
    known.
    """
    truth, patients, spacings = truths(fold, "test"), fold.patients(), fold.spacings("test")
    found = {}
    for name in masks.test:
        for recipe, by_scan in masks.test[name].items():
            found[
                f"{name}_{CAM if recipe == CAM else KMEANS}",
                variant if recipe in (CAM, KMEANS) else recipe,
            ] = by_scan
        for recipe in (CAM, KMEANS):
            found[f"{name}_{recipe}", "labelled_slices"] = masks.test_labelled[name][recipe]
    scored = score_test_part(fold, masks.labellers["resnet_lstm"])
    found |= {
        (name, variant): each
        for name, each in rival_masks(fold, scored, gates, cam, smoothness_px, seed).items()
    }
    tables = [
        measured_volumes(
            each,
            truth,
            patients,
            spacings,
            method=method,
            variant=kind,
            fold=fold.number,
            tolerance_mm=tolerance_mm,
        )
        for (method, kind), each in found.items()
    ]
    return pd.concat(tables, ignore_index=True)


def teaching_quality(fold: Fold, masks: FoldMasks) -> pd.DataFrame:
    """How good the pseudo-masks are that teach the U-Net: mean Dice, TPR and RVD over training and
    validation volumes.

    Measured for the reader; nothing is chosen by it.
    """
    parts = ("train", "validation")
    truth = {scan: mask for part in parts for scan, mask in truths(fold, part).items()}
    patients, spacings = fold.patients(), dict.fromkeys(truth, (float("nan"),) * 3)
    rows = []
    for name, recipes in masks.labelled.items():
        for recipe, by_scan in recipes.items():
            table = measured_volumes(
                by_scan, truth, patients, spacings, method=name, variant=recipe, fold=fold.number
            )
            rows.append(
                {
                    "fold": fold.number,
                    "classifier": name,
                    "recipe": recipe,
                    **table[["dice", "tpr", "rvd"]].mean().to_dict(),
                }
            )
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Stage2:
    """volumes: measures per test volume and arm. segmentations: of the main arm, scan -> bool on
    the network's grid. history: of every U-Net. weights: SHA-256 by arm."""

    volumes: pd.DataFrame
    segmentations: Mapping[str, np.ndarray] = field(repr=False)
    history: pd.DataFrame = field(repr=False)
    weights: Mapping[str, str] = field(repr=False)


def run_arms(
    fold: Fold,
    masks: FoldMasks,
    arms: Sequence[str],
    settings: UNetSettings,
    loop: LoopSettings,
    *,
    variant: str,
    tolerance_mm: float,
    threshold: float = 0.5,
    report: Callable[[str], None] = print,
    restart_changed: bool = True,
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
    truth, tables, histories, weights, shown = truths(fold, "test"), [], [], {}, {}
    prepared = prepared_volumes(fold, settings.size, {arm != PLAIN for arm in arms})
    for arm in arms:
        if arm == SUPERVISED and truth_kind(fold) != "masks":
            report(f"{arm}: left out, {fold.store.dataset} has no masks to be supervised by")
            continue
        equalise = arm != PLAIN
        run, probabilities = train_arm(
            fold,
            arm,
            prepared[equalise],
            _teacher(fold, masks, arm),
            settings.changed(equalise=equalise),
            loop,
            report,
            restart_changed,
        )
        found = {
            scan: on_scan_grid(each, truth[scan].shape[1:], threshold)
            for scan, each in probabilities.items()
        }
        tables.append(
            measured_volumes(
                found,
                truth,
                fold.patients(),
                fold.spacings("test"),
                method=MAIN if arm == PLAIN else arm,
                variant=PLAIN if arm == PLAIN else variant,
                fold=fold.number,
                tolerance_mm=tolerance_mm,
            )
        )
        histories.append(run.history.assign(arm=arm, fold=fold.number))
        weights[arm] = run.weights_sha256
        if arm == MAIN:
            side = masks.labellers["resnet_lstm"].preprocessing.size
            shown = {
                scan: on_scan_grid(each, (side, side), threshold)
                for scan, each in probabilities.items()
            }
    return Stage2(
        pd.concat(tables, ignore_index=True),
        shown,
        pd.concat(histories, ignore_index=True),
        weights,
    )


def _teacher(fold: Fold, masks: FoldMasks, arm: str) -> Mapping[str, np.ndarray]:
    if arm == SUPERVISED:
        return {**truths(fold, "train"), **truths(fold, "validation")}
    classifier, recipe = TEACHERS[arm]
    return masks.labelled[classifier][recipe]
