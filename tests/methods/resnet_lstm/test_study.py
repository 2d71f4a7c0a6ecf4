"""The whole method on heads whose lesions stand out: here it must find them, step by step."""

import numpy as np
import pandas as pd
import pytest
import torch

from ich_study.errors import DataError, ParameterError
from ich_study.methods.resnet_lstm import (
    figures as figures_resnet_lstm,
    results,
    study as resnet_lstm_study,
    truth,
)
from ich_study.methods.resnet_lstm.arms import (
    ARMS,
    MAIN,
    PLAIN,
    run_arms,
    stage_1_volumes,
    teaching_quality,
)
from ich_study.methods.resnet_lstm.class_activation import CamRecipe
from ich_study.methods.resnet_lstm.network import LSTMSettings
from ich_study.methods.resnet_lstm.pseudo_labels import ClusterRecipe
from ich_study.methods.resnet_lstm.volumes import UNetSettings
from ich_study.published.claims import load_claims, verdicts
from ich_study.schema import RESULT_COLUMNS
from ich_study.splits.split import make_folds
from ich_study.training.config import TrainingConfig
from ich_study.training.epoch_loop import LoopSettings
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
COMMON = {"study": "03_resnet_lstm", "dataset": "fake", "seed": 1}


def quiet(line):
    pass


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    torch.set_num_threads(1)
    fold = resnet_lstm_study.make_fold(
        STORE, fake_split(STORE), 0, 0.1, 1, tmp_path_factory.mktemp("study")
    )
    sequence = LoopSettings(epochs=2, learning_rate=0.001, optimizer="adamw", patience=None, seed=1)
    head = LoopSettings(epochs=20, learning_rate=0.02, optimizer="adam", patience=None, seed=1)
    stage = resnet_lstm_study.train_stage_1(
        fold, CONFIG, BACKBONE, LSTMSettings(16), sequence, head, report=quiet
    )
    predictions = stage.predictions(STORE, fold.rows["test"])
    recipes = {"kmeans": ClusterRecipe(), "authors": ClusterRecipe(pixels="whole_slice")}
    masks = resnet_lstm_study.make_pseudo_masks(fold, stage, predictions, CamRecipe(), recipes)
    unet = UNetSettings(size=SIDE, depth=8, channels=(4, 8), strides=(2,), batch_size=2)
    loop = LoopSettings(epochs=15, learning_rate=0.02, optimizer="adam", patience=None, seed=1)
    stage_2 = run_arms(
        fold, masks, ARMS, unet, loop, variant="printed", tolerance_mm=2.0, report=quiet
    )
    gates = resnet_lstm_study.called_positive(predictions["resnet_lstm_refitted"], 0.5)
    first = stage_1_volumes(
        fold,
        masks,
        gates,
        CamRecipe(),
        variant="printed",
        tolerance_mm=2.0,
        smoothness_px=4,
        seed=1,
    )
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


def test_pseudo_masks_stand_on_positive_labels_in_training_and_on_called_slices_in_the_test_part(
    done,
):
    fold, _, predictions, masks, *_ = done
    for scan, labels in {**fold.labels("train"), **fold.labels("validation")}.items():
        assert not masks.labelled["resnet"]["kmeans"][scan][~labels].any()
    called = resnet_lstm_study.called_positive(predictions["resnet"], 0.5)
    for scan in fold.scans("test"):
        assert not masks.test["resnet"]["cam"][scan][~called[scan]].any()
        assert masks.test_labelled["resnet"]["cam"][scan][fold.labels("test")[scan]].any()
    assert set(fold.scans("test")).isdisjoint(masks.labelled["resnet"]["cam"])
    assert (teaching_quality(fold, masks)["dice"] >= 0).all()


def test_the_tables_hold_what_the_claims_ask_for(done):
    fold, _, predictions, masks, _, volumes = done
    volume_table, differences = results.volume_results(volumes, COMMON, "printed", "masks", 100, 1)
    slice_table, _ = results.classifier_results(predictions, "fake", COMMON, 100, 1)
    parts = truth.map_rows(
        fold, masks.labellers, truth.score_test_part(fold, masks.labellers["resnet"]), 4, 1
    )
    table = results.joined(
        [
            volume_table,
            slice_table,
            results.localisation_results(parts, COMMON, "printed", "masks", 100, 1),
        ]
    )
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
    assert not judged["reason"].str.contains("rows to compare are missing|no such rows").any(), (
        judged[["claim_id", "reason"]]
    )
    assert {
        "pointing_game",
        "mass_inside",
        "auroc_difference",
        "dice_difference",
        "dice_sd",
        "hausdorff",
    } <= set(table["metric"])
    assert (differences["first"] == PLAIN).sum() == 0 and (
        differences["second"] == PLAIN
    ).sum() == 3


def test_against_boxes_every_measure_says_so(done):
    *_, volumes = done
    table, differences = results.volume_results(volumes, COMMON, "printed", "boxes", 20, 1)
    assert (
        table["metric"].str.startswith("box_").all()
        and differences["metric"].str.startswith("box_").all()
    )


def test_pictures_are_drawn_of_slices_that_the_truth_alone_chose(done):
    fold, _, _, masks, stage_2, volumes = done
    rows = figures_resnet_lstm.shown_slices(fold, truth.truths(fold, "test"), 2)
    assert len(rows) == 2 and rows["any"].all()
    figure = figures_resnet_lstm.figure_3(
        fold, masks, rows, stage_2.segmentations, ClusterRecipe(), "test"
    )
    assert len(figure.axes) == 2 * 7
    slices = [STORE.volume(row.scan_id)[row.slice_index] for row in rows.itertuples()]
    assert len(figures_resnet_lstm.preprocessing_figure(slices, ["a", "b"], "test").axes) == 12
    assert figures_resnet_lstm.volumes_figure(volumes, "dice", "test").axes


def test_run_again_it_only_loads(done, monkeypatch):
    fold, stage, *_ = done

    def never(*arguments, **named):
        raise AssertionError("trained again")

    monkeypatch.setattr("ich_study.training.epoch_loop._epoch", never)
    sequence = LoopSettings(epochs=2, learning_rate=0.001, optimizer="adamw", patience=None, seed=1)
    head = LoopSettings(epochs=20, learning_rate=0.02, optimizer="adam", patience=None, seed=1)
    again = resnet_lstm_study.train_stage_1(
        fold, CONFIG, BACKBONE, LSTMSettings(16), sequence, head, report=quiet
    )
    assert dict(again.weights) == dict(stage.weights)


def test_bad_input_is_named(done, tmp_path):
    fold, _, _, masks, *_ = done
    unet, loop = (
        UNetSettings(size=SIDE, depth=8, channels=(4, 8), strides=(2,)),
        LoopSettings(epochs=1, patience=None),
    )
    with pytest.raises(ParameterError, match="unknown"):
        run_arms(fold, masks, [MAIN, "other"], unet, loop, variant="printed", tolerance_mm=1.0)
    with pytest.raises(ParameterError, match="without folds"):
        resnet_lstm_study.make_fold(STORE, fake_split(STORE), 1, 0.1, 1, tmp_path)
    negative = fake_heads(20)
    negative.index["any"] = pd.array(np.zeros(len(negative.index), bool), dtype="boolean")
    with pytest.raises(DataError, match="one label only"):
        resnet_lstm_study.make_fold(negative, fake_split(negative), 0, 0.1, 1, tmp_path)
    blind = fake_heads(20, masks=False)
    with pytest.raises(DataError, match="neither masks nor boxes"):
        truth.truth_kind(resnet_lstm_study.make_fold(blind, fake_split(blind), 0, 0.1, 1, tmp_path))
    for entries in ({"epoch": 1}, {"epochs": "three"}):
        with pytest.raises(ParameterError, match="sequence_training"):
            resnet_lstm_study.settings_from(LoopSettings, entries, "sequence_training")
    with pytest.raises(ParameterError, match="backbone"):
        resnet_lstm_study.train_stage_1(
            fold, CONFIG, {"network": "resnet18"}, LSTMSettings(4), loop, loop, report=quiet
        )


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
        assert truth.truth_kind(fold) == "boxes"
        if "scan000" in fold.scans("test"):
            found = truth.truths(fold, "test")["scan000"]
            assert found.sum() == 8 and found[2, 5:7, 3:7].all()
    assert len(tested) == len(set(tested)) == 12
