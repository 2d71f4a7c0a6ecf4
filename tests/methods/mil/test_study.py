"""The whole study on bright blobs: both heads learn to point at them from slice labels alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from ich_study.ct.brain_mask import brain_mask
from ich_study.errors import SplitError
from ich_study.evaluate.rows import Rows
from ich_study.methods.mil import study as mil_study
from ich_study.methods.mil.figures import panel_figure
from ich_study.methods.mil.network import ReadyNetwork, create_mil, published_preprocessing
from ich_study.methods.mil.peak_tuning import Bounds, Search, tuning_bounds_of
from ich_study.methods.mil.peaks import PUBLISHED, Detector
from ich_study.methods.mil.pipeline import score_slices
from ich_study.methods.mil.train import training_config
from ich_study.schema import result_table
from ich_study.training.learner import train_classifier
from tests.methods.mil.fakes import Spikes, blob_store, skull_store, spiked_maps

STORE = blob_store(20)
ROWS = {
    name: STORE.index[STORE.index["patient_id"].between(low, high)]
    for name, (low, high) in {
        "train": ("p00", "p09"),
        "validation": ("p10", "p11"),
        "tune": ("p12", "p14"),
        "test": ("p15", "p19"),
    }.items()
}
TABLE = Rows("05_mil_detector", "fake", replicates=100)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def evaluated(head, folder):
    training = {
        "classes": ["any"],
        "windows": ["mil_raw", "mil_80", "mil_130"],
        "size": 48,
        "normalisation": "mil",
        "augmentation": "mil_authors",
        "augmentation_options": {"0.translate": 0.05},
        "learning_rate": 0.01,
        "schedule": "one_cycle",
        "epochs": 10,
        "batch_size": 8,
        "monitor": "accuracy",
        "keep": "last",
        "channels_last": True,
        "seed": 1,
        "cache_in_memory": True,
    }
    config = training_config(training, ROWS["train"], weighted_loss=True)
    # fewer channels than the paper's learn these blobs in fewer epochs
    network = create_mil("printed", head, 1, channels=(8, 12, 16), blocks=1)
    parts = (STORE, ROWS["train"], ROWS["validation"])
    run = train_classifier(network, config, *parts, folder)
    ready = ReadyNetwork(replace(network, model=run.model), run.preprocessing)
    tune, test = (score_slices(ready, STORE, ROWS[part]) for part in ("tune", "test"))
    start = Detector(0.0, 0.0, 1, "printed", False)
    search = Search(tuning_bounds_of(head, None, 48), start, folder, iterations=4, initial=8)
    return mil_study.tune_and_test(tune, test, search, TABLE, head=head, variant="printed")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    return [evaluated(head, tmp_path_factory.mktemp(head)) for head in ("max_pooling", "attention")]


def test_both_heads_learn_where_from_labels_that_say_whether(both):
    for each in both:
        truth = each.scored.rows["any"].to_numpy(bool)
        assert ((each.scored.logits > 0) == truth).mean() > 0.8
        hits, chance = mil_study.better_than_chance(each, STORE)
        assert hits > 5 * chance and hits > 0.4


def test_the_table_has_every_variant_and_the_differences_of_the_heads(both):
    rows = [row for each in both for row in each.rows]
    table = result_table(rows + mil_study.head_differences(both, TABLE))
    variants = {
        "printed",
        "no_h_maxima",
        "no_threshold",
        "no_distance",
        "threshold_centroids",
        "code_order_blind_border",
        "code_order_full_field",
    }
    assert set(table["variant"]) == variants and set(table["method"]) >= {
        "mil_max_pooling",
        "mil_attention",
    }
    assert not table.duplicated(["method", "variant", "class", "unit", "metric"]).any()
    difference = table[table["metric"] == "point_f1_difference"].iloc[0]
    main = table[
        (table["metric"] == "point_f1")
        & (table["variant"] == "printed")
        & (table["unit"] == "slice")
    ]
    values = main.set_index("method")["value"]
    assert difference["value"] == pytest.approx(values["mil_max_pooling"] - values["mil_attention"])
    assert difference["method"] == "mil_max_pooling - mil_attention"
    for each in both:
        own = table[table["method"] == f"mil_{each.head}"].set_index("metric")["value"]
        chosen = own[["detector_h_maxima", "detector_threshold", "detector_distance"]].tolist()
        detector = each.detector
        assert chosen == [detector.prominence, detector.threshold, detector.distance]
    printed = mil_study.table_1(table)
    assert len(printed) == 14 and {"PPV [%]", "SE [%]", "point F1 [%]"} <= set(printed.columns)


def test_maps_point_at_the_blobs_more_often_than_a_random_map(both):
    table = result_table(mil_study.pointing_rows(both, STORE, TABLE))
    values = table[table["metric"] == "pointing_game"].set_index("method")["value"]
    gains = table[table["metric"] == "pointing_game_difference"].set_index("method")
    for each in both:
        name = f"mil_{each.head}"
        assert values[name] > 0.5 > values["random_map"]
        gain = gains.loc[f"{name} - random_map"]
        assert gain["value"] == pytest.approx(values[name] - values["random_map"])
        assert gain["ci_low"] > 0
    assert mil_study.pointing_rows([], STORE, TABLE) == []


def test_without_a_threshold_there_are_more_false_points(both):
    for each in both:
        false = {
            row["variant"]: row["value"]
            for row in each.rows
            if row["metric"] == "false_points_per_scan"
        }
        assert false["no_threshold"] >= false["printed"]


def test_points_are_written(both, tmp_path):
    points = mil_study.write_points(tmp_path / "points.parquet", both)
    assert len(points) == sum(len(found.points) for each in both for found in each.peaks)
    assert len(pd.read_parquet(tmp_path / "points.parquet")) == len(points)


def test_a_detector_without_points_is_not_better_than_chance(both):
    never = {"printed": Detector(0.0, 1e9, 3)}
    silent = mil_study.evaluate_network(both[0].scored, never, TABLE, head="max_pooling")
    hits, chance = mil_study.better_than_chance(silent, STORE)
    assert np.isnan([hits, chance]).all() and not hits > 0 * chance


def test_bad_input_is_refused(both):
    assert mil_study.head_differences(both[:1], TABLE) == []
    assert (
        mil_study.part_name("rsna", "cq500") == "cq500"
        and mil_study.part_name("phe_sich", "phe_sich") == "phe_sich/test"
    )


BOX, ELSEWHERE = (3, 3, 1, 1), (8, 8)
"""A box that holds the pixel (3, 3) alone, and a pixel outside of it."""
LOW, HIGH = 0.5, 1.5


def boxes_are_low(patient):
    """Slices whose boxes stand over spikes of LOW; T below LOW finds all."""
    bleeds = [Spikes(patient, [(3, 3, LOW)], [BOX]) for _ in range(3)]
    return [*bleeds, Spikes(patient, [(5, 5, 0.2)], positive=False)]


def boxes_are_high(patient):
    """Slices whose boxes stand over spikes of HIGH, with false ones of LOW; T above LOW is best."""
    bleeds = [Spikes(patient, [(3, 3, HIGH), (*ELSEWHERE, LOW)], [BOX]) for _ in range(3)]
    return [*bleeds, Spikes(patient, [(5, 5, 0.2)], positive=False)]


def f1_by_variant(evaluated):
    return {
        row["variant"]: row["value"]
        for row in evaluated.rows
        if row["metric"] == "point_f1" and row["unit"] == "slice"
    }


@pytest.mark.parametrize(
    ("tune", "test", "expected"),
    [
        (boxes_are_low, boxes_are_high, 2 / 3),  # tuned on what is tested it would be 1
        (boxes_are_high, boxes_are_low, 0.0),  # tuned on what is tested it would be 1
    ],
)
def test_detector_and_rival_are_tuned_on_the_tuning_slices(tmp_path, tune, test, expected):
    search = Search(
        Bounds((0.0, 0.01), (1.0, 3.0), (0.25, 1.4)),
        Detector(0.0, 0.0, 1, "printed", False),
        tmp_path,
        iterations=0,
        initial=8,
    )
    parts = spiked_maps(tune("tuned")), spiked_maps(test("tested"))
    found = mil_study.tune_and_test(*parts, search, TABLE, head="max_pooling", variant="printed")
    f1 = f1_by_variant(found)
    assert f1["printed"] == pytest.approx(expected)
    assert f1["threshold_centroids"] == pytest.approx(expected)
    assert set(found.scored.rows["patient_id"]) == {"tested"}
    assert (found.detector.threshold < LOW) == (tune is boxes_are_low)
    with pytest.raises(SplitError, match="tested"):
        mil_study.tune_and_test(
            parts[1], parts[1], search, TABLE, head="attention", variant="printed"
        )


def test_the_first_detector_is_the_main_one():
    detectors = {
        "main": Detector(0.0, 1.0, 1, "printed", False),
        "other": Detector(0.0, 0.1, 1, "printed", False),
    }
    found = mil_study.evaluate_network(
        spiked_maps(boxes_are_high("a")),
        detectors,
        TABLE,
        head="attention",
    )
    # main: three boxes, no false point, on one scan; other: three false points and one of 0.2
    assert found.variant == "main" and found.detector == detectors["main"]
    assert found.operating == (0.0, 1.0) and int(found.counts.fp.sum()) == 0
    assert sum(len(peaks.points) for peaks in found.peaks) == 3
    assert f1_by_variant(found) == {"main": 1.0, "other": pytest.approx(6 / 10)}
    only_main = [row for row in found.rows if "gated" in row["metric"] or row["class"] != "any"]
    assert {row["variant"] for row in only_main} == {"main"}
    # the curve goes on below the main detector's threshold
    assert found.curve["threshold"].tolist()[:4] == pytest.approx([np.inf, HIGH, LOW, 0.2])
    assert found.curve["false_points_per_scan"].tolist()[:4] == [0, 0, 3, 4]


def test_the_variants_change_one_thing_at_a_time():
    tuned = Detector(0.3, 0.7, 9, "printed", False)
    assert list(mil_study.variants_of(tuned, "printed").items()) == [
        ("printed", Detector(0.3, 0.7, 9, "printed", False)),
        ("no_h_maxima", Detector(0.0, 0.7, 9, "printed", False)),
        ("no_threshold", Detector(0.3, -np.inf, 9, "printed", False)),
        ("no_distance", Detector(0.3, 0.7, 1, "printed", False)),
        ("code_order_blind_border", Detector(0.3, 0.7, 9, "authors", True)),
        ("code_order_full_field", Detector(0.3, 0.7, 9, "authors", False)),
    ]


def test_published_networks_run_as_released_and_without_the_blind_border():
    assert list(mil_study.published_variants(PUBLISHED["attention"]).items()) == [
        ("published_weights", Detector(0.00378, 0.02417, 58, "authors", True)),
        ("published_weights_full_field", Detector(0.00378, 0.02417, 58, "authors", False)),
    ]


def scored_with(head, heights):
    """A network whose map has these spikes in three slices with a box each, a patient a slice."""
    slices = [
        Spikes(name, [(3, 3, inside), (*ELSEWHERE, outside)], [BOX])
        for name, (inside, outside) in zip("abc", heights)
    ]
    detector = {"printed": Detector(0.0, 1.0, 1, "printed", False)}
    return mil_study.evaluate_network(spiked_maps(slices), detector, TABLE, head=head)


def test_differences_are_pooling_minus_attention():
    # pooling: 3 of 3 boxes and 1 false point, F1 6/7; attention: 2 of 3 boxes and 2, F1 4/7
    pooling = scored_with("max_pooling", [(2, 2), (2, 0), (2, 0)])
    attention = scored_with("attention", [(2, 2), (2, 2), (0, 0)])
    rows = mil_study.head_differences([attention, pooling], TABLE)
    values = {row["metric"]: row["value"] for row in rows}
    assert values == {
        "point_f1_difference": pytest.approx(6 / 7 - 4 / 7),
        "point_ppv_difference": pytest.approx(3 / 4 - 2 / 4),
        "point_sensitivity_difference": pytest.approx(3 / 3 - 2 / 3),
    }
    assert {row["method"] for row in rows} == {"mil_max_pooling - mil_attention"}


def test_chance_is_the_share_of_boxes_in_the_brains_of_slices_with_points():
    store = skull_store()
    # the second slice, which has no point, shows less brain than the others
    store.volumes["scan-p00"][1, :, :16] = -1000
    brains = brain_mask(store.volume("scan-p00"), (5.0, 4.0, 4.0))
    brain, areas = brains[0], brains.sum((1, 2)).tolist()
    assert areas[0] == areas[2] == areas[3] > 1.2 * areas[1]
    assert brain.sum() > 500
    small, large = (20, 20, 4, 4), (16, 16, 12, 12)
    slices = [
        Spikes("p00", [(22, 22, 2.0)], [small]),  # one point, in a small box
        Spikes("p00", [], [(12, 12, 24, 24)]),  # no point: not a slice that chance is asked of
        Spikes("p00", [(18, 18, 2.0), (34, 20, 2.0), (34, 30, 2.0)], [large]),  # one of three
        Spikes("p00", [(24, 24, 2.0)]),  # a false point in a slice without boxes
    ]
    detector = {"printed": Detector(0.0, 1.0, 1, "printed", False)}
    found = mil_study.evaluate_network(
        spiked_maps(slices, side=48), detector, TABLE, head="attention"
    )
    hits, chance = mil_study.better_than_chance(found, store)
    assert hits == pytest.approx(2 / 5)
    assert chance == pytest.approx((1 * 16 + 3 * 144 + 1 * 0) / 5 / brain.sum())


def test_pictures_show_each_slice_with_its_own_map_boxes_and_points():
    store = skull_store()
    store.volumes["scan-p00"][2] += 7
    slices = [
        Spikes("p00", [(30, 30, 2.0)]),
        Spikes("p00"),
        Spikes("q", [(22, 21, 3.0)], [(20, 20, 4, 4)], scan="scan-p00"),
        Spikes("p00"),
    ]
    detector = {"printed": Detector(0.0, 1.0, 1, "printed", False)}
    found = mil_study.evaluate_network(
        spiked_maps(slices, side=48), detector, TABLE, head="attention"
    )
    (hit, false), maps = found.panels(store)
    assert hit.title == "hit, patient q" and false.title == "false, patient p00"
    assert hit.image[24, 24] == 37 and false.image[24, 24] == 30
    assert maps[0].image[22, 21] == 3 and maps[1].image[30, 30] == 2
    # one scale in the row: a height of 2 looks like 2 beside one of 3
    drawn = [axis.images[0].get_clim() for axis in panel_figure([maps], "maps").axes[:2]]
    assert drawn == [pytest.approx((0.003, 3))] * 2
    for panel in (hit, maps[0]):
        assert panel.points.tolist() == [[22, 21]] and panel.boxes.tolist() == [[20, 20, 4, 4]]
    for panel in (false, maps[1]):
        assert panel.points.tolist() == [[30, 30]] and len(panel.boxes) == 0


def test_points_are_written_as_row_and_column(tmp_path):
    slices = [Spikes("a"), Spikes("b", [(3, 9, 2.0)])]
    detector = {"published_weights": Detector(0.0, 1.0, 1, "printed", False)}
    evaluated = mil_study.evaluate_network(
        spiked_maps([*slices, Spikes("c", [], [BOX])]),
        detector,
        TABLE,
        head="attention",
    )
    row = mil_study.write_points(tmp_path / "points.parquet", [evaluated]).iloc[0]
    assert (row["patient_id"], row["slice_index"], row["row"], row["column"]) == ("b", 1, 3, 9)
    assert (row["method"], row["variant"]) == ("mil_attention", "published_weights")
    assert row["height"] == 2.0


def test_table_1_is_in_percent_with_low_before_high():
    columns = {"dataset": "d", "method": "m", "variant": "v", "unit": "slice", "class": "any"}
    names = ("point_ppv", "point_sensitivity", "point_f1")
    results = pd.DataFrame(
        [
            {**columns, "metric": name, "value": value, "ci_low": 0.1, "ci_high": 0.9}
            for name, value in zip(names, (0.25, 0.5, 0.375))
        ]
    )
    bare = mil_study.table_1(results.assign(ci_low=np.nan, ci_high=np.nan))
    assert bare.loc[0, "SE [%]"] == "50.0"
    table = mil_study.table_1(results)
    assert table.iloc[0].to_dict() == {
        "dataset": "d",
        "method": "m",
        "variant": "v",
        "PPV [%]": "25.0 [10.0, 90.0]",
        "SE [%]": "50.0 [10.0, 90.0]",
        "point F1 [%]": "37.5 [10.0, 90.0]",
    }


def test_a_published_network_is_scored_with_its_own_detectors_and_calls_slices(monkeypatch):
    evaluated = scored_with("max_pooling", [(2, 2), (2, 0), (2, 0)])
    seen = []

    def record(scored, detectors, table, head, gate):
        seen.append((head, detectors, gate))
        return evaluated

    monkeypatch.setattr(mil_study, "evaluate_network", record)
    for head in ("attention", "max_pooling"):
        ready = ReadyNetwork(create_mil("authors", head, 3), published_preprocessing(64))
        found = mil_study.evaluate_published(
            ready, STORE, ROWS["test"], ROWS["train"], "boxes", TABLE, 0.3
        )
        called = [row["metric"] for row in found.rows if row["threshold_source"] == "none"]
        assert called[:2] == ["accuracy", "auroc"] and "auroc_within_position" in called
        assert seen.pop() == (head, mil_study.published_variants(PUBLISHED[head]), 0.3)
