"""Who gated a mask and which network made it, on networks that were never trained."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from ich_study.ct.brain_mask import brain_mask
from ich_study.ct.planes import PixelGrid
from ich_study.methods.resnet_lstm.arms import cluster_choices
from ich_study.methods.resnet_lstm.fold_masks import called_positive, make_pseudo_masks
from ich_study.methods.resnet_lstm.settings import CamRegion, ClusterRecipe
from ich_study.methods.resnet_lstm.study import make_fold
from tests.methods.resnet_lstm.fakes import fake_heads, fake_split
from tests.methods.resnet_lstm.test_pseudo_masks import labeller


def called(store, scans, chosen):
    """Predictions of a classifier that calls the slices `chosen` of each scan, and no other."""
    rows = store.index[store.index["scan_id"].isin(scans)][["scan_id", "slice_index"]].copy()
    return rows.assign(logit=[2.0 if index in chosen else -2.0 for index in rows["slice_index"]])


@pytest.fixture(scope="module")
def gated(tmp_path_factory):
    """Pseudo-masks of networks that were never trained: their calls have nothing to do with the
    labels: each calls one slice of the test scan, a healthy one of its own."""
    store = fake_heads(5)
    fold = make_fold(store, fake_split(store), 0, 0.1, 1, tmp_path_factory.mktemp("gates"))
    first, second = labeller(source=store), labeller(source=store, network_seed=3)
    stage = SimpleNamespace(
        resnet=first.backbone,
        refitted=second.backbone,
        weights={"resnet": "a" * 64, "refitted": "b" * 64},
        preprocessing=first.preprocessing,
        device=first.device,
    )
    scans = fold.scans("test")
    healthy = np.flatnonzero(~fold.labels("test")[scans[0]])
    predictions = {
        "resnet": called(store, scans, healthy[:1]),
        "resnet_lstm_refitted": called(store, scans, healthy[1:2]),
        "resnet_lstm": called(store, scans, healthy[2:3]),
    }
    masks = make_pseudo_masks(fold, stage, predictions, CamRegion(), {"kmeans": ClusterRecipe()})
    return fold, masks, {"resnet": first, "resnet_lstm": second}


@pytest.mark.parametrize(("classifier", "place"), [("resnet", 0), ("resnet_lstm", 1)])
def test_masks_of_test_slices_stand_where_the_own_classifier_called_and_not_on_labels(
    gated, classifier, place
):
    fold, masks, _ = gated
    for scan in fold.scans("test"):
        labels = fold.labels("test")[scan]
        shown = masks.test(classifier, "cam")[scan].any((1, 2))
        assert np.flatnonzero(shown).tolist() == [np.flatnonzero(~labels)[place]]
        labelled = masks.test(classifier, "cam", by="label")[scan].any((1, 2))
        assert np.array_equal(labelled, labels)
        kmeans = masks.test(classifier, "kmeans")[scan]
        assert (kmeans <= masks.test(classifier, "cam")[scan]).all() and kmeans.any()


def test_masks_that_teach_stand_on_positive_labels_of_training_and_validation_scans(gated):
    fold, masks, _ = gated
    labels = fold.labels("train", "validation")
    for classifier in ("resnet", "resnet_lstm"):
        taught = masks.teaching(classifier, "cam")
        assert set(taught) == set(labels) and set(taught).isdisjoint(fold.scans("test"))
        for scan, mask in taught.items():
            assert np.array_equal(mask.any((1, 2)), labels[scan])


def test_masks_stand_under_the_name_of_the_network_that_made_them(gated):
    fold, masks, networks = gated
    scan = fold.scans("train")[0]
    positive = np.flatnonzero(fold.labels("train")[scan])
    for classifier, network in networks.items():
        expected = network.masks(scan, positive)["cam"]
        assert np.array_equal(masks.teaching(classifier, "cam")[scan][positive], expected)
    assert not np.array_equal(
        masks.teaching("resnet", "cam")[scan], masks.teaching("resnet_lstm", "cam")[scan]
    )


def test_a_probability_at_the_gate_is_a_call_and_slices_come_in_their_order():
    rows = pd.DataFrame(
        {
            "scan_id": ["a", "a", "b", "a"],
            "slice_index": [2, 0, 0, 1],
            "logit": [0.5, 0.0, -1.5, -1e-6],
        }
    )
    calls = called_positive(rows, 0.5)
    assert calls["a"].tolist() == [True, False, True] and calls["b"].tolist() == [False]


def test_heat_is_the_own_networks_cam_of_the_slices_asked_for(gated):
    fold, masks, networks = gated
    rows = fold.rows["test"]
    heats = masks.heats(rows)
    assert [heat.name for heat in heats] == ["resnet_cam", "resnet_lstm_cam"]
    scan, number = rows.iloc[3]["scan_id"], rows.iloc[3]["slice_index"]
    for heat, network in zip(heats, networks.values()):
        expected = network.cams(network.channels(scan, np.array([number])))
        assert np.allclose(heat.read(np.array([3]))[:, 0], expected, atol=1e-6)


def test_maps_and_masks_are_cut_to_the_brain_where_the_setting_says_so():
    store, slices = fake_heads(2), np.arange(3)
    whole = labeller(source=store)
    cut = labeller(source=store, cam=CamRegion(brain=True))
    spacing = PixelGrid.of(store.index[store.index["scan_id"] == "scan001"]).pixel_mm
    brain = brain_mask(store.volumes["scan001"], spacing)[slices]
    inside = cut.preprocessing.resized_codes(torch.from_numpy(brain)).numpy()
    maps, uncut = cut.maps("scan001", slices), whole.maps("scan001", slices)
    assert inside.any((1, 2)).all() and not maps[~inside].any() and uncut[~inside].any()
    for scaled, raw, brain in zip(maps, uncut, inside):
        low, high = raw[brain].min(), raw[brain].max()
        assert np.allclose(scaled[brain], (raw[brain] - low) / (high - low), atol=1e-6)
    assert (cut.masks("scan001", slices)["kmeans"] <= inside).all()


def test_the_table_says_which_cluster_was_taken(gated):
    fold, masks, _ = gated
    truth = fold.test_truth(masks.labellers["resnet_lstm"].preprocessing)
    table = cluster_choices({0: masks}, {0: truth})
    assert len(table) == truth.positive().sum() and set(table["recipe"]) == {"kmeans"}
    assert (table["took_brightest"] == (table["taken"] == table["clusters"])).all()
    first = table.iloc[0]
    network = masks.labellers["resnet_lstm"]
    channels = network.channels(first["scan_id"], [first["slice_index"]])
    region = network.maps(first["scan_id"], [first["slice_index"]])[0] > 0.7
    label = network.label(channels[0].numpy(), region, network.recipes["kmeans"])
    sizes = [(label.clusters == number).sum() for number in range(1, label.clusters.max() + 1)]
    assert (first["taken"], first["largest"]) == (label.chosen, int(np.argmax(sizes)) + 1)
