"""Who taught whom, and what stands in which row: on masks that carry the name of their maker."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ich_study.methods.resnet_lstm import arms as arms_module
from ich_study.methods.resnet_lstm.arms import (
    ARMS,
    MAIN,
    PLAIN,
    SUPERVISED,
    run_arms,
    stage_1_volumes,
    teaching_quality,
)
from ich_study.methods.resnet_lstm.class_activation import CamRecipe
from ich_study.methods.resnet_lstm.study import FoldMasks, make_fold
from ich_study.methods.resnet_lstm.volumes import UNetSettings
from ich_study.training.config import LoopSettings, TrainingConfig
from tests.methods.resnet_lstm.fakes import SIDE, fake_heads, fake_split

STORE = fake_heads(5)
UNET = UNetSettings(size=SIDE, depth=8, channels=(4, 8), strides=(2,))
LOOP = LoopSettings(epochs=1)
PREPROCESSING = TrainingConfig(classes=("any",), size=SIDE).preprocessing()
CLASSIFIERS, RECIPES = ("resnet", "resnet_lstm"), ("cam", "kmeans", "authors")


def pixels_of(classifier, recipe):
    """Pixels in each slice of the masks that this classifier and recipe are said to have made."""
    return 1 + 10 * CLASSIFIERS.index(classifier) + RECIPES.index(recipe)


def marked(scans, extra=0):
    """Masks by classifier and recipe whose number of pixels tells the two."""
    made = {}
    for classifier in CLASSIFIERS:
        made[classifier] = {}
        for recipe in RECIPES:
            mask = np.zeros((SIDE, SIDE), bool)
            mask[0, : pixels_of(classifier, recipe) + extra] = True
            made[classifier][recipe] = {
                scan: np.repeat(mask[None], len(STORE.volumes[scan]), 0) for scan in scans
            }
    return made


@pytest.fixture(scope="module")
def fold(tmp_path_factory):
    return make_fold(STORE, fake_split(STORE), 0, 0.1, 1, tmp_path_factory.mktemp("arms"))


@pytest.fixture(scope="module")
def masks(fold):
    labeller = SimpleNamespace(preprocessing=PREPROCESSING)
    return FoldMasks(
        labelled=marked([*fold.scans("train"), *fold.scans("validation")]),
        test=marked(fold.scans("test")),
        test_labelled=marked(fold.scans("test"), extra=20),
        labellers=dict.fromkeys(CLASSIFIERS, labeller),
    )


@pytest.fixture
def trained(fold, masks, monkeypatch):
    """What every arm was given, and the volumes measured; nothing is trained."""
    given = {}

    def train_arm(fold, name, volumes, teacher, settings, *others):
        given[name] = SimpleNamespace(volumes=volumes, teacher=teacher, settings=settings)
        run = SimpleNamespace(history=pd.DataFrame({"train_loss": [1.0]}), weights_sha256=name)
        # half of the slices' first row lies exactly at the threshold, which is not above it
        probability = np.zeros((SIDE, SIDE), np.float32)
        probability[0], probability[0, :5] = 0.5, 0.51
        return run, {
            scan: np.repeat(probability[None], len(STORE.volumes[scan]), 0)
            for scan in fold.scans("test")
        }

    monkeypatch.setattr(arms_module, "train_arm", train_arm)
    done = run_arms(
        fold, masks, ARMS, UNET, LOOP, variant="printed", tolerance_mm=1.0, report=lambda line: None
    )
    return given, done


@pytest.mark.parametrize(
    ("arm", "classifier", "recipe"),
    [
        ("resnet_unet", "resnet", "cam"),
        ("resnet_lstm_unet", "resnet_lstm", "cam"),
        ("resnet_kmeans_unet", "resnet", "kmeans"),
        ("resnet_lstm_kmeans_unet", "resnet_lstm", "kmeans"),
        ("no_contrast_enhancement", "resnet_lstm", "kmeans"),
    ],
)
def test_each_row_of_table_2_is_taught_by_its_classifier_and_its_masks(
    trained, fold, arm, classifier, recipe
):
    given, _ = trained
    expected = pixels_of(classifier, recipe)
    for scan in (*fold.scans("train"), *fold.scans("validation")):
        assert (given[arm].teacher[scan].sum((1, 2)) == expected).all()
    assert not set(fold.scans("test")) & set(given[arm].teacher)


def test_the_bound_alone_is_taught_by_truth_masks_and_never_by_those_of_the_test_part(
    trained, fold
):
    given, _ = trained
    teacher = given[SUPERVISED].teacher
    assert set(teacher) == {*fold.scans("train"), *fold.scans("validation")}
    for scan, mask in teacher.items():
        assert np.array_equal(mask, STORE.masks[scan] > 0)


def test_only_the_arm_without_contrast_enhancement_sees_volumes_that_are_not_equalised(
    trained, fold
):
    given, _ = trained
    scan = fold.scans("test")[0]
    for arm in ARMS:
        assert given[arm].settings.equalise is (arm != PLAIN)
        same = np.array_equal(given[arm].volumes[scan], given[MAIN].volumes[scan])
        assert same is (arm != PLAIN)


def test_segmentations_are_cut_above_the_threshold_and_stand_in_their_own_row(trained, fold):
    _, done = trained
    assert set(done.segmentations) == set(fold.scans("test"))
    assert all((mask.sum((1, 2)) == 5).all() for mask in done.segmentations.values())
    rows = done.volumes.groupby(["method", "variant"], sort=False)["scan_id"].agg(list)
    assert rows.index.tolist() == [
        ("resnet_unet", "printed"),
        ("resnet_lstm_unet", "printed"),
        ("resnet_kmeans_unet", "printed"),
        ("resnet_lstm_kmeans_unet", "printed"),
        ("resnet_lstm_kmeans_unet", "no_contrast_enhancement"),
        ("unet", "printed"),
    ]
    assert all(scans == fold.scans("test") for scans in rows)
    assert dict(done.weights) == {arm: arm for arm in ARMS}


def test_masks_of_stage_1_stand_under_the_names_of_their_classifier_recipe_and_gate(fold, masks):
    gates = {scan: np.zeros(len(STORE.volumes[scan]), bool) for scan in fold.scans("test")}
    table = stage_1_volumes(
        fold,
        masks,
        gates,
        CamRecipe(),
        variant="printed",
        tolerance_mm=1.0,
        smoothness_px=2,
        seed=1,
    )
    millilitres = table.groupby(["method", "variant"])["predicted_ml"].first()
    slices = len(STORE.volumes[fold.scans("test")[0]])
    pixels = (millilitres / (2 * 2 * 5 / 1000) / slices).round(6)
    assert pixels["resnet_cam", "printed"] == 1
    assert pixels["resnet_kmeans", "printed"] == 2
    assert pixels["resnet_kmeans", "authors"] == 3
    assert pixels["resnet_lstm_cam", "printed"] == 11
    assert pixels["resnet_lstm_kmeans", "printed"] == 12
    assert pixels["resnet_lstm_kmeans", "authors"] == 13
    assert pixels["resnet_cam", "labelled_slices"] == 21
    assert pixels["resnet_lstm_kmeans", "labelled_slices"] == 32
    # the classifier called nothing, so the rivals that need its call have nothing to show
    assert pixels["centred_blob", "printed"] == 0 and pixels["random_map", "printed"] == 0
    assert pixels["hu_threshold", "printed"] > 0


def test_the_quality_of_the_teaching_masks_is_that_of_training_and_validation_scans(fold, masks):
    table = teaching_quality(fold, masks).set_index(["classifier", "recipe"])
    scans = [*fold.scans("train"), *fold.scans("validation")]
    for (classifier, recipe), row in table.iterrows():
        dice = []
        for scan in scans:
            truth, mask = STORE.masks[scan] > 0, masks.labelled[classifier][recipe][scan]
            dice.append(2 * (truth & mask).sum() / (truth.sum() + mask.sum()))
        assert row["dice"] == pytest.approx(np.mean(dice))
        assert row["rvd"] > 0 and row["fold"] == 0
