"""The whole method on heads whose lesions stand out: here it must find them, step by step."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from ich_study.errors import DataError, ParameterError
from ich_study.evaluate.rows import Rows
from ich_study.evaluate.truth import largest_lesions
from ich_study.methods.resnet_lstm import figures, study as resnet_lstm_study, tables
from ich_study.methods.resnet_lstm.arms import (
    ARMS,
    MAIN,
    prepared_volumes,
    run_arms,
    score_maps,
    stage_1_volumes,
)
from ich_study.methods.resnet_lstm.fold_masks import make_pseudo_masks
from ich_study.methods.resnet_lstm.settings import (
    CamRegion,
    ClusterRecipe,
    LSTMSettings,
    UNetSettings,
)
from ich_study.models.settings import BackboneSettings
from ich_study.published.claims import load_claims, verdicts
from ich_study.schema import RESULT_COLUMNS
from ich_study.splits.split import make_folds
from ich_study.training.config import LoopSettings, TrainingConfig
from tests.methods.resnet_lstm.fakes import SIDE, fake_heads, fake_split

STORE = fake_heads(20)
BACKBONE = {
    "name": "resnet18",
    "options": {"channels": [8, 16, 24, 32], "layers": [1, 1, 1, 1], "output_stride": 8},
}
CONFIG = TrainingConfig(
    classes=("any",),
    size=SIDE,
    windows=("brain_120",),
    normalisation="half",
    epochs=8,
    batch_size=16,
    optimizer="adamw",
    learning_rate=0.004,
    schedule="one_cycle",
    cache_in_memory=True,
    seed=1,
)
ROWS = Rows("03_resnet_lstm", "fake", 100, 1)


SETTINGS = resnet_lstm_study.MethodSettings(
    backbone=BackboneSettings(**BACKBONE),
    classifier=CONFIG,
    lstm=LSTMSettings(hidden=16),
    sequence=LoopSettings(epochs=2, learning_rate=0.001, optimizer="adamw", seed=1),
    head=LoopSettings(epochs=20, learning_rate=0.02, optimizer="adam", seed=1),
    cam=CamRegion(),
    recipes={"kmeans": ClusterRecipe(), "authors": ClusterRecipe(pixels="whole_slice")},
    unet=UNetSettings(size=SIDE, depth=8, channels=(4, 8), strides=(2,), batch_size=2),
    unet_loop=LoopSettings(epochs=15, learning_rate=0.02, optimizer="adam", seed=1),
)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    torch.set_num_threads(1)
    fold = resnet_lstm_study.make_fold(
        STORE, fake_split(STORE), 0, 0.1, 1, tmp_path_factory.mktemp("study")
    )
    stage = resnet_lstm_study.train_stage_1(fold, SETTINGS)
    predictions = stage.predictions(STORE, fold.rows["test"])
    masks = make_pseudo_masks(fold, stage, predictions, SETTINGS.cam, SETTINGS.recipes)
    prepared = prepared_volumes(STORE, STORE.volumes, SIDE, ARMS)
    measured = {"variant": "printed", "tolerance_mm": 2.0}
    trained = SETTINGS.unet, SETTINGS.unet_loop
    stage_2 = run_arms(fold, masks, ARMS, prepared, *trained, **measured)
    truth = fold.test_truth(stage.preprocessing)
    named = {"variant": "printed", "tolerance_mm": 2.0, "smoothness_px": 4, "seed": 1}
    first = stage_1_volumes(fold, masks, truth, SETTINGS.cam, **named)
    return (
        fold,
        stage,
        predictions,
        masks,
        stage_2,
        pd.concat([first, stage_2.volumes], ignore_index=True),
    )


def mean_dice(volumes, method, variant="printed"):
    return volumes[(volumes["method"] == method) & (volumes["variant"] == variant)]["dice"].mean()


def test_every_step_finds_lesions_that_stand_out(done):
    *_, volumes = done
    for rival in ("centred_blob", "random_map"):
        assert mean_dice(volumes, "resnet_lstm_cam", "labelled_slices") > 2 * mean_dice(
            volumes, rival
        )
    assert mean_dice(volumes, "resnet_lstm_kmeans", "labelled_slices") > mean_dice(
        volumes, "resnet_lstm_cam", "labelled_slices"
    )
    assert (
        mean_dice(volumes, MAIN) > max(0.6, mean_dice(volumes, "resnet_lstm_cam"))
        and mean_dice(volumes, "unet") > 0.75
    )


def test_the_tables_hold_what_the_claims_ask_for(done):
    fold, _, predictions, masks, _, volumes = done
    volume_table, differences = tables.volume_results(volumes, ROWS, "printed", "masks")
    slice_table, _ = tables.classifier_results(
        predictions, resnet_lstm_study.position_rival([fold]), ROWS
    )
    scores = score_maps(masks, fold.test_truth(masks.labellers["resnet"].preprocessing), 4, 1)
    map_table = tables.map_results(scores, ROWS, "masks")
    table = tables.joined([volume_table, slice_table, map_table])
    assert (
        list(table.columns) == list(RESULT_COLUMNS) and (table["study"] == "03_resnet_lstm").all()
    )
    claims = load_claims()
    decidable = [
        "rl-02",
        "rl-03",
        "rl-06",
        "rl-07",
        "rl-08",
        "rl-09",
        "rl-10",
        "rl-11",
        "rl-12",
        "rl-14",
    ]
    judged = verdicts(table, claims[claims["claim_id"].isin(decidable)])
    assert (judged["pairs"] > 0).all(), judged[["claim_id", "reason"]]
    assert (judged["verdict"] != "not measured").all(), judged[["claim_id", "reason"]]
    assert {
        "pointing_game",
        "mass_inside",
        "auroc_difference",
        "dice_difference",
        "dice_sd",
        "hausdorff",
    } <= set(table["metric"])
    assert set(zip(differences["first"], differences["second"])) == set(tables.PAIRS)


def test_pictures_are_drawn(done):
    fold, stage, _, masks, stage_2, volumes = done
    truth = fold.test_truth(stage.preprocessing)
    index = largest_lesions(truth, ("any",), 2)["index"].to_numpy()
    figure = figures.figure_3(
        truth, index, masks, stage_2.segmentations, ClusterRecipe(), "Figure 3"
    )
    titles = [axis.get_title() for axis in figure.axes[:7]]
    assert titles[:4] == ["slice", "truth", "CAM, ResNet", "CAM, ResNet-LSTM"]
    assert len(figure.axes) == 2 * 7 + 1, "and a colour bar"
    assert figures.volumes_figure(volumes, "dice", "test").axes


def test_run_again_it_only_loads(done, monkeypatch):
    fold, stage, *_ = done

    def never(*arguments, **named):
        raise AssertionError("trained again")

    monkeypatch.setattr("ich_study.training.epochs.learner_of", never)
    again = resnet_lstm_study.train_stage_1(fold, SETTINGS)
    assert dict(again.weights) == dict(stage.weights)


def test_bad_input_is_named(done, tmp_path):
    fold, _, _, masks, *_ = done
    trained = SETTINGS.unet, SETTINGS.unet_loop
    with pytest.raises(ParameterError, match="unknown"):
        run_arms(fold, masks, [MAIN, "other"], {}, *trained, variant="v", tolerance_mm=1.0)
    with pytest.raises(ParameterError, match="without folds"):
        resnet_lstm_study.make_fold(STORE, fake_split(STORE), 1, 0.1, 1, tmp_path)
    negative = fake_heads(20)
    negative.index["any"] = pd.array(np.zeros(len(negative.index), bool), dtype="boolean")
    with pytest.raises(DataError, match="one label only"):
        resnet_lstm_study.make_fold(negative, fake_split(negative), 0, 0.1, 1, tmp_path)
    blind = fake_heads(20, masks=False)
    with pytest.raises(DataError, match="neither masks nor boxes"):
        _ = resnet_lstm_study.make_fold(blind, fake_split(blind), 0, 0.1, 1, tmp_path).truth_kind


def test_settings_are_read_by_the_name_of_their_parameter():
    given = {
        "backbone": BACKBONE,
        "classifier": {"size": 32},
        "lstm": {"hidden": 8},
        "sequence_training": {"epochs": 3},
        "head_training": {"epochs": 4},
        "cam": {"threshold": 0.6},
        "recipes": {"kmeans": {"clusters": 5}},
        "unet": {"size": 64},
        "unet_training": {"epochs": 6},
    }
    shared = {"seed": 7, "device": "cpu", "restart_changed": True}
    found = resnet_lstm_study.MethodSettings.read(given, shared, sequence_length=32)
    assert (found.sequence.epochs, found.head.epochs, found.unet_loop.epochs) == (3, 4, 6)
    assert found.classifier.seed == found.head.seed == 7 and found.classifier.classes == ("any",)
    assert found.unet_loop.early_stopping_patience is None and found.sequence_length == 32
    trainings = (found.classifier, found.sequence, found.head, found.unet_loop)
    assert all(training.restart_changed for training in trainings)
    assert found.cam.threshold == 0.6 and found.recipes["kmeans"].clusters == 5
    for name, entries in (
        ("sequence_training", {"epoch": 1}),
        ("unet_training", {"epochs": "three"}),
        ("recipes", {"kmeans": {"cluster": 4}}),
        ("variant", "kmeans"),
        ("backbone", {"network": "resnet18"}),
    ):
        with pytest.raises(ParameterError, match=name):
            resnet_lstm_study.MethodSettings.read({**given, name: entries}, shared)


def test_folds_are_disjoint_and_boxes_become_truth_where_there_are_no_masks(tmp_path):
    boxed = fake_heads(20, masks=False)
    boxed.index["has_boxes"] = True
    boxed.boxes = pd.DataFrame(
        [
            {
                "scan_id": "scan000",
                "slice_index": 2,
                "x": 3.0,
                "y": 5.0,
                "width": 4.0,
                "height": 2.0,
                "label": "any",
            }
        ]
    )
    folds = make_folds(boxed.index, 5, 1)
    tested = []
    for number in range(3):
        fold = resnet_lstm_study.make_fold(boxed, folds, number, 0.1, 1, tmp_path)
        assert [fold.rows[part]["patient_id"].nunique() for part in resnet_lstm_study.PARTS] == [
            14,
            2,
            4,
        ]
        tested += fold.scans("test")
        assert fold.truth_kind == "boxes"
        if "scan000" in fold.scans("test"):
            found = fold.truth("scan000")
            assert found.sum() == 8 and found[2, 5:7, 3:7].all()
    assert len(tested) == len(set(tested)) == 12


def test_each_fold_tests_the_patients_of_its_own_number_and_learns_from_none_of_them(tmp_path):
    folds = make_folds(STORE.index, 5, 1)
    for number in range(3):
        fold = resnet_lstm_study.make_fold(STORE, folds, number, 0.1, 1, tmp_path)
        expected = set(folds.loc[folds["fold"] == number, "patient_id"])
        assert set(fold.rows["test"]["patient_id"]) == expected
        for part in ("train", "validation"):
            assert expected.isdisjoint(fold.rows[part]["patient_id"])
        assert fold.folder == tmp_path / f"fold_{number}"


def test_the_rival_of_height_learns_from_the_training_part_of_its_own_fold(tmp_path):
    fold = resnet_lstm_study.make_fold(STORE, fake_split(STORE), 0, 0.1, 1, tmp_path)
    last = fold.rows["train"].groupby("scan_id")["slice_index"].transform("max")
    # the topmost slice is positive where it learns, and nowhere where it is tested
    top = pd.array(fold.rows["train"]["slice_index"] == last, "boolean")
    rows = {**fold.rows, "train": fold.rows["train"].assign(any=top)}
    rows["test"] = rows["test"].assign(any=pd.array([False] * len(rows["test"]), "boolean"))
    found = resnet_lstm_study.position_rival([replace(fold, rows=rows)])
    # fitted on the tested slices, no height would be above 0.1
    assert found.loc[found["position"] == 1, "probability"].min() > 0.5
    assert set(found["scan_id"]) == set(fold.scans("test"))


def test_stage_1_learns_from_the_training_part_and_stops_by_the_validation_part(
    tmp_path, monkeypatch
):
    fold = resnet_lstm_study.make_fold(STORE, fake_split(STORE), 0, 0.1, 1, tmp_path)
    seen = {}

    class Stopped(Exception):
        pass

    def classifier(network, config, store, train, validation, *others):
        seen["classifier"] = train, validation
        return SimpleNamespace(preprocessing=None, device=None)

    def sequences(store, parts, *others, **settings):
        seen["sequences"] = parts
        raise Stopped

    monkeypatch.setattr(resnet_lstm_study, "train_classifier", classifier)
    monkeypatch.setattr(resnet_lstm_study, "SequenceTask", sequences)
    with pytest.raises(Stopped):
        resnet_lstm_study.train_stage_1(fold, SETTINGS)
    for train, validation in seen.values():
        assert set(train["scan_id"]) == set(fold.scans("train"))
        assert set(validation["scan_id"]) == set(fold.scans("validation"))
    # the author's notebook: the first slices of a volume alone reach either classifier
    with pytest.raises(Stopped):
        resnet_lstm_study.train_stage_1(fold, replace(SETTINGS, sequence_length=3))
    for part in (rows for parts in seen.values() for rows in parts):
        assert part.groupby("scan_id")["slice_index"].max().eq(2).all()


def test_masks_come_before_boxes_and_each_scan_has_its_own_truth(tmp_path):
    masked, boxed = fake_heads(5), fake_heads(5, masks=False)
    masked.index["has_boxes"] = boxed.index["has_boxes"] = True
    fold = resnet_lstm_study.make_fold(masked, fake_split(masked), 0, 0.1, 1, tmp_path)
    assert fold.truth_kind == "masks"
    for scan in masked.masks:
        assert np.array_equal(fold.truth(scan), masked.masks[scan] > 0)
    scan, empty = fold.scans("train")[:2]
    place = {"scan_id": scan, "slice_index": 2, "label": "any"}
    boxed.boxes = pd.DataFrame([{**place, "x": 3.0, "y": 5.0, "width": 4.0, "height": 2.0}])
    fold = resnet_lstm_study.make_fold(boxed, fake_split(boxed), 0, 0.1, 1, tmp_path)
    assert fold.truth_kind == "boxes" and not fold.truth(empty).any()
    assert fold.truth(scan).sum() == 8 and fold.truth(scan)[2, 5:7, 3:7].all()


def test_patient_and_spacing_of_a_scan_are_its_own(tmp_path):
    fold = resnet_lstm_study.make_fold(STORE, fake_split(STORE), 0, 0.1, 1, tmp_path)
    assert fold.patient("scan003") == "p003"
    grid = fold.grid("scan003")
    assert set(grid.depth_mm) == {5.0} and grid.pixel_mm == (2.0, 2.0)
