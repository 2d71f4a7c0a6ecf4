import numpy as np
import pandas as pd
import pytest
import torch

from ich_study.errors import DataError, MapError, StudyError
from ich_study.evaluate.scored_slices import ScoredSlices
from ich_study.evaluate.thresholds import Threshold
from ich_study.methods.lse_unet import (
    report as lse_report,
    study as lse_study,
    tables as lse_tables,
)
from ich_study.methods.lse_unet.algorithm1 import label_maps
from ich_study.methods.lse_unet.joint_thresholds import cross_fitted, search, setting_of
from ich_study.methods.lse_unet.score_maps import LatentMaps
from ich_study.methods.lse_unet.study import MethodMaps, Protocol
from ich_study.metrics.overlap import Counts, dice, label_counts
from ich_study.schema import SUBTYPES, result_table

PATIENTS, SLICES, SIDE, LATENT = 6, 5, 32, 8
RNG = np.random.default_rng(0)


def scored(spacing=0.05):
    """A square of one subtype in most slices; the first slice of every patient is normal."""
    codes = np.zeros((PATIENTS * SLICES, SIDE, SIDE), np.uint8)
    for place in range(len(codes)):
        if place % SLICES:
            row, column = RNG.integers(0, SIDE - 8, 2)
            codes[place, row : row + 8, column : column + 8] = 1 + (place + place // SLICES) % 5
    names = [f"p{number}" for number in range(PATIENTS) for _ in range(SLICES)]
    labels = {
        name: pd.array((codes == code).any((1, 2)), dtype="boolean")
        for code, name in enumerate(SUBTYPES, 1)
    }
    rows = pd.DataFrame(
        {"patient_id": names, "scan_id": [f"{name}-scan" for name in names], **labels}
    )
    brain = np.ones(codes.shape, bool)
    hu, boxes = 30 + 40 * (codes > 0).astype(np.int16), [np.zeros((0, 4))] * len(codes)
    return ScoredSlices(rows, hu, codes, brain, boxes, np.full(len(codes), spacing))


SCORED = scored()
LABELS = SCORED.rows[list(SUBTYPES)].astype(bool).to_numpy()


def method(name, quality, variant="printed", logits=None):
    """Maps between noise (quality 0) and the truth itself (1)."""
    truth = np.stack([SCORED.truth(each) for each in SUBTYPES], 1).astype(np.float32)
    small = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(truth), LATENT).numpy()
    maps = quality * small + (1 - quality) * RNG.random(small.shape, dtype=np.float32) - 0.05
    logits = np.where(LABELS, 2.0, -2.0) if logits is None else logits
    thresholds = {each: Threshold(0.5, "labels", "youden") for each in SUBTYPES}
    latent = LatentMaps(maps.astype(np.float32), logits, SUBTYPES)
    return MethodMaps(name, variant, latent, latent, thresholds)


GOOD, BAD = method("lse_unet", 0.9), method("rdnet_tiny", 0.0)


def test_histograms_count_what_algorithm_1_draws():
    histograms = lse_study.joint_histograms(GOOD, SCORED)
    protocols = lse_study.protocols(GOOD, histograms, SCORED.rows, LABELS, SIDE, 0)
    scans = SCORED.rows["scan_id"].to_numpy()
    for protocol in protocols:
        if protocol.thresholds:
            present = LABELS if protocol.rule == "truth" else GOOD.test.logits > 0
            drawn = label_maps(
                lse_study.heat(GOOD.test, SIDE, slice(None)),
                present,
                setting_of(protocol.thresholds),
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
    best = {
        item.source: dice(item.counts.sum(0))[1:].mean()
        for item in protocols
        if item.rule == "truth" and item.variant == "printed"
    }
    assert best["masks-test"] >= best["masks-validation"] and best["masks-test"] > 0.5


def test_cross_fitted_thresholds_of_a_patient_do_not_read_that_patients_masks():
    before = lse_study.protocols(
        GOOD, lse_study.joint_histograms(GOOD, SCORED), SCORED.rows, LABELS, SIDE, 0
    )
    fitted = next(
        item for item in before if item.source == "masks-validation" and item.rule == "truth"
    )
    whole = lse_study.joint_histograms(GOOD, SCORED)["truth"]
    patients = dict(zip(SCORED.rows["scan_id"], SCORED.rows["patient_id"]))
    fit = cross_fitted(whole, patients, 2, 0)
    for place, group in enumerate(fit.groups):
        others = [name for name, fold in zip(fit.groups, fit.fold) if fold != fit.fold[place]]
        own = whole.at(setting_of(search(whole, others).best("masks-validation")), [group])
        assert group not in others and np.array_equal(own.tp[0], fitted.counts.tp[place])


def test_the_report_finds_the_better_method_with_an_interval_that_excludes_zero():
    ablated, untrained = (
        method("lse_unet", 0.4, "no_consistency_loss"),
        method("lse_unet", 0.4, "random_encoder"),
    )
    rivals = lse_study.rivals_of(GOOD, SCORED, 3.0, 0)
    report = lse_report.report_masks(
        [GOOD, ablated, untrained, BAD, *rivals], SCORED, LABELS, "bhsd", "printed", 200, 0
    )
    for subset in ("all", "positive"):
        found = lse_report.headline_difference(
            report, "rdnet_tiny", subset, "masks-validation", "printed"
        )
        assert found["ci_low"] > 0.2 and found["patients"] == PATIENTS
    table = lse_report.finished(report.rows, [])
    values = table[
        (table["metric"] == "dice") & (table["unit"] == "pixel") & (table["subset"] == "positive")
    ]
    fixed = values[
        (values["variant"] == "threshold_125") & (values["class"] == "average")
    ].set_index("method")["value"]
    assert set(fixed.index) == {
        "lse_unet",
        "rdnet_tiny",
        "hu_threshold",
        "centred_blob",
        "random_map",
    }
    assert fixed["lse_unet"] > fixed["random_map"]
    own = table[
        (table["method"] == "lse_unet - lse_unet")
        & (table["metric"] == "dice_difference")
        & (table["subset"] == "positive")
    ]
    lost = own[
        (own["class"] == "average_subtypes")
        & (own["threshold_source"] == "masks-test")
        & (own["variant"] == "printed")
    ]
    assert len(lost) == 1 and float(lost["value"].iloc[0]) > 0
    gained = own[
        (own["class"] == "average_subtypes")
        & (own["threshold_source"] == "masks-test")
        & (own["variant"] == "random_encoder")
    ]
    assert len(gained) == 1 and float(gained["value"].iloc[0]) < 0
    optimism = table[table["metric"] == "dice_optimism_masks"]
    assert (
        len(optimism)
        and (optimism.loc[optimism["class"] == "average_subtypes", "value"] > -1e-9).any()
    )
    assert {"volume_bias_ml", "volume_lower_limit_ml"} <= set(table["metric"])
    shown = lse_report.readable(table, "masks-test", "positive")
    classes = ["normal", *SUBTYPES, "average", "average_subtypes", "pooled_subtypes"]
    assert list(shown.columns) == [*classes, lse_report.RIVAL_IS_ABOVE] and len(shown) == 7
    above = shown[lse_report.RIVAL_IS_ABOVE]
    assert (
        "pooled_subtypes" in above["rdnet_tiny", "printed"] and not above["random_map", "printed"]
    )
    with pytest.raises(StudyError, match="stand twice"):
        lse_report.finished([*report.rows, report.rows[0]], [])
    with pytest.raises(StudyError, match="a name twice"):
        lse_report.report_masks([GOOD, GOOD], SCORED, LABELS, "bhsd", "printed", 20, 0)


def test_the_table_says_where_a_trivial_rival_wins():
    values = [
        ("lse_unet", "authors", 0.5, 0.2),
        ("lse_unet", "threshold_125", 0.1, 0.9),
        ("rdnet_tiny", "printed", 0.6, 0.7),
        ("hu_threshold", "printed", 0.4, 0.6),
        ("random_map", "printed", 0.55, 0.1),
        ("random_map", "threshold_125", 0.0, 0.95),
    ]
    rows = pd.DataFrame(
        [
            {"method": method, "variant": variant, "class": name, "value": value}
            for method, variant, *pair in values
            for name, value in zip(("IPH", "SDH"), pair)
        ]
    )
    expected = {("lse_unet", "authors"): "IPH, SDH", ("lse_unet", "threshold_125"): "SDH"}
    assert lse_report.rivals_above(rows, ["IPH", "SDH"]).to_dict() == expected
    without = rows[rows["method"].isin(["lse_unet", "rdnet_tiny"])]
    assert lse_report.rivals_above(without, ["IPH", "SDH"]).empty


def test_the_papers_average_counts_the_background():
    counts = lse_study.joint_histograms(GOOD, SCORED)["truth"].at([125] * 5)
    statistics = lse_tables.dice_statistics(
        "m", [Protocol("truth", "printed", "none", counts, {})], SCORED.rows, SUBTYPES
    )
    per_class = dice(counts.sum(0))
    assert statistics["m", "printed", "none", "truth", "average"].value() == pytest.approx(
        per_class.mean()
    )
    assert statistics["m", "printed", "none", "truth", "average_subtypes"].value() == pytest.approx(
        per_class[1:].mean()
    )
    pooled = (
        2
        * counts.tp[:, 1:].sum()
        / (2 * counts.tp[:, 1:].sum() + counts.fp[:, 1:].sum() + counts.fn[:, 1:].sum())
    )
    assert statistics["m", "printed", "none", "truth", "pooled_subtypes"].value() == pytest.approx(
        pooled
    )
    assert statistics["m", "printed", "none", "truth", "IVH"].value() == pytest.approx(per_class[2])


def test_an_average_leaves_out_classes_that_the_drawn_patients_do_not_have():
    counts = Counts(
        np.array([[90, 4, 0], [90, 0, 0]]),
        np.array([[2, 2, 0], [1, 0, 3]]),
        np.array([[2, 1, 0], [4, 0, 0]]),
    )
    average = lse_tables.average_of(counts, np.array(["a", "b"]))["average_subtypes"]
    # only patient a has the first subtype, none has the second, which b is given in error
    assert average.evaluate(
        np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]])
    ).tolist() == pytest.approx([8 / 11, 8 / 11, np.nan], nan_ok=True)


def test_class_thresholds_decide_which_classes_get_a_mask():
    logits = RNG.normal(0, 2, LABELS.shape)
    maps = method("lse_unet", 0.9, logits=logits)
    assert np.array_equal(maps.present("class_thresholds", LABELS), logits > 0) and np.array_equal(
        maps.present("truth", LABELS), LABELS
    )
    # a class that the validation part could not give a threshold never gets a mask
    without = MethodMaps(
        "m",
        "printed",
        maps.test,
        None,
        {name: maps.class_thresholds[name] for name in SUBTYPES[:4]},
    )
    assert not without.present("class_thresholds", LABELS)[:, 4].any()


def test_localisation_without_thresholds_and_the_share_of_empty_maps():
    truths = lse_report.truths_of(SCORED, SUBTYPES)
    rows = lse_tables.localisation_rows([GOOD, BAD], SCORED, truths, "bhsd", 0, 50, 0)
    difference = lse_report.pointing_difference(rows, "rdnet_tiny", "IPH")
    assert difference["ci_low"] > 0.2 and difference["metric"] == "pointing_game_difference"
    with pytest.raises(StudyError, match="'resnet152'"):
        lse_report.pointing_difference(rows, "resnet152", "IPH")
    table = (
        result_table([row for row in rows if not row["metric"].endswith("_difference")])
        .groupby(["method", "metric"])["value"]
        .mean()
    )
    assert table["lse_unet", "pointing_game"] > 0.8 > 0.5 > table["rdnet_tiny", "pointing_game"]
    assert table["lse_unet", "mass_inside"] > table["rdnet_tiny", "mass_inside"]
    nothing = MethodMaps(
        "m", "printed", LatentMaps(GOOD.test.maps - 10, GOOD.test.logits, SUBTYPES), None, {}
    )
    assert (
        lse_tables.empty_share(nothing, SCORED.rows) == 1
        and lse_tables.empty_share(GOOD, SCORED.rows) == 0
    )
    empty = result_table(lse_tables.localisation_rows([nothing], SCORED, truths, "bhsd", 0, 20, 0))
    assert (empty.loc[empty["metric"] == "mass_inside", "value"] == 0).all()
    assert lse_report.localisation_table(rows).shape == (2, 12)


def test_the_grid_pattern_is_reported_on_slices_with_a_class():
    pattern = np.tile(RNG.normal(size=(8, 8)), (2, 2)).astype(np.float32)
    maps = np.broadcast_to(pattern, (len(SCORED), 5, 16, 16)).copy()
    tiled = MethodMaps(
        "lse_unet", "printed", LatentMaps(maps, GOOD.test.logits, SUBTYPES), None, {}
    )
    rows = lse_tables.grid_rows(tiled, SCORED.rows, "bhsd", 50, 0)
    assert rows[0]["metric"] == "grid_pattern" and rows[0]["value"] == pytest.approx(1)


def test_rivals_are_the_same_whichever_slices_are_asked_for_together():
    for rival in lse_study.rivals_of(GOOD, SCORED, 3.0, 7):
        together = rival.test.scaled(SIDE)
        assert together.shape == (len(SCORED), 5, SIDE, SIDE) and np.array_equal(
            together[:, 0], together[:, 4]
        )
        assert np.array_equal(rival.test.scaled(SIDE, np.array([9, 3])), together[[9, 3]])
    with pytest.raises(StudyError, match="64 px"):
        rival.test.scaled(64)


def test_pictures_show_the_largest_slice_of_each_subtype_and_boxes_of_different_patients():
    shown = lse_study.shown_slices(SCORED)
    assert (
        list(shown["class"]) == list(SUBTYPES)
        and SCORED.rows["patient_id"].iloc[shown["place"]].is_unique
    )
    report = lse_report.report_masks([GOOD, BAD], SCORED, None, "bhsd", "printed", 20, 0)
    columns = lse_report.map_columns([GOOD, BAD], SCORED, shown, report)
    assert [column.title for column in columns] == ["lse_unet", "rdnet_tiny"] and columns[
        0
    ].codes.shape == (5, SIDE, SIDE)
    variants = lse_report.map_columns(
        [GOOD, method("lse_unet", 0.4, "authors"), BAD], SCORED, shown, None
    )
    assert [column.title for column in variants] == [
        "lse_unet\n(printed)",
        "lse_unet\n(authors)",
        "rdnet_tiny",
    ]
    assert set(np.unique(columns[0].codes)) <= set(range(6))
    boxes = [
        np.array([[4.0, 4.0, 8.0, 8.0]]) if place % SLICES == 2 else np.zeros((0, 4))
        for place in range(len(SCORED))
    ]
    boxed = ScoredSlices(SCORED.rows, SCORED.hu, None, None, boxes, SCORED.pixel_ml)
    picked = lse_report.shown_boxes(boxed, "any", 3)
    assert len(picked) == 3 and (picked["place"] % SLICES == 2).all()
    assert lse_report.truths_of(boxed, ["any"])["any"].sum() == PATIENTS * 64


def test_slices_that_cannot_be_scored_are_refused():
    unknown = SCORED.rows.assign(SAH=pd.array([pd.NA] * len(SCORED), dtype="boolean"))
    with pytest.raises(DataError, match="30 slices have an unknown label"):
        lse_study.labels_of(unknown, SUBTYPES)
    with pytest.raises(DataError, match="none of"):
        lse_study.truth_codes(SCORED, SUBTYPES[:3])
    with pytest.raises(MapError, match="NaN"):
        LatentMaps(np.full((1, 5, 4, 4), np.nan, np.float32), np.zeros((1, 5)), SUBTYPES)
