"""README's picture: every method draws the same slice of a phantom, and no real slice is drawn."""

from __future__ import annotations

import shutil

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import torch

from ich_study.atomic import write_csv, write_json
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.methods.lse_unet.network import LSE_VARIANTS, create_lse_unet
from ich_study.methods.mil.network import create_mil
from ich_study.models.backbones import create_backbone
from ich_study.models.weights import save_weights
from ich_study.splits.split import write_split
from ich_study.store import Store, build_store
from tests.methods.hgi_sam.swins import NAME, OPTIONS
from tests.methods.lse_unet.test_network import SMALL
from tests.store.fake_reader import FakeReader, write_source
from tools import readme_picture

RESNET = {"layers": [1, 1, 1, 1], "channels": [8, 16, 16, 16], "zero_init_last": False}


def save(runs, place, network, size=32):
    windows = ("brain",) * network.in_channels
    mean, std = (0.0,) * 3, (1.0,) * 3
    preprocessing = Preprocessing(windows, "fixed", 1, size, "none", mean, std)
    metadata = {"architecture": network.describe(), "preprocessing": preprocessing.describe()}
    (runs / place).mkdir(parents=True)
    save_weights(runs / place / "weights.safetensors", network.model, metadata)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Finished runs of untrained networks on two small scans."""
    runs = tmp_path_factory.mktemp("smoke")
    source = write_source(runs / "source", 2)
    build_store(FakeReader(source.root), runs / "00_data" / "store", workers=1)
    summary = pd.DataFrame({"dataset": ["fake", "real"], "synthetic": [True, False]})
    write_csv(runs / "00_data" / "summary.csv", summary)
    encoder = create_backbone("rdnet_tiny", 6, 3, options=SMALL)
    networks = {
        "02_lse_unet/authors": create_lse_unet(encoder, 6, LSE_VARIANTS["authors"]),
        "03_resnet_lstm/fold_0/refitted": create_backbone("resnet101", 1, 3, options=RESNET),
        "04_swin_hgi_sam/two_outputs/all": create_backbone(NAME, 2, 3, options=OPTIONS),
        "05_mil_detector/max_pooling": create_mil("printed", "max_pooling", channels=(4, 4, 4)),
        "01_backbones/final": create_backbone("resnet101", 1, 3, options=RESNET, seed=2),
    }
    # untrained score maps may lie below 0 everywhere, and ReLU would leave nothing of them
    torch.nn.init.constant_(networks["02_lse_unet/authors"].model.scores[0].bias, 3.0)
    for place, network in networks.items():
        save(runs, place, network, size=64 if place.startswith(("01", "03")) else 32)
    record = {"parameters": {"classifier_run": "runs/smoke/01_backbones/final"}}
    write_json(runs / "06_cam_benchmark" / "run.json", record)
    return runs


def test_the_picture_shows_the_largest_lesion_with_five_heats(runs, tmp_path, capsys, monkeypatch):
    drawn = []
    grid = readme_picture.heatmap_grid
    monkeypatch.setattr(
        readme_picture,
        "heatmap_grid",
        lambda *given, **named: drawn.append(given) or grid(*given, **named),
    )
    cut = []
    monkeypatch.setattr(
        readme_picture, "cut_to_brain", lambda heat, brain: cut.append(brain.shape) or heat
    )
    target = tmp_path / "readme.png"
    arguments = ["--runs", str(runs), "--dataset", "fake", "--target", str(target)]
    assert readme_picture.main(arguments) == 0
    assert cut == [(1, 256, 256)] * 2  # ResNet-LSTM and HGI-SAM, as their notebooks do
    assert "scan 1, slice 3" in capsys.readouterr().out  # scan 0 has no mask
    hu, columns, title, codes = drawn[0]
    assert [column.title for column in columns] == [
        "LSE-UNet",
        "ResNet-LSTM",
        "HGI-SAM",
        "MIL",
        "HiResCAM",
    ]
    for column in columns:
        heat = column.heatmaps
        assert heat.shape == hu.shape == codes.shape == (1, 256, 256)
        assert heat.min() >= 0 and heat.max() <= 1
        assert np.ptp(heat) > 0, column.title
    assert "Synthetic phantom" in title and matplotlib.image.imread(target).size > 0


def test_the_largest_lesion_stands_above_the_middle_one():
    assert readme_picture.chosen_by_size(np.array([10, 40, 20, 30, 50])) == [4, 3]
    assert readme_picture.chosen_by_size(np.array([10])) == [0]


def test_a_slice_of_a_real_data_set_is_not_drawn(runs, tmp_path, capsys):
    target = tmp_path / "readme.png"
    arguments = ["--runs", str(runs), "--dataset", "real", "--target", str(target)]
    assert readme_picture.main(arguments) == 2
    assert "not a synthetic phantom" in capsys.readouterr().err and not target.exists()


def test_a_real_slice_is_of_a_test_patient_and_names_its_licence(
    runs, tmp_path, capsys, monkeypatch
):
    real = tmp_path / "open"
    shutil.copytree(runs, real)
    write_csv(
        real / "00_data" / "summary.csv", pd.DataFrame({"dataset": ["fake"], "synthetic": [False]})
    )
    # the boxes of both scans are alike, so that only the split tells whose slice is drawn
    parts = pd.DataFrame(
        {"dataset": "fake", "patient_id": ["P0", "P1"], "part": ["test", "train"]}, dtype="string"
    )
    write_split(real / "00_data" / "splits" / "fake.csv", parts)
    monkeypatch.setattr(readme_picture, "LICENCES", {"fake": "somebody, CC BY 4.0"})
    titles = []
    grid = readme_picture.heatmap_grid
    monkeypatch.setattr(
        readme_picture,
        "heatmap_grid",
        lambda *given, **named: titles.append(given[2]) or grid(*given, **named),
    )
    arguments = ["--runs", str(real), "--dataset", "fake", "--target", str(tmp_path / "real.png")]
    assert readme_picture.main(arguments) == 0
    assert "scan 0, slice 3" in capsys.readouterr().out
    assert "Real slice (somebody, CC BY 4.0)" in titles[0]


def test_a_picture_of_grey_values_says_what_stands_in_for_hu(runs, tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(
        readme_picture, "save_figure", lambda figure, target: titles.append(figure.get_suptitle())
    )
    grey = Store(runs / "00_data" / "store" / "fake")
    grey.intensity = "8-bit grey of a window around 40 HU, 120 HU wide"
    readme_picture.draw(runs, "fake", tmp_path / "hu.png")
    monkeypatch.setattr(readme_picture, "Store", lambda path: grey)
    readme_picture.draw(runs, "fake", tmp_path / "grey.png")
    hu, other = (" ".join(title.split()) for title in titles)
    assert hu.endswith("(window: level 40, width 80 HU)")
    assert other.endswith("width 80 HU, from 8-bit grey of a window around 40 HU)")


def test_a_run_that_is_missing_is_named(tmp_path, capsys):
    (tmp_path / "00_data").mkdir()
    write_csv(tmp_path / "00_data" / "summary.csv", pd.DataFrame({"dataset": [], "synthetic": []}))
    assert readme_picture.main(["--runs", str(tmp_path)]) == 2
    with pytest.raises(readme_picture.StudyError, match="run the study first"):
        readme_picture.classifier_of(tmp_path)
