"""From HU to points: batches against one slice at a time, boxes on the grid, slices of any size."""

import numpy as np
import pytest
import torch

from ich_study.errors import DataError, MapError
from ich_study.methods.mil.network import ReadyNetwork, create_mil, published_preprocessing
from ich_study.methods.mil.peaks import Detector, upsampled
from ich_study.methods.mil.pipeline import locate, run_network, score_slices
from ich_study.metrics.points import boxes_on_grid
from tests.methods.mil.fakes import blob_store, scored_maps

STORE = blob_store(4)
DETECTOR = Detector(0.001, -np.inf, 4, "authors", False)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network(head="max_pooling", size=64):
    backbone = create_mil("authors", head, seed=2)
    backbone.model.eval()
    return ReadyNetwork(backbone, published_preprocessing(size))


@pytest.mark.parametrize("head", ["max_pooling", "attention"])
def test_batches_give_what_single_slices_give(head):
    ready = network(head)
    hu = STORE.volumes["scan-p00"]
    logits, peaks = locate(ready.folded(), DETECTOR, hu)
    for place, one in enumerate(hu):
        with torch.inference_mode():
            logit, cells = ready.model.likelihood(ready.inputs(one[None]))
        assert float(logit) == pytest.approx(logits[place], abs=1e-4)
        alone = DETECTOR.find(upsampled(cells.numpy(), 64)[0])
        assert {tuple(point) for point in alone.points} == {
            tuple(point) for point in peaks[place].points
        }


@pytest.mark.parametrize("shape", [(1, 512, 512), (2, 100, 80), (1, 64, 64)])
def test_slices_of_any_size_give_points_on_the_networks_grid(shape):
    hu = np.random.default_rng(0).integers(-1000, 100, shape).astype(np.int16)
    logits, peaks = locate(network(), DETECTOR, hu)
    assert logits.shape == shape[:1] and len(peaks) == shape[0]
    points = peaks[0].points
    assert len(points) and (points >= 0).all() and (points < 64).all()


def test_a_broken_network_is_refused():
    backbone = network()
    backbone.model.conv_final.bias.data.fill_(float("nan"))
    with pytest.raises(MapError, match="not finite"):
        run_network(backbone.model, torch.zeros(1, 3, 64, 64))


def test_scored_slices_carry_their_boxes_and_an_empty_part_is_refused():
    rows = STORE.index[STORE.index["patient_id"] != "p03"]
    scored = score_slices(network(size=32), STORE, rows)
    assert len(scored) == len(rows) == len(scored.boxes) and scored.cells.shape[1:] == (4, 4)
    for row, boxes in zip(scored.rows.itertuples(), scored.boxes):
        native = STORE.boxes[
            (STORE.boxes.scan_id == row.scan_id) & (STORE.boxes.slice_index == row.slice_index)
        ]
        np.testing.assert_array_equal(
            boxes, boxes_on_grid(native[["x", "y", "width", "height"]].to_numpy(), 32 / 48)
        )
    with pytest.raises(DataError, match="empty"):
        score_slices(network(size=32), STORE, rows.iloc[:0])


def test_maps_under_the_threshold_are_not_looked_at_and_nothing_is_lost():
    scored = scored_maps()
    detector = Detector(0.2, 0.8, 3, "printed", False)
    expected = [
        detector.find(likelihood).points.tolist()
        for likelihood in upsampled(scored.cells, scored.side)
    ]
    assert [found.points.tolist() for found in scored.peaks(detector)] == expected
    assert sum(map(bool, expected)) not in (0, len(expected))


def test_heat_is_the_map_of_each_slice_at_full_size():
    scored = scored_maps()
    heat = scored.heat("mil_attention", "printed")
    assert (heat.name, heat.variant, heat.layer, heat.classes) == (
        "mil_attention",
        "printed",
        None,
        ("any",),
    )
    assert len(heat) == len(scored)
    expected = upsampled(scored.cells, scored.side)
    for index in (slice(2, 5), np.array([7, 0])):
        np.testing.assert_array_equal(heat.read(index)[:, 0], expected[index])
