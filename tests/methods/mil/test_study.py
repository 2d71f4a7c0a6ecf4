"""The whole study on bright blobs: both heads learn to point at them from slice labels alone."""

import numpy as np
import pandas as pd
import pytest
import torch

from ich_study.errors import DataError, ParameterError, SplitError, StudyError
from ich_study.methods.mil import study as mil_study
from ich_study.methods.mil.figures import detection_figure, free_response_figure, shown_slices
from ich_study.methods.mil.network import create_mil, load_mil
from ich_study.methods.mil.peak_tuning import BOUNDS, tune_detector
from ich_study.methods.mil.peaks import Detector
from ich_study.methods.mil.pipeline import score_slices
from ich_study.metrics.overlap import Counts
from ich_study.schema import result_table
from ich_study.training.learner import train_classifier
from ich_study.training.losses import balancing_weight
from tests.methods.mil.fakes import blob_store

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
CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def evaluated(head, folder):
    config = mil_study.training_config(
        size=48,
        augmentation="mil_authors",
        augmentation_options={"0.translate": 0.05},
        learning_rate=0.01,
        schedule="one_cycle",
        epochs=10,
        batch_size=8,
        monitor="accuracy",
        keep="last",
        seed=1,
        cache_in_memory=True,
        positive_weight=balancing_weight(ROWS["train"]["any"]),
    )
    network = create_mil("printed", head, 1, channels=(8, 12, 16), blocks=1)
    run = train_classifier(
        network, config, STORE, ROWS["train"], ROWS["validation"], folder, lambda line: None
    )
    backbone, preprocessing, _ = load_mil(run.weights_path, CPU)
    tune, test = (
        score_slices(backbone, preprocessing, STORE, ROWS[part], CPU) for part in ("tune", "test")
    )
    start = Detector(0.0, 0.0, 1, "printed", False)
    tuned = tune_detector(
        tune,
        BOUNDS[head].on_side(48),
        start,
        folder,
        iterations=4,
        initial=8,
        report=lambda line: None,
    )
    detectors = mil_study.variants_of(tuned.detector, "printed")
    centroids = mil_study.tuned_centroids(tune)
    return mil_study.evaluate_network(
        test, detectors, head=head, dataset="fake", centroids=centroids, replicates=100
    )


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
    rows = [row for each in both for row in each.rows] + mil_study.head_differences(
        both, "fake", 200
    )
    table = result_table(rows)
    variants = {
        "printed",
        "no_h_maxima",
        "no_threshold",
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
    printed = mil_study.table_1(table)
    assert len(printed) == 12 and {"PPV [%]", "SE [%]", "point F1 [%]"} <= set(printed.columns)


def test_without_a_threshold_there_are_more_false_points(both):
    for each in both:
        false = {
            row["variant"]: row["value"]
            for row in each.rows
            if row["metric"] == "false_points_per_scan"
        }
        assert false["no_threshold"] >= false["printed"]


def test_points_are_written_and_pictures_drawn(both, tmp_path):
    points = mil_study.write_points(tmp_path / "points.parquet", both)
    assert len(points) == sum(len(found.points) for each in both for found in each.peaks)
    assert len(pd.read_parquet(tmp_path / "points.parquet")) == len(points)
    panels = both[0].panels(STORE)
    figure = detection_figure(panels, "blobs", scale="shared")
    assert len(figure.axes) == 2 * len(panels)
    assert (
        free_response_figure({"a": both[0].curve}, {"a": both[0].operating}, "blobs").axes[0].lines
    )
    with pytest.raises(StudyError, match="no slice to show"):
        detection_figure([], "nothing")


def test_slices_are_shown_by_rule():
    rows = pd.DataFrame({"patient_id": ["a", "a", "b", "c", "c"]})
    counts = Counts(np.array([3, 2, 1, 0, 0]), np.array([0, 0, 0, 4, 5]), np.array([0, 1, 0, 0, 0]))
    assert shown_slices(counts, rows) == {0: "hit", 2: "hit", 1: "missed", 4: "false"}
    assert shown_slices(Counts(*np.zeros((3, 5), int)), rows) == {}


def test_a_detector_without_points_is_not_better_than_chance(both):
    never = {"printed": Detector(0.0, 1e9, 3)}
    silent = mil_study.evaluate_network(
        both[0].scored, never, head="max_pooling", dataset="fake", replicates=20
    )
    hits, chance = mil_study.better_than_chance(silent, STORE)
    assert np.isnan([hits, chance]).all() and not hits > 0 * chance


def test_bad_input_is_refused(both):
    with pytest.raises(SplitError):
        mil_study.assert_all_disjoint(ROWS["train"], ROWS["tune"], ROWS["train"].iloc[:3])
    with pytest.raises(ParameterError, match="no detector"):
        mil_study.evaluate_network(both[0].scored, {}, head="attention", dataset="fake")
    with pytest.raises(DataError, match="positive"):
        balancing_weight([True, True, None])
    assert mil_study.head_differences(both[:1], "fake") == []
    assert (
        mil_study.part_name("rsna", "cq500") == "cq500"
        and mil_study.part_name("phe_sich", "phe_sich") == "phe_sich/test"
    )
