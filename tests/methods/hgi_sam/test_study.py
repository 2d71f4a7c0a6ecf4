from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from ich_study.errors import DataError
from ich_study.evaluate.scored_slices import ScoredSlices
from ich_study.evaluate.thresholds import fixed_threshold
from ich_study.methods.hgi_sam import rows as hgi_rows, study as hgi_study
from ich_study.methods.hgi_sam.figures import layer_figure
from ich_study.methods.hgi_sam.maps import attention_archive
from ich_study.methods.hgi_sam.scores import FoldThresholds
from ich_study.methods.hgi_sam.swin import create_swin
from ich_study.schema import result_table
from ich_study.splits.split import make_folds
from tests.training.fakes import FakeStore, config, fake_store

PLAIN = fake_store(patients=8)
SWIN = {
    "img_size": 32,
    "patch_size": 2,
    "window_size": 4,
    "embed_dim": 8,
    "depths": [2, 2, 2, 2],
    "num_heads": [2, 2, 2, 2],
}
COMMON = {"study": "04_swin_hgi_sam", "dataset": "fake", "class": "any", "variant": "printed"}


class MaskedStore(FakeStore):
    """Masks: what is far brighter than brain."""

    def has_mask(self, scan_id):
        return True

    def mask(self, scan_id):
        return (self.volume(scan_id) > 52).astype(np.uint8) * 6


STORE = MaskedStore(PLAIN.index, PLAIN.volumes, PLAIN.content_hash)
FOLDS = make_folds(STORE.index, 2, 0)
ROWS = hgi_study.with_folds(STORE.index, FOLDS)
PREPROCESSING = config(normalisation="half").preprocessing()


@pytest.fixture(scope="module")
def scored():
    codes = np.stack(
        [
            PREPROCESSING.resized_codes(
                torch.from_numpy(STORE.mask(row.scan_id)[[row.slice_index]])
            )[0].numpy()
            for row in ROWS.itertuples()
        ]
    )
    brain = np.zeros(codes.shape, bool)
    brain[:, 4:28, 4:28] = True
    return ScoredSlices(
        ROWS, np.full(codes.shape, 30, np.int16), codes, brain, [], np.ones(len(ROWS))
    )


@pytest.fixture(scope="module")
def methods(scored, tmp_path_factory):
    folder, archives = tmp_path_factory.mktemp("maps"), {}
    for name, outputs in (("binary", 1), ("multi_label", 6), ("two_outputs", 2)):
        model = create_swin(outputs, options=SWIN).model.eval()
        archives[name] = attention_archive(
            folder / name, model, "0" * 64, STORE, ROWS, PREPROCESSING, torch.device("cpu"), 32
        )
    return hgi_study.weak_methods(archives, scored, scored.truth())


def test_every_slice_is_segmented_by_a_network_that_never_saw_its_patient(tmp_path, scored):
    settings = config(
        optimizer="adamw",
        epochs=4,
        batch_size=4,
        learning_rate=5e-3,
        normalisation="half",
        monitor="valid_loss",
        sampler="inverse_frequency",
        cache_in_memory=True,
    )
    lines, options = [], {"channels": [8, 16], "normalisation": "instance"}
    found, model = hgi_study.supervised_masks(
        "unet", options, settings, STORE, ROWS, FOLDS, tmp_path, 0.2, lines.append
    )
    truth = scored.truth()
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.3 and not model.training
    assert (
        (tmp_path / "unet_fold0").is_dir()
        and (tmp_path / "unet_fold1").is_dir()
        and "fold 1: best epoch" in lines[-1]
    )
    segmentation = hgi_rows.supervised_segmentations({"unet": found}, truth, "printed")["unet"]
    assert int(segmentation.counts.tp.sum()) == int((found & truth).sum())


def test_a_fold_is_segmented_by_the_network_trained_on_the_other_folds(tmp_path, monkeypatch):
    trained = {}

    def fake_training(network, config, store, train, validation, place, report, restart_changed):
        seen = set(train["patient_id"]) | set(validation["patient_id"])
        trained[place.name] = (seen, set(train["patient_id"]) & set(validation["patient_id"]))
        return SimpleNamespace(
            model=place.name, device=torch.device("cpu"), best_epoch=0, history=[0]
        )

    def fake_probability(model, preprocessing, store, rows, *_):
        tested = set(rows["patient_id"])
        seen, twice = trained[model]
        assert not seen & tested and not twice
        assert seen | tested == set(ROWS["patient_id"])
        # one pixel more than one half in fold 0, two in fold 1; the rest exactly at one half
        found = np.full((len(rows), 32, 32), 0.5, np.float32)
        found[:, 0, : 1 + int(model[-1])] = 0.51
        return found

    monkeypatch.setattr(hgi_study, "train_segmenter", fake_training)
    monkeypatch.setattr(hgi_study, "hemorrhage_probability", fake_probability)
    options = {"channels": [4, 8]}
    found, last = hgi_study.supervised_masks(
        "unet", options, config(), STORE, ROWS, FOLDS, tmp_path, 0.2, lambda _: None
    )
    assert last == "unet_fold1" and set(trained) == {"unet_fold0", "unet_fold1"}
    assert found.sum((1, 2)).tolist() == (ROWS["fold"] + 1).tolist()


class FakeArchive:
    """Flat maps; which archive they came from, and which were asked for, is noted."""

    def __init__(self, name, two_outputs):
        self.name, self.asked = name, []
        kinds = ["swin_sam"] + ["swin_hgi_sam"] * two_outputs
        self.names = [
            (f"{kind}-{variant}", f"-{stage}")
            for kind in kinds
            for variant in ("printed", "authors")
            for stage in range(4)
        ]
        if two_outputs:
            self.names += [(f"swin_grad_cam-{variant}", "-3") for variant in ("printed", "authors")]


def test_every_method_explains_its_own_classifier_over_its_own_stages():
    archives = {
        name: FakeArchive(name, name == "two_outputs")
        for name in ("binary", "multi_label", "two_outputs")
    }
    for variant in ("printed", "authors"):
        found = hgi_study.map_methods(archives, variant, 32)
        assert {
            name: (maps.archive.name, maps.kind, maps.stages) for name, maps in found.items()
        } == {
            "swin_grad_cam": ("two_outputs", "swin_grad_cam", (3,)),
            "swin_sam_multi_label": ("multi_label", "swin_sam", (0, 1, 2, 3)),
            "swin_sam_binary": ("binary", "swin_sam", (0, 1, 2, 3)),
            "swin_hgi_sam": ("two_outputs", "swin_hgi_sam", (0, 1, 2)),
        }
        assert {maps.variant for maps in found.values()} == {variant}


def test_the_ablations_are_of_the_stages_and_the_brain_that_their_columns_name(methods):
    found = {
        (each.layer, each.brain_mask): each
        for each in methods
        if (each.method, each.maps.variant) == ("swin_hgi_sam", "printed")
    }
    assert {key: each.maps.stages for key, each in found.items()} == {
        (None, True): (0, 1, 2),
        ("0-2", True): (0, 1, 2),
        ("0-3", True): (0, 1, 2, 3),
        (None, False): (0, 1, 2),
    }
    # outside the brain, rows 0 to 3 and 28 to 31, only the unmasked map is above 0
    selected = {
        key: int((each.scores.counts.tp + each.scores.counts.fp)[:, 1].sum())
        for key, each in found.items()
    }
    assert selected[None, True] <= len(ROWS) * 24 * 24 < selected[None, False]
    mass = {key: np.nansum(each.scores.mass) for key, each in found.items()}
    assert mass["0-2", True] == mass[None, True] != mass["0-3", True]


def test_a_slices_cut_is_that_of_its_fold_and_the_pixel_at_the_cut_is_in():
    by_fold = {0: fixed_threshold(0.25), 1: fixed_threshold(0.75)}
    tuned = FoldThresholds(by_fold, None)
    cuts = hgi_study.slice_cuts(tuned, np.array([1, 0, 1]))
    assert cuts.tolist() == [0.75, 0.25, 0.75]
    heat = np.full((3, 1, 2), 0.75, np.float32) * [0.5, 1]
    maps = SimpleNamespace(read=lambda places, inside: heat[places] * inside)
    method = hgi_study.WeakMethod("swin_hgi_sam", maps, None)
    masks = hgi_study.masks_at(method, cuts, np.array([2, 1]), np.ones((3, 1, 2), bool))
    assert masks[:, 0].tolist() == [[False, True], [True, True]]


def test_all_rows_of_the_notebook_are_one_result_table(methods, scored):
    folds, headline = ROWS["fold"].to_numpy(), hgi_study.chosen(methods, "printed")
    tuned = {name: each.tuned(folds) for name, each in headline.items()}
    segmentations = {
        name: headline[name].segmentation(found.counts, "masks-validation")
        for name, found in tuned.items()
    }
    segmentations |= hgi_rows.supervised_segmentations(
        {"unet": scored.truth()}, scored.truth(), "printed"
    )
    free = dict.fromkeys(headline, fixed_threshold(0.5))
    rivals = hgi_study.rival_scores(scored, scored.truth(), 0)
    decided = {name: np.arange(len(ROWS)) % 2 == 0 for name in headline}
    found = result_table(
        hgi_rows.mask_rows(methods, segmentations, free, rivals, decided, ROWS, COMMON, 50, 0)
    )
    keys = [name for name in found if name not in ("value", "ci_low", "ci_high", "n")]
    assert not found.duplicated(keys).any()
    assert set(found["method"]) >= {
        *headline,
        "unet",
        "hu_threshold",
        "centred_blob",
        "random_map",
        "swin_hgi_sam_gated",
    }
    assert (
        found.query("method == 'unet' and metric == 'dice' and unit == 'scan'")["value"].item() == 1
    )
    layers = found[
        (found["method"] == "swin_hgi_sam")
        & (found["metric"] == "dice")
        & (found["unit"] == "slice")
    ]
    assert set(layers["layer"].dropna()) == {"0-2", "0-3"} and set(layers["brain_mask"]) == {
        True,
        False,
    }
    assert set(layers["variant"]) == {"printed", "authors"}
    table = hgi_study.thresholds_table(tuned, free, "printed")
    assert len(table) == 4 * 2 + 4 and set(table["threshold_source"]) == {
        "masks-validation",
        "none",
    }


def test_boxes_are_scored_without_masks(methods, scored):
    headline = hgi_study.chosen(methods, "printed")
    boxes = scored.truth()
    rows = hgi_rows.box_rows(
        headline,
        dict.fromkeys(headline, fixed_threshold(0.3)),
        boxes,
        scored.brain,
        ROWS,
        COMMON,
        50,
        0,
    )
    rows += hgi_rows.pointing_rows(
        {name: each.scores for name, each in headline.items()}, ROWS, COMMON, 50, 0
    )
    found = result_table(rows)
    assert (
        set(found["metric"]) == {"box_dice", "box_iou", "pointing_game", "mass_inside"}
        and found["value"].between(0, 1).all()
    )
    with pytest.raises(DataError, match="has a box"):
        hgi_rows.box_rows(headline, {}, np.zeros_like(boxes), scored.brain, ROWS, COMMON)


def test_patients_without_a_fold_are_named():
    with pytest.raises(DataError, match="1 patients of the index are in no fold"):
        hgi_study.with_folds(STORE.index, FOLDS.iloc[1:])
    table = hgi_study.parts_table({"train": STORE.index}, ROWS)
    assert (
        table["part"].tolist() == ["train", "test, fold 0", "test, fold 1"]
        and table["slices"].tolist()[0] == table["slices"][1:].sum()
    )


def test_the_layer_figure_has_a_row_per_slice_and_method(methods, scored):
    headline = hgi_study.chosen(methods, "printed")
    layered = {
        name: hgi_study.every_stage(headline[name].maps)
        for name in ("swin_sam_binary", "swin_hgi_sam")
    }
    places = np.flatnonzero(scored.truth().any((1, 2)))[:2]
    drawn = {
        name: hgi_study.masks_at(headline[name], np.full(len(ROWS), 0.3), places, scored.brain)
        for name in layered
    }
    figure = layer_figure(
        scored.hu, scored.truth(), layered, places, scored.brain, headline, drawn, "title"
    )
    assert (
        len(figure.axes) == 4 * 8
        and [axis.get_ylabel() for axis in figure.axes[::8]]
        == ["Swin-SAM binary", "Swin-HGI-SAM"] * 2
    )
    titles = [axis.get_title() for axis in figure.axes[:8]]
    assert titles == ["slice", "truth", "layer 1", "layer 2", "layer 3", "layer 4", "fused", "mask"]
    plt.close("all")
