"""The whole method on heads whose lesions stand out: here it must find them, step by step."""

from types import SimpleNamespace

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
from ich_study.training.config import LoopSettings, TrainingConfig
from tests.methods.resnet_lstm.fakes import SIDE, fake_heads, fake_split
from tests.methods.resnet_lstm.test_pseudo_masks import labeller

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
    sequence = LoopSettings(epochs=2, learning_rate=0.001, optimizer="adamw", seed=1)
    head = LoopSettings(epochs=20, learning_rate=0.02, optimizer="adam", seed=1)
    stage = resnet_lstm_study.train_stage_1(
        fold, CONFIG, BACKBONE, LSTMSettings(hidden=16), sequence, head, report=quiet
    )
    predictions = stage.predictions(STORE, fold.rows["test"])
    recipes = {"kmeans": ClusterRecipe(), "authors": ClusterRecipe(pixels="whole_slice")}
    masks = resnet_lstm_study.make_pseudo_masks(fold, stage, predictions, CamRecipe(), recipes)
    unet = UNetSettings(size=SIDE, depth=8, channels=(4, 8), strides=(2,), batch_size=2)
    loop = LoopSettings(epochs=15, learning_rate=0.02, optimizer="adam", seed=1)
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

    monkeypatch.setattr("ich_study.training.loop._learner", never)
    sequence = LoopSettings(epochs=2, learning_rate=0.001, optimizer="adamw", seed=1)
    head = LoopSettings(epochs=20, learning_rate=0.02, optimizer="adam", seed=1)
    again = resnet_lstm_study.train_stage_1(
        fold, CONFIG, BACKBONE, LSTMSettings(hidden=16), sequence, head, report=quiet
    )
    assert dict(again.weights) == dict(stage.weights)


def test_bad_input_is_named(done, tmp_path):
    fold, _, _, masks, *_ = done
    unet, loop = (
        UNetSettings(size=SIDE, depth=8, channels=(4, 8), strides=(2,)),
        LoopSettings(epochs=1),
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
            LoopSettings.read(entries, "sequence_training")
    with pytest.raises(ParameterError, match="backbone"):
        resnet_lstm_study.train_stage_1(
            fold, CONFIG, {"network": "resnet18"}, LSTMSettings(hidden=4), loop, loop, report=quiet
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


def called(store, scans, chosen):
    """Predictions of a classifier that calls the slices `chosen` of each scan, and no other."""
    rows = store.index[store.index["scan_id"].isin(scans)][["scan_id", "slice_index"]].copy()
    probability = [0.9 if index in chosen else 0.1 for index in rows["slice_index"]]
    return rows.assign(probability=probability)


@pytest.fixture(scope="module")
def gated(tmp_path_factory):
    """Pseudo-masks of networks that were never trained: their calls have nothing to do with the
    labels, and one calls slice 0 while the other calls slice 1."""
    store = fake_heads(5)
    fold = resnet_lstm_study.make_fold(
        store, fake_split(store), 0, 0.1, 1, tmp_path_factory.mktemp("gates")
    )
    first, second = labeller(source=store), labeller(source=store, network_seed=3)
    stage = SimpleNamespace(
        resnet=first.backbone,
        refitted=second.backbone,
        weights={"resnet": "a" * 64, "refitted": "b" * 64},
        preprocessing=first.preprocessing,
        device=first.device,
    )
    scans = fold.scans("test")
    predictions = {
        "resnet": called(store, scans, {0}),
        "resnet_lstm_refitted": called(store, scans, {1}),
        "resnet_lstm": called(store, scans, {2}),
    }
    masks = resnet_lstm_study.make_pseudo_masks(
        fold, stage, predictions, CamRecipe(), {"kmeans": ClusterRecipe()}
    )
    return fold, masks, {"resnet": first, "resnet_lstm": second}


@pytest.mark.parametrize(("classifier", "chosen"), [("resnet", 0), ("resnet_lstm", 1)])
def test_masks_of_test_slices_stand_where_the_own_classifier_called_and_not_on_labels(
    gated, classifier, chosen
):
    fold, masks, _ = gated
    for scan in fold.scans("test"):
        labels = fold.labels("test")[scan]
        shown = masks.test[classifier]["cam"][scan].any((1, 2))
        assert np.flatnonzero(shown).tolist() == [chosen] != np.flatnonzero(labels).tolist()
        labelled = masks.test_labelled[classifier]["cam"][scan].any((1, 2))
        assert np.array_equal(labelled, labels)
        kmeans = masks.test[classifier]["kmeans"][scan]
        assert (kmeans <= masks.test[classifier]["cam"][scan]).all() and kmeans.any()


def test_masks_that_teach_stand_on_positive_labels_of_training_and_validation_scans(gated):
    fold, masks, _ = gated
    labels = {**fold.labels("train"), **fold.labels("validation")}
    for classifier in ("resnet", "resnet_lstm"):
        taught = masks.labelled[classifier]["cam"]
        assert set(taught) == set(labels) and set(taught).isdisjoint(fold.scans("test"))
        for scan, mask in taught.items():
            assert np.array_equal(mask.any((1, 2)), labels[scan])


def test_masks_stand_under_the_name_of_the_network_that_made_them(gated):
    fold, masks, networks = gated
    scan = fold.scans("train")[0]
    positive = np.flatnonzero(fold.labels("train")[scan])
    for classifier, network in networks.items():
        expected = network.masks(scan, positive)["cam"]
        assert np.array_equal(masks.labelled[classifier]["cam"][scan][positive], expected)
    assert not np.array_equal(
        masks.labelled["resnet"]["cam"][scan], masks.labelled["resnet_lstm"]["cam"][scan]
    )


def test_a_probability_at_the_gate_is_a_call_and_slices_come_in_their_order():
    rows = pd.DataFrame(
        {
            "scan_id": ["a", "a", "b", "a"],
            "slice_index": [2, 0, 0, 1],
            "probability": [0.6, 0.5, 0.2, 0.4999],
        }
    )
    calls = resnet_lstm_study.called_positive(rows, 0.5)
    assert calls["a"].tolist() == [True, False, True] and calls["b"].tolist() == [False]


def test_each_fold_tests_the_patients_of_its_own_number_and_learns_from_none_of_them(tmp_path):
    folds = make_folds(STORE.index, 5, 1)
    for number in range(3):
        fold = resnet_lstm_study.make_fold(STORE, folds, number, 0.1, 1, tmp_path)
        expected = set(folds.loc[folds["fold"] == number, "patient_id"])
        assert set(fold.rows["test"]["patient_id"]) == expected
        for part in ("train", "validation"):
            assert expected.isdisjoint(fold.rows[part]["patient_id"])
        assert fold.folder == tmp_path / f"fold_{number}"


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
    loop = LoopSettings(epochs=1)
    with pytest.raises(Stopped):
        resnet_lstm_study.train_stage_1(
            fold, CONFIG, BACKBONE, LSTMSettings(hidden=4), loop, loop, report=quiet
        )
    for train, validation in seen.values():
        assert set(train["scan_id"]) == set(fold.scans("train"))
        assert set(validation["scan_id"]) == set(fold.scans("validation"))


def test_a_unet_learns_from_training_scans_and_is_asked_about_test_scans_alone(
    tmp_path, monkeypatch
):
    fold = resnet_lstm_study.make_fold(STORE, fake_split(STORE), 0, 0.1, 1, tmp_path)
    tasks, asked = [], []
    monkeypatch.setattr(
        resnet_lstm_study,
        "train_unet",
        lambda task, *others: tasks.append(task) or SimpleNamespace(model=None, device=None),
    )
    monkeypatch.setattr(
        resnet_lstm_study, "segment", lambda model, volume, *others: asked.append(volume)
    )
    volumes = {scan: (volume > 50).astype(np.uint8) for scan, volume in STORE.volumes.items()}
    masks = {scan: mask > 0 for scan, mask in STORE.masks.items()}
    settings = UNetSettings(size=SIDE, depth=8, channels=(4, 8), strides=(2,))
    _, found = resnet_lstm_study.train_arm(
        fold, MAIN, volumes, masks, settings, LoopSettings(epochs=1), report=quiet
    )
    assert tasks[0].parts == (fold.scans("train"), fold.scans("validation"))
    assert list(found) == fold.scans("test")
    assert all(given is volumes[scan] for given, scan in zip(asked, fold.scans("test")))


def test_slices_beyond_the_first_of_each_volume_are_counted_as_lost():
    store = fake_heads(2)
    lost = resnet_lstm_study.lost_to_sequence(store, 5)
    counts = store.index.groupby("scan_id")["slice_index"].size()
    assert lost.set_index("scan_id")["slices"].to_dict() == (counts - 5).to_dict()
    beyond = store.index[store.index["slice_index"] >= 5].groupby("scan_id")["any"].sum()
    assert lost.set_index("scan_id")["positive"].to_dict() == beyond.to_dict()
    assert resnet_lstm_study.lost_to_sequence(store, None).empty
