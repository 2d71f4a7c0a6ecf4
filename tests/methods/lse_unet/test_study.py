"""Counts under every protocol: Algorithm 1 drawn pixel by pixel, and where each threshold and each
decision came from."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ich_study.errors import DataError, StudyError
from ich_study.evaluate.thresholds import Threshold
from ich_study.methods.lse_unet import study as lse_study
from ich_study.methods.lse_unet.algorithm1 import label_maps
from ich_study.methods.lse_unet.joint_thresholds import best_setting, cross_fitted, setting_of
from ich_study.methods.lse_unet.study import MethodMaps
from ich_study.metrics.overlap import dice
from ich_study.schema import SUBTYPES, UNSPECIFIED_HEMORRHAGE
from tests.methods.lse_unet.cases import (
    GOOD,
    LABELS,
    RNG,
    SCORED,
    VALIDATION_LABELS,
    made_of,
    method,
    two_kinds,
    youden,
)
from tests.metrics.label_counts import label_counts


def protocols_of(made, slices, validation_labels=VALIDATION_LABELS):
    histograms = lse_study.joint_histograms(made, slices)
    found = lse_study.protocols(made, histograms, slices, validation_labels, 0)
    return {(item.rule, item.variant, item.source): item for item in found}


def test_histograms_count_what_algorithm_1_draws():
    histograms = lse_study.joint_histograms(GOOD, SCORED)
    protocols = lse_study.protocols(GOOD, histograms, SCORED, LABELS, 0)
    scans = SCORED.rows["scan_id"].to_numpy()
    for protocol in protocols:
        if protocol.thresholds:
            present = LABELS if protocol.rule == "truth" else GOOD.logits > 0
            drawn = label_maps(
                GOOD.levels.read(slice(None)),
                present,
                setting_of(protocol.thresholds, SUBTYPES),
            )
            oracle = label_counts(drawn, SCORED.codes, 6).by_group(scans)
            assert all(
                np.array_equal(getattr(protocol.counts, name), getattr(oracle, name))
                for name in ("tp", "fp", "fn")
            )
    assert {(item.variant, item.source) for item in protocols} == {
        ("printed", "masks-test"),
        ("printed", "masks-validation"),
        ("printed", "labels"),
        ("threshold_125", "none"),
        ("threshold_75", "none"),
        ("threshold_25", "none"),
    }
    of_authors = replace(GOOD.heat, variant="authors")
    found = protocols_of(replace(GOOD, heat=of_authors), SCORED, None)
    assert ("truth", "authors_threshold_125", "none") in found
    best = {
        item.source: dice(item.counts.sum(0))[1:].mean()
        for item in protocols
        if item.rule == "truth" and item.variant == "printed"
    }
    assert best["masks-test"] >= best["masks-validation"] and best["masks-test"] > 0.5


def test_every_threshold_comes_from_where_its_name_says():
    found = protocols_of(*two_kinds())
    cuts = {
        key: {name: (cut.value, cut.source) for name, cut in item.thresholds.items()}
        for key, item in found.items()
        if key[0] == "truth"
    }
    assert cuts == {
        ("truth", "printed", "masks-test"): {"IPH": (200, "masks-test")},
        ("truth", "printed", "masks-validation"): {},
        ("truth", "printed", "labels"): {"IPH": (25, "labels")},
        ("truth", "threshold_125", "none"): {"IPH": (125, "none")},
        ("truth", "threshold_75", "none"): {"IPH": (75, "none")},
        ("truth", "threshold_25", "none"): {"IPH": (25, "none")},
    }
    measured = {key: dice(item.counts.sum(0))[1] for key, item in found.items()}
    # Of 8 lesion pixels in each of four slices. At 200: the "high" lesions whole, of the "low" ones
    # a pixel each. Cross-fitted: "low" at 200, "high" at 50 with its 24 stray pixels (the halves
    # exchanged would give 1). At 25: every lesion and every stray pixel.
    assert measured["truth", "printed", "masks-test"] == pytest.approx(36 / 50)
    assert measured["truth", "printed", "masks-validation"] == pytest.approx(36 / 98)
    assert measured["truth", "printed", "labels"] == pytest.approx(64 / 128)
    assert measured["truth", "threshold_25", "none"] == pytest.approx(64 / 128)
    assert measured["truth", "threshold_125", "none"] == pytest.approx(36 / 98)


def test_mask_thresholds_are_chosen_at_true_labels_whatever_decides_on_presence():
    found = protocols_of(*two_kinds(found="low"))
    # The "high" slices' logit equals the class threshold, so they get no mask. Chosen on what
    # is left, the threshold would be 50 and Dice 32 / 48.
    own = found["class_thresholds", "printed", "masks-test"]
    assert own.thresholds["IPH"].value == 200
    assert dice(own.counts.sum(0))[1] == pytest.approx(4 / 34)
    fitted = found["class_thresholds", "printed", "masks-validation"]
    assert dice(fitted.counts.sum(0))[1] == pytest.approx(4 / 34)
    other = protocols_of(*two_kinds(found="high"))
    # "low" has no mask; "high" has 8 of 8 pixels, with 24 stray ones at the other half's 50.
    assert dice(other["class_thresholds", "printed", "masks-test"].counts.sum(0))[1] == (
        pytest.approx(32 / 48)
    )
    assert dice(other["class_thresholds", "printed", "masks-validation"].counts.sum(0))[1] == (
        pytest.approx(32 / 96)
    )


def test_thresholds_without_masks_need_validation_slices_and_fixed_ones_a_reading_of_the_paper():
    made, slices = two_kinds(variant="no_consistency_loss")
    sources = {key[1:] for key in protocols_of(made, slices, None)}
    ablated = "no_consistency_loss"
    assert sources == {(ablated, "masks-test"), (ablated, "masks-validation")}
    assert (ablated, "labels") in {key[1:] for key in protocols_of(made, slices)}


def test_otsu_reads_each_class_on_the_slices_that_have_it():
    cut_at_0, cut_at_153 = np.zeros((2, 8, 8), np.float32)
    cut_at_0[:2], cut_at_0[0, 0] = 0.4, 1  # 25 is the nearest threshold of the grid
    cut_at_153[:4], cut_at_153[4:], cut_at_153[0, 0] = 0.6, 1, 0  # 150 is
    maps = np.stack([[cut_at_0, cut_at_0], [cut_at_153, cut_at_153]])
    heat = made_of(maps, ("IPH", "SDH")).heat
    for labels, expected in (([[1, 0], [0, 1]], (25, 150)), ([[0, 1], [1, 0]], (150, 25))):
        found = lse_study.otsu_of(heat, np.array(labels, bool))
        assert (found["IPH"].value, found["SDH"].value) == expected
        assert {cut.source for cut in found.values()} == {"labels"}
    absent = lse_study.otsu_of(heat, np.array([[1, 0], [0, 0]], bool))["SDH"]
    assert (absent.value, absent.source) == (125, "none")


def test_cross_fitted_thresholds_of_a_patient_do_not_read_that_patients_masks():
    before = lse_study.protocols(GOOD, lse_study.joint_histograms(GOOD, SCORED), SCORED, LABELS, 0)
    fitted = next(
        item for item in before if item.source == "masks-validation" and item.rule == "truth"
    )
    whole = lse_study.joint_histograms(GOOD, SCORED)["truth"]
    slabs, _ = lse_study.slabs_of(SCORED)
    fit = cross_fitted(whole, slabs["patient_id"], 0)
    for number, group in enumerate(whole.groups):
        others = [name for name, fold in zip(whole.groups, fit.fold) if fold != fit.fold[number]]
        own = whole.at(setting_of(best_setting(whole, "masks-validation", others), SUBTYPES))
        assert group not in others and np.array_equal(own.tp[number], fitted.counts.tp[number])


def test_class_thresholds_decide_which_classes_get_a_mask():
    logits = RNG.normal(0, 2, LABELS.shape)
    maps = method("lse_unet", 0.9, logits=logits)
    assert np.array_equal(maps.present("class_thresholds", LABELS), logits > 0) and np.array_equal(
        maps.present("truth", LABELS), LABELS
    )
    # a class that the validation part could not give a threshold never gets a mask
    cuts = {name: maps.class_thresholds[name] for name in SUBTYPES[:4]}
    without = MethodMaps(maps.heat, logits, cuts)
    assert not without.present("class_thresholds", LABELS)[:, 4].any()


def test_each_class_is_decided_by_its_own_threshold_and_one_equal_to_it_is_absent():
    cuts = {"SDH": Threshold(0.8, "labels", "youden"), "IPH": Threshold(0.0, "labels", "youden")}
    logits = np.array([[0.0, 2.0], [0.4, 0.4]])
    zeros = np.zeros((2, 2, 8, 8), np.float32)
    made = made_of(zeros, ("IPH", "SDH"), logits=logits, cuts=cuts)
    truth = np.zeros((2, 2), bool)
    assert made.present("class_thresholds", truth).tolist() == [[False, True], [True, False]]


def test_the_authors_rule_adds_called_classes_on_slices_with_hemorrhage_alone():
    logits = np.array([[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
    zeros = np.zeros((3, 2, 8, 8), np.float32)
    cuts = youden(("IPH", "SDH"))
    made = made_of(zeros, ("IPH", "SDH"), logits=logits, cuts=cuts)
    truth = np.array([[False, True], [False, True], [False, False]])
    assert made.present("authors", truth).tolist() == [[True, True], [False, True], [False, False]]


def test_rivals_borrow_the_decisions_of_the_method_beside_them():
    made, slices = two_kinds(found="high")
    labels = np.ones((4, 1), bool)
    for rival in lse_study.rivals_of(made, slices, 3.0, 7):
        decided = rival.present("class_thresholds", labels)
        assert np.array_equal(decided, made.present("class_thresholds", labels))
        assert decided.sum() == 2


def parts_recorder(monkeypatch):
    """`raw_maps` that says which method, which classes and which rows it was asked for."""
    asked = []

    def raw_maps(method, model, preprocessing, outputs, classes, source, rows, *options):
        asked.append((method.__name__, model, tuple(outputs), source, rows, options[1]))
        maps = np.full((1, len(classes), 4, 4), len(asked), np.float32)
        return maps, np.full((1, len(classes)), -len(asked))

    monkeypatch.setattr(lse_study, "raw_maps", raw_maps)
    return asked


def test_a_runs_maps_are_its_own_networks_on_the_test_slices(monkeypatch):
    asked = parts_recorder(monkeypatch)
    options = {"batch_size": 4, "num_workers": 0, "precision": "fp32"}
    config = SimpleNamespace(classes=("any", "IPH"), **options)
    run = SimpleNamespace(
        config=config, model="network", preprocessing=SimpleNamespace(size=16), device="cpu"
    )
    cuts = {"IPH": Threshold(0.3, "labels", "youden")}
    found = lse_study.lse_maps(run, "authors", cuts, ["IPH"], ("bhsd", "test"), ("rsna", "valid"))
    assert asked == [
        ("lse_heatmaps", "network", ("any", "IPH"), "bhsd", "test", 4),
        ("lse_heatmaps", "network", ("any", "IPH"), "rsna", "valid", 4),
    ]
    assert (found.heat.maps[0, 0, 0, 0], found.validation.maps[0, 0, 0, 0]) == (1, 2)
    assert found.logits[0, 0] == -1 and found.heat.size == 16
    assert (found.heat.name, found.heat.variant) == ("lse_unet", "authors")
    assert found.class_thresholds["IPH"].value == 0.3


def test_a_baselines_maps_are_its_own_networks_with_its_own_thresholds(monkeypatch, tmp_path):
    asked = parts_recorder(monkeypatch)
    grid = SimpleNamespace(crop="none", size=16)
    loaded = []

    def load(path, device, kind):
        loaded.append(path)
        classes = {"classes": ["any", "IPH"]}
        return SimpleNamespace(model="classifier", preprocessing=grid, metadata=classes)

    monkeypatch.setattr(lse_study, "load", load)
    folder = tmp_path / "densenet"
    folder.mkdir()
    (folder / "weights.safetensors").touch()
    pd.DataFrame(
        {
            "class": ["any", "IPH"],
            "logit": [0.2, 0.6],
            "threshold_source": "labels",
            "rule": "youden",
        }
    ).to_csv(folder / "thresholds.csv", index=False)
    # the classifier sees 16 px, the truth lies on 24
    places = (["IPH"], ("bhsd", "test"), ("rsna", "valid"), "cpu", 8, 24)
    found = lse_study.baseline_maps(folder, *places)
    assert loaded == [folder / "weights.safetensors"]
    assert [(name, rows) for name, _, _, _, rows, _ in asked] == [
        ("head_gradcam", "test"),
        ("head_gradcam", "valid"),
    ]
    assert (found.heat.maps[0, 0, 0, 0], found.validation.maps[0, 0, 0, 0]) == (1, 2)
    assert found.logits[0, 0] == -1 and found.heat.read([0]).shape[2:] == (24, 24)
    assert found.validation.size == 24
    assert found.name == "densenet" and found.class_thresholds["IPH"].value == 0.6
    old = pd.read_csv(folder / "thresholds.csv").rename(columns={"logit": "threshold"})
    old.to_csv(folder / "thresholds.csv", index=False)
    with pytest.raises(DataError, match="thresholds on the probability; run 01_backbones again"):
        lse_study.baseline_maps(folder, *places)
    grid.crop = "brain"
    with pytest.raises(StudyError, match="crops its slices"):
        lse_study.baseline_maps(folder, *places)


def test_drawn_masks_are_of_the_true_classes_in_their_own_codes():
    made, _ = two_kinds()
    thresholds = {"IPH": Threshold(50.0, "masks-test", "joint")}
    labels = np.array([[True], [False], [True], [True]])
    drawn = lse_study.masks_of(made, thresholds, labels, np.arange(3))
    assert (drawn == 1).any((1, 2)).tolist() == [True, False, True]
    later = made_of(made.heat.maps, ("SDH",))
    cuts = {"SDH": Threshold(50.0, "masks-test", "joint")}
    codes = lse_study.masks_of(later, cuts, np.ones((4, 1), bool), np.arange(4))
    assert set(np.unique(codes)) == {0, 4}
    whole = made_of(made.heat.maps, ("any",))
    codes = lse_study.masks_of(whole, {"any": cuts["SDH"]}, np.ones((4, 1), bool), np.arange(4))
    assert set(np.unique(codes)) == {0, UNSPECIFIED_HEMORRHAGE}, "no picture calls it IPH"


def test_any_hemorrhage_is_one_class_of_all_masks():
    whole = lse_study.truth_codes(SCORED, ["any"])
    assert (whole == (SCORED.codes > 0)).all() and whole.any()
    with pytest.raises(DataError, match="any stands alone"):
        lse_study.truth_codes(SCORED, ["any", "IPH"])


def test_slices_that_cannot_be_scored_are_refused():
    unknown = SCORED.rows.assign(SAH=pd.array([pd.NA] * len(SCORED), dtype="boolean"))
    with pytest.raises(DataError, match="30 slices have an unknown label"):
        lse_study.labels_of(unknown, SUBTYPES)
    with pytest.raises(DataError, match="none of"):
        lse_study.truth_codes(SCORED, SUBTYPES[:3])
