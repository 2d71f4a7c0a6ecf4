"""From HU to points: batches against one slice at a time, boxes on the grid, slices of any size."""

import numpy as np
import pytest
import torch

from ich_study.errors import DataError, MapError, ParameterError, StudyError, WeightsError
from ich_study.methods.mil.network import create_mil, published_preprocessing
from ich_study.methods.mil.peaks import Detector, find_peaks, upsampled
from ich_study.methods.mil.pipeline import (
    MilPipeline,
    grid_boxes,
    published_networks,
    run_network,
    score_slices,
)
from ich_study.methods.mil.points import boxes_on_grid
from tests.methods.mil.fakes import blob_store, scored_maps

CPU = torch.device("cpu")
STORE = blob_store(4)
DETECTOR = Detector(0.001, -np.inf, 4, "authors", False)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network(head="max_pooling"):
    backbone = create_mil("authors", head, seed=2)
    backbone.model.eval()
    return backbone


@pytest.mark.parametrize("head", ["max_pooling", "attention"])
def test_batches_give_what_single_slices_give(head):
    backbone, preprocessing = network(head), published_preprocessing(64)
    hu = STORE.volumes["scan-p00"]
    logits, peaks = MilPipeline(backbone.model, preprocessing, DETECTOR, batch_size=3)(hu)
    for place, one in enumerate(hu):
        with torch.inference_mode():
            resized = preprocessing.resized(torch.from_numpy(one[None].copy()))
            logit, cells = backbone.model.likelihood(preprocessing.inputs(resized[:, None]))
        assert float(logit) == pytest.approx(logits[place], abs=1e-4)
        alone = find_peaks(upsampled(cells.numpy(), 64)[0], DETECTOR)
        assert {tuple(point) for point in alone.points} == {
            tuple(point) for point in peaks[place].points
        }


@pytest.mark.parametrize("shape", [(1, 512, 512), (2, 100, 80), (1, 64, 64)])
def test_slices_of_any_size_and_points_back_on_them(shape):
    pipeline = MilPipeline(network().model, published_preprocessing(64), DETECTOR)
    hu = np.random.default_rng(0).integers(-1000, 100, shape).astype(np.int16)
    logits, peaks = pipeline(hu)
    assert logits.shape == shape[:1]
    points = pipeline.on_slice(peaks[0].points, shape[1:])
    assert len(points) and (points >= -0.5).all() and (points <= np.array(shape[1:]) - 0.5).all()
    np.testing.assert_allclose(pipeline.on_slice(np.array([[0, 63]]), (128, 128)), [[0.5, 126.5]])


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((0, 64, 64), np.int16),
        np.zeros((64, 64), np.int16),
        np.zeros((1, 64, 64), np.float32),
    ],
)
def test_what_is_no_stack_of_slices_is_refused(wrong):
    with pytest.raises(DataError, match="int16 HU"):
        MilPipeline(network().model, published_preprocessing(64), DETECTOR)(wrong)


def test_a_broken_network_is_refused():
    backbone = network()
    backbone.model.conv_final.bias.data.fill_(float("nan"))
    with pytest.raises(MapError, match="not finite"):
        run_network(backbone.model, torch.zeros(1, 3, 64, 64))


def test_scored_slices_carry_their_boxes_and_an_empty_part_is_refused():
    rows = STORE.index[STORE.index["patient_id"] != "p03"]
    scored = score_slices(network(), published_preprocessing(32), STORE, rows, CPU, batch_size=5)
    assert len(scored) == len(rows) == len(scored.boxes) and scored.cells.shape[1:] == (4, 4)
    for row, boxes in zip(scored.rows.itertuples(), scored.boxes):
        native = STORE.boxes[
            (STORE.boxes.scan_id == row.scan_id) & (STORE.boxes.slice_index == row.slice_index)
        ]
        np.testing.assert_array_equal(
            boxes, boxes_on_grid(native[["x", "y", "width", "height"]].to_numpy(), 32 / 48)
        )
    with pytest.raises(DataError, match="empty"):
        score_slices(network(), published_preprocessing(32), STORE, rows.iloc[:0], CPU)


def test_boxes_of_masks_are_the_boxes_of_their_parts():
    from_boxes, labels = grid_boxes(STORE, STORE.index, 48)
    from_masks, names = grid_boxes(STORE, STORE.index, 48, "mask_components")
    for one, two, label, name in zip(from_boxes, from_masks, labels, names):
        np.testing.assert_array_equal(one, two)
        assert label.tolist() == name.tolist()


def test_unknown_boxes_are_not_taken_for_none():
    unknown = STORE.index.assign(has_boxes=False, has_mask=False)
    for truth in ("boxes", "mask_components"):
        with pytest.raises(StudyError, match="unknown in 32 slices"):
            grid_boxes(STORE, unknown, 48, truth)
    with pytest.raises(ParameterError, match="truth"):
        grid_boxes(STORE, STORE.index, 48, "points")


def test_maps_under_the_threshold_are_not_looked_at_and_nothing_is_lost():
    scored = scored_maps()
    detector = Detector(0.2, 0.8, 3, "printed", False)
    expected = [
        find_peaks(likelihood, detector).points.tolist()
        for likelihood in upsampled(scored.cells, scored.side)
    ]
    assert [found.points.tolist() for found in scored.peaks(detector)] == expected
    assert sum(map(bool, expected)) not in (0, len(expected))


def test_published_networks_need_a_path(tmp_path):
    assert published_networks({}, tmp_path) == {}
    for entry in ({}, {"path": None}, {"path": "net.npz", "hash": "1"}):
        with pytest.raises(WeightsError, match="expected path"):
            published_networks({"attention": entry}, tmp_path)
    with pytest.raises(WeightsError, match="does not exist"):
        published_networks({"attention": {"path": "net.npz"}}, tmp_path)


def test_published_networks_are_read_by_head(tmp_path):
    entries = {}
    for seed, head in enumerate(("attention", "max_pooling")):
        state = create_mil("authors", head, seed).model.state_dict()
        np.savez(tmp_path / f"{head}.npz", **{name: each.numpy() for name, each in state.items()})
        entries[head] = {"path": f"{head}.npz"}
    found = published_networks(entries, tmp_path)
    assert list(found) == ["attention", "max_pooling"]
    for head, (backbone, preprocessing) in found.items():
        assert (backbone.head, backbone.variant) == (head, "authors")
        assert backbone.weights_source == f"{head}.npz" and preprocessing.size == 256
    entries["attention"]["path"] = "max_pooling.npz"
    with pytest.raises(WeightsError, match="attention"):
        published_networks(entries, tmp_path)


def test_chosen_slices_keep_their_own_maps_boxes_and_labels():
    scored = scored_maps()
    for chosen in (np.array([4, 0]), np.arange(len(scored)) == 4):
        part = scored[chosen]
        assert part.logits[0] == scored.logits[4] and part.labels[0] is scored.labels[4]
        assert part.boxes[0] is scored.boxes[4]
        np.testing.assert_array_equal(part.cells[0], scored.cells[4])
        assert part.rows.iloc[0]["slice_index"] == scored.rows.iloc[4]["slice_index"]


def test_small_parts_of_a_mask_get_no_box():
    store = blob_store(1)
    store.masks["scan-p00"][:] = 0
    store.masks["scan-p00"][0, 5, 5:8] = 1
    store.masks["scan-p00"][1, 5, 5:9] = 2
    boxes, labels = grid_boxes(store, store.index, 48, "mask_components")
    assert [len(each) for each in boxes[:3]] == [0, 1, 0]
    assert boxes[1].tolist() == [[5, 5, 4, 1]] and len(labels[1]) == 1
