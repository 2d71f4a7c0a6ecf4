from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch

from ich_study.evaluate.heat import Heat
from ich_study.inputs.slices import SliceDataset
from ich_study.methods.hgi_sam.attention_maps import (
    AUTHORS,
    PRINTED,
    hgi_sam,
    swin_grad_cam,
    swin_sam,
)
from ich_study.methods.hgi_sam.maps import (
    CLASSIFIER_OF,
    AttentionHeat,
    ablations,
    archives_of,
    attention_heats,
    heat_and_logits,
    stages_held,
)
from ich_study.methods.hgi_sam.swin import create_swin
from tests.evaluate.fakes import truth_of
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
BRAIN = np.zeros((12, 32, 32), bool)
BRAIN[:, 4:30, 6:26] = True
TRUTH = truth_of(BRAIN, brain=BRAIN)
PREPROCESSING = config(normalisation="half").preprocessing()


def swin(outputs, seed=0):
    return create_swin(outputs, options=TINY, seed=seed).model.eval()


def archived(folder, model, rows=ROWS, sha256="0" * 64):
    runs = {"swin": SimpleNamespace(model=model, weights_sha256=sha256, device=CPU)}
    return archives_of(runs, folder, "test", STORE, rows, PREPROCESSING, 5)["swin"]


def inputs_of(places):
    return PREPROCESSING.inputs(
        SliceDataset(STORE, ROWS, ("any",), PREPROCESSING).__getitems__(list(places))[0]
    )


def heat(archive, kind, variant, brain=None, stages=None):
    held = stages_held(archive, kind, variant)
    if kind == "swin_hgi_sam" and stages is None:
        held = held[:3]
    return AttentionHeat(kind, variant, archive, kind, stages or held, 32, brain)


def test_kept_layers_fuse_to_the_maps_computed_at_once(tmp_path):
    model, index = swin(2), np.array([1, 4, 9])
    archive, images = archived(tmp_path, model), inputs_of([1, 4, 9])
    inside = torch.from_numpy(BRAIN[index])
    for name, variant in (("printed", PRINTED), ("authors", AUTHORS)):
        own = heat(archive, "swin_hgi_sam", name, BRAIN)
        target = 1 if name == "printed" else None
        cases = [
            (own, hgi_sam(model, images, 1, inside, variant).fused),
            (
                replace(own, brain=None).every_stage(),
                hgi_sam(model, images, 1, None, variant, (0, 1, 2, 3)).fused,
            ),
            (
                heat(archive, "swin_sam", name, BRAIN),
                swin_sam(model, images, inside, variant).fused,
            ),
            (
                heat(archive, "swin_grad_cam", name, BRAIN),
                swin_grad_cam(model, images, target, inside)[0],
            ),
        ]
        for found, maps in cases:
            assert np.allclose(found.read(index)[:, 0], maps, atol=1e-4)


def test_heat_of_the_slices_is_a_heat_of_one_class(tmp_path):
    own = heat(archived(tmp_path, swin(1)), "swin_sam", "printed", BRAIN)
    assert isinstance(own, Heat) and len(own) == 12 and own.classes == ("any",)
    read = own.read(slice(2, 5))
    assert read.shape == (3, 1, 32, 32) and read.dtype == np.float32
    assert not read[:, 0][~BRAIN[2:5]].any() and own.stages == (0, 1, 2, 3)
    # the pixel at the threshold is in, and the threshold is that of the slice
    thresholds = np.full(12, 2.0)
    thresholds[3] = float(read[1].max())
    assert own.masks(np.array([3, 2]), thresholds).sum((1, 2)).tolist() == [
        (read[1] == read[1].max()).sum(),
        0,
    ]


def test_a_network_of_one_output_has_no_gradient_maps(tmp_path):
    archive = archived(tmp_path, swin(1))
    assert stages_held(archive, "swin_hgi_sam", "printed") == ()
    assert stages_held(archive, "swin_sam", "printed") == (0, 1, 2, 3)


def test_maps_of_other_weights_or_slices_are_computed_anew(tmp_path):
    first = heat(archived(tmp_path, swin(1)), "swin_sam", "printed").read(slice(0, 3))
    other = archived(tmp_path, swin(1, seed=5), sha256="1" * 64)
    assert not np.allclose(first, heat(other, "swin_sam", "printed").read(slice(0, 3)))
    assert archived(tmp_path, swin(1), STORE.index.head(5)).count == 5


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
        found = attention_heats(archives, variant, TRUTH)
        assert {
            name: (maps.archive.name, maps.kind, maps.stages) for name, maps in found.items()
        } == {
            "swin_grad_cam": ("two_outputs", "swin_grad_cam", (3,)),
            "swin_sam_multi_label": ("multi_label", "swin_sam", (0, 1, 2, 3)),
            "swin_sam_binary": ("binary", "swin_sam", (0, 1, 2, 3)),
            "swin_hgi_sam": ("two_outputs", "swin_hgi_sam", (0, 1, 2)),
        }
        assert {maps.variant for maps in found.values()} == {variant}


def test_the_ablations_are_of_the_stages_and_the_brain_that_their_columns_name(tmp_path):
    archives = {
        name: archived(tmp_path / name, swin(outputs))
        for name, outputs in (("binary", 1), ("multi_label", 6), ("two_outputs", 2))
    }
    methods = attention_heats(archives, "printed", TRUTH)
    found = ablations(methods)
    named = [(each.name, each.layer, each.stages, each.brain is not None) for each in found]
    assert named == [
        ("swin_hgi_sam", "0-2", (0, 1, 2), True),
        ("swin_hgi_sam", "0-3", (0, 1, 2, 3), True),
        ("swin_hgi_sam", None, (0, 1, 2), False),
        ("swin_sam_binary", "0-2", (0, 1, 2), True),
    ]
    own, *maps = (each.read(slice(None)) for each in (methods["swin_hgi_sam"], *found))
    assert np.array_equal(own, maps[0]) and not np.allclose(own, maps[1])
    assert maps[2][:, 0][~BRAIN].any() and not own[:, 0][~BRAIN].any()
    assert not np.allclose(maps[3], methods["swin_sam_binary"].read(slice(None)))


def test_heat_computed_at_once_is_of_the_methods_own_classifier(monkeypatch):
    networks = {"binary": swin(1, 1), "multi_label": swin(6, 2), "two_outputs": swin(2, 3)}
    images, inside = inputs_of([4]), torch.from_numpy(BRAIN[:1])
    for name, variant in (("printed", PRINTED), ("authors", AUTHORS)):
        target = 1 if name == "printed" else None
        expected = {
            "swin_grad_cam": swin_grad_cam(networks["two_outputs"], images, target, inside)[0],
            "swin_sam_multi_label": swin_sam(networks["multi_label"], images, inside, variant),
            "swin_sam_binary": swin_sam(networks["binary"], images, inside, variant),
            "swin_hgi_sam": hgi_sam(networks["two_outputs"], images, 1, inside, variant),
        }
        for method, maps in expected.items():
            model = networks[CLASSIFIER_OF[method]]
            found, _ = heat_and_logits(method, model, images, inside, name)
            assert torch.equal(found, getattr(maps, "fused", maps))
