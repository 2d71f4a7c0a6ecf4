import numpy as np
import pytest
import torch

from ich_study.errors import ParameterError
from ich_study.evaluate.scored_slices import ScoredSlices
from ich_study.inputs.slices import SliceDataset
from ich_study.methods.hgi_sam.attention_maps import (
    AUTHORS,
    PRINTED,
    hgi_sam,
    swin_grad_cam,
    swin_sam,
)
from ich_study.methods.hgi_sam.maps import attention_archive, fused_maps
from ich_study.methods.hgi_sam.study import (
    every_stage,
    map_methods,
    masks_at,
    weak_methods,
    with_folds,
)
from ich_study.methods.hgi_sam.swin import create_swin
from ich_study.splits.split import make_folds
from tests.training.fakes import config, fake_store

TINY = {
    "img_size": 32,
    "patch_size": 2,
    "window_size": 4,
    "embed_dim": 8,
    "depths": [2, 2, 2, 2],
    "num_heads": [2, 2, 2, 2],
}
"""16, 8, 4 and 2 tokens a side: the last two stages are one window."""
STORE = fake_store(patients=4)
ROWS = STORE.index.head(12)
CPU = torch.device("cpu")
PREPROCESSING = config(normalisation="half").preprocessing()


def swin(outputs, seed=0):
    return create_swin(outputs, options=TINY, seed=seed).model.eval()


def archived(folder, model, rows=ROWS, batch_size=5):
    return attention_archive(folder, model, "0" * 64, STORE, rows, PREPROCESSING, CPU, batch_size)


def inputs_of(places):
    return PREPROCESSING.inputs(
        SliceDataset(STORE, ROWS, ("any",), PREPROCESSING).__getitems__(list(places))[0]
    )


def test_kept_layers_fuse_to_the_maps_computed_at_once(tmp_path):
    model, places = swin(2), np.array([1, 4, 9])
    archive, images = archived(tmp_path, model), inputs_of([1, 4, 9])
    brain = np.zeros((3, 32, 32), bool)
    brain[:, 4:30, 6:26] = True
    inside = torch.from_numpy(brain)
    for name, variant in (("printed", PRINTED), ("authors", AUTHORS)):
        expected = hgi_sam(model, images, 1, inside, variant).fused
        assert np.allclose(
            fused_maps(archive, "swin_hgi_sam", name, 32).read(places, brain), expected, atol=1e-4
        )
        four = hgi_sam(model, images, 1, None, variant, (0, 1, 2, 3)).fused
        assert np.allclose(
            every_stage(fused_maps(archive, "swin_hgi_sam", name, 32)).read(places), four, atol=1e-4
        )
        sam = swin_sam(model, images, inside, variant).fused
        assert np.allclose(
            fused_maps(archive, "swin_sam", name, 32).read(places, brain), sam, atol=1e-4
        )
        cam = swin_grad_cam(model, images, 1 if name == "printed" else None, inside)[0]
        assert np.allclose(
            fused_maps(archive, "swin_grad_cam", name, 32).read(places, brain), cam, atol=1e-4
        )


def test_a_network_of_one_output_has_no_gradient_maps_and_says_so(tmp_path):
    archive = archived(tmp_path, swin(1))
    assert fused_maps(archive, "swin_sam", "printed", 32).stages == (0, 1, 2, 3)
    with pytest.raises(ParameterError, match="the archive holds"):
        fused_maps(archive, "swin_hgi_sam", "printed", 32)
    with pytest.raises(ParameterError, match="of stages"):
        fused_maps(archive, "swin_sam", "printed", 32, [7])


def test_maps_of_other_weights_or_slices_are_computed_anew(tmp_path):
    first = fused_maps(archived(tmp_path, swin(1)), "swin_sam", "printed", 32).read(slice(0, 3))
    attention_archive(tmp_path, swin(1, seed=5), "1" * 64, STORE, ROWS, PREPROCESSING, CPU, 5)
    second = fused_maps(
        archived(tmp_path / "again", swin(1, seed=5)), "swin_sam", "printed", 32
    ).read(slice(0, 3))
    assert not np.allclose(first, second)
    assert archived(tmp_path, swin(1), STORE.index.head(5)).count == 5


def test_the_methods_of_table_1_and_their_ablations(tmp_path):
    archives = {
        name: archived(tmp_path / name, swin(outputs))
        for name, outputs in (("binary", 1), ("multi_label", 6), ("two_outputs", 2))
    }
    truth = np.zeros((12, 32, 32), bool)
    truth[::2, 8:14, 8:14] = True
    brain = np.ones_like(truth)
    brain[:, :6] = False
    scored = ScoredSlices(
        ROWS, np.zeros(truth.shape, np.int16), truth.astype(np.uint8), brain, [], np.ones(12)
    )
    methods = weak_methods(archives, scored, truth)
    settings = [(each.method, each.maps.variant, each.layer, each.brain_mask) for each in methods]
    assert (
        len(set(settings)) == len(settings) == 11
        and ("swin_hgi_sam", "printed", "0-3", True) in settings
    )
    assert list(map_methods(archives, "printed", 32)) == [
        "swin_grad_cam",
        "swin_sam_multi_label",
        "swin_sam_binary",
        "swin_hgi_sam",
    ]
    masks = masks_at(methods[0], np.full(12, 0.3), np.array([2, 3]), brain)
    assert masks.shape == (2, 32, 32) and not masks[~brain[[2, 3]]].any()
    folds = with_folds(ROWS, make_folds(ROWS, 2, 0))["fold"].to_numpy()
    tuned = methods[3].tuned(folds)
    assert set(tuned.by_fold) == {0, 1} and tuned.counts.tp.shape == (12,)
