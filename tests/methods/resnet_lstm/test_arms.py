"""Who taught whom, and what stands in which row: on masks that carry the name of their maker."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ich_study.evaluate.heat import ArrayHeat
from ich_study.methods.resnet_lstm import arms as arms_module
from ich_study.methods.resnet_lstm.arms import (
    ARMS,
    MAIN,
    PLAIN,
    SUPERVISED,
    prepared_volumes,
    rival_masks,
    run_arms,
    score_maps,
    stage_1_volumes,
    teaching_quality,
    train_arm,
)
from ich_study.methods.resnet_lstm.fold_masks import FoldMasks
from ich_study.methods.resnet_lstm.settings import CamRegion, UNetSettings
from ich_study.methods.resnet_lstm.study import make_fold
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


def marked():
    """Masks by classifier and recipe whose number of pixels tells the two."""
    made = {}
    for classifier in CLASSIFIERS:
        made[classifier] = {}
        for recipe in RECIPES:
            mask = np.zeros((SIDE, SIDE), bool)
            mask[0, : pixels_of(classifier, recipe)] = True
            made[classifier][recipe] = {
                scan: np.repeat(mask[None], len(volume), 0)
                for scan, volume in STORE.volumes.items()
            }
    return made


@pytest.fixture(scope="module")
def fold(tmp_path_factory):
    return make_fold(STORE, fake_split(STORE), 0, 0.1, 1, tmp_path_factory.mktemp("arms"))


@pytest.fixture(scope="module")
def masks(fold):
    """Test scans: the first classifier calls slice 0, the second calls slices 0 and 1."""
    called = {}
    for classifier, count in zip(CLASSIFIERS, (1, 2)):
        called[classifier] = {
            scan: np.arange(len(STORE.volumes[scan])) < count for scan in fold.scans("test")
        }
    labels = fold.labels("train", "validation", "test")
    labeller = SimpleNamespace(preprocessing=PREPROCESSING)
    return FoldMasks(marked(), labels, called, dict.fromkeys(CLASSIFIERS, labeller))


@pytest.fixture(scope="module")
def prepared():
    return prepared_volumes(STORE, STORE.volumes, SIDE, ARMS)


@pytest.fixture
def trained(fold, masks, prepared, monkeypatch):
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
    named = {"variant": "printed", "tolerance_mm": 1.0}
    done = run_arms(fold, masks, ARMS, prepared, UNET, LOOP, **named)
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
    labels = fold.labels("train", "validation")
    assert set(given[arm].teacher) == set(labels)
    for scan, mask in given[arm].teacher.items():
        assert np.array_equal(mask.sum((1, 2)), labels[scan] * pixels_of(classifier, recipe))


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
    named = {"variant": "printed", "tolerance_mm": 1.0, "smoothness_px": 2.0, "seed": 1}
    table = stage_1_volumes(fold, masks, fold.test_truth(PREPROCESSING), CamRegion(), **named)
    millilitres = table.groupby(["method", "variant"])["predicted_ml"].first()
    pixels = (millilitres / (2 * 2 * 5 / 1000)).round(6)
    positive = fold.labels("test")[fold.scans("test")[0]].sum()
    assert positive > 2
    # one slice called by the one classifier, two by the other, and as many as there are labels
    assert pixels["resnet_cam", "printed"] == 1
    assert pixels["resnet_kmeans", "printed"] == 2
    assert pixels["resnet_kmeans", "authors"] == 3
    assert pixels["resnet_lstm_cam", "printed"] == 2 * 11
    assert pixels["resnet_lstm_kmeans", "printed"] == 2 * 12
    assert pixels["resnet_lstm_kmeans", "authors"] == 2 * 13
    assert pixels["resnet_cam", "labelled_slices"] == positive * 1
    assert pixels["resnet_kmeans", "labelled_slices"] == positive * 2
    assert pixels["resnet_lstm_cam", "labelled_slices"] == positive * 11
    assert pixels["resnet_lstm_kmeans", "labelled_slices"] == positive * 12
    # blob and random map stand on the two slices that the classifier with the LSTM calls
    rivals = dict(
        rival_masks(
            fold.test_truth(PREPROCESSING), masks.called["resnet_lstm"], CamRegion(), 2.0, 1
        )
    )
    for name in ("hu_threshold", "centred_blob", "random_map"):
        assert pixels[name, "printed"] == rivals[name][fold.scans("test")[0]].sum() > 0


def test_blob_and_random_map_need_the_classifiers_call_and_the_hu_threshold_does_not(fold):
    scan = fold.scans("test")[0]
    called = np.zeros(len(STORE.volumes[scan]), bool)
    called[1] = True
    truth = fold.test_truth(PREPROCESSING)
    found = dict(rival_masks(truth, {scan: called}, CamRegion(), 2.0, 1))
    for name in ("centred_blob", "random_map"):
        assert np.array_equal(found[name][scan].any((1, 2)), called)
    lesion = (STORE.masks[scan] > 0).any((1, 2))
    assert found["hu_threshold"][scan].any((1, 2))[lesion].all()


def test_maps_are_scored_on_slices_with_truth_by_the_pixel_of_their_maximum(fold):
    truth = fold.test_truth(PREPROCESSING)
    hits, misses = np.zeros((2, len(truth), 1, SIDE, SIDE), np.float32)
    misses[:, 0, 0, 0] = 1
    for number, mask in enumerate(truth.mask()):
        row, column = np.argwhere(mask)[0] if mask.any() else (0, 0)
        hits[number, 0, row, column] = 1
    masks = SimpleNamespace(
        heats=lambda rows, variant: [
            ArrayHeat("resnet_cam", variant, None, ("any",), misses),
            ArrayHeat("resnet_lstm_cam", variant, None, ("any",), hits),
        ]
    )
    found = {scores.name: scores for scores in score_maps(masks, truth, 2.0, 1)}
    positive = truth.positive()
    assert np.array_equal(found["resnet_lstm_cam"].positive, positive)
    assert found["resnet_lstm_cam"].pointing[positive].min() == 1
    assert found["resnet_lstm_cam"].mass[positive].min() == 1
    assert found["resnet_cam"].pointing[positive].max() == 0
    assert found["resnet_cam"].mass[positive].max() == 0
    assert list(found) == [
        "resnet_cam",
        "resnet_lstm_cam",
        "hu_threshold",
        "centred_blob",
        "random_map",
    ]


def test_a_unet_learns_from_training_scans_and_is_asked_about_test_scans_alone(fold, monkeypatch):
    tasks, asked = [], []
    monkeypatch.setattr(
        arms_module,
        "train_unet",
        lambda task, *others: tasks.append(task) or SimpleNamespace(model=None, device=None),
    )
    monkeypatch.setattr(arms_module, "segment", lambda model, volume, *others: asked.append(volume))
    volumes = {scan: (volume > 50).astype(np.uint8) for scan, volume in STORE.volumes.items()}
    masks = {scan: mask > 0 for scan, mask in STORE.masks.items()}
    _, found = train_arm(fold, MAIN, volumes, masks, UNET, LOOP)
    assert tasks[0].parts == (fold.scans("train"), fold.scans("validation"))
    assert list(found) == fold.scans("test")
    assert all(given is volumes[scan] for given, scan in zip(asked, fold.scans("test")))


def test_the_quality_of_the_teaching_masks_is_that_of_training_and_validation_scans(fold):
    half = np.zeros((SIDE, SIDE), bool)
    half[:, : SIDE // 2] = True
    made = {scan: np.repeat(half[None], len(truth), 0) for scan, truth in STORE.masks.items()}
    tested = {scan: np.ones(len(made[scan]), bool) for scan in fold.scans("test")}
    labels = fold.labels("train", "validation", "test")
    masks = FoldMasks({"resnet": {"cam": made}}, labels, {"resnet": tested}, {})
    row = teaching_quality(fold, masks).iloc[0]
    dice = {}
    for scan, mask in STORE.masks.items():
        shown = made[scan] & labels[scan][:, None, None]
        dice[scan] = 2 * (shown & (mask > 0)).sum() / (shown.sum() + (mask > 0).sum())
    taught = [dice[scan] for scan in fold.scans("train", "validation")]
    assert row["dice"] == pytest.approx(np.mean(taught)) != pytest.approx(np.mean([*dice.values()]))
    assert (row["classifier"], row["recipe"], row["fold"]) == ("resnet", "cam", 0)
