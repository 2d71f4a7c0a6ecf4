"""Draws README's pictures from finished runs: two slices with the heat of the five methods.

    python -m tools.readme_picture --runs runs/phantom --dataset bhsd --target figures/readme.png
    python -m tools.readme_picture --runs runs/open --dataset phe_sich --target figures/real.png

The slices are those with the largest lesion, or boxes, and with the middle one in size, of patients
that no method is trained on: all of a phantom's data set for testing, the test part of real data.
Each network is loaded from its checkpoint and sees the slices as it was trained to. Real slices are
drawn only where LICENCES says that they may be published.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ich_study.ct.windows import WINDOWS
from ich_study.errors import StudyError
from ich_study.evaluate.scaling import minmax, resized_maps
from ich_study.evaluate.truth import read_truth
from ich_study.figures.heatmaps import MapColumn, heatmap_grid
from ich_study.figures.style import save_figure
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.inputs.slices import network_view
from ich_study.methods.cams.cams import cam_maps, library_scaled
from ich_study.methods.cams.layers import timm_layers
from ich_study.methods.hgi_sam.attention_maps import hgi_sam
from ich_study.methods.lse_unet.network import LSENetwork
from ich_study.methods.mil.network import MilBackbone
from ich_study.methods.resnet_lstm.class_activation import (
    CamRegion,
    cam_of,
    cut_to_brain,
    scaled_cam,
)
from ich_study.models.backbones import Backbone
from ich_study.models.registry import Checkpoint, Network, load
from ich_study.paths import project_root, resolve
from ich_study.splits.split import read_split, rows_of
from ich_study.store import Store

SIDE = 256
"""Rows and columns of the picture of a slice."""
TITLE_LINE = 0.24
"""Inches of a further line of the title."""
DEPTH = "[-3]"
"""Layer of the CAM: the deepest with a finer grid, the paper's best."""
DEVICE = torch.device("cpu")
LICENCES = {"phe_sich": "PHE-SICH-CT-IDS, Ma et al., CC BY 4.0"}
"""Real data whose slices may be published, and whom to name."""


@torch.no_grad()
def lse_unet(model: torch.nn.Module, inputs: Tensor) -> Tensor:
    """Score map of any hemorrhage, pooled by LSE."""
    maps, _ = model.maps_and_logits(inputs)
    return minmax(resized_maps(maps[:, :1].relu(), SIDE))[:, 0]


@torch.no_grad()
def resnet_lstm(model: torch.nn.Module, inputs: Tensor) -> Tensor:
    """Class activation map."""
    return scaled_cam(cam_of(model, inputs, CamRegion())[0], SIDE)


def attention(model: torch.nn.Module, inputs: Tensor) -> Tensor:
    """HGI-SAM of the output of hemorrhage."""
    return minmax(resized_maps(hgi_sam(model, inputs, 1).fused, SIDE))


@torch.no_grad()
def mil(model: torch.nn.Module, inputs: Tensor) -> Tensor:
    """Likelihood map of max-pooling, as a probability."""
    return resized_maps(model.likelihood(inputs)[1].sigmoid(), SIDE)


def hires_cam(model: torch.nn.Module, inputs: Tensor) -> Tensor:
    """HiResCAM, scaled as the library does."""
    layers = timm_layers(model, depths=[DEPTH])
    return library_scaled(
        cam_maps(model, inputs, layers, methods=["HiResCAM"])["HiResCAM", DEPTH], SIDE
    )


@dataclass(frozen=True)
class Method:
    """A column of the picture: the kind of network, its file below the runs, and its heat.

    heat: model and inputs (n, C, H, W) to float32 (n, SIDE, SIDE) in [0, 1]. brain: whether its
    notebook cuts it to the brain before it is scored.
    """

    title: str
    kind: type[Network]
    weights: str
    heat: Callable[[torch.nn.Module, Tensor], Tensor]
    brain: bool = False


METHODS = (
    Method("LSE-UNet", LSENetwork, "02_lse_unet/authors", lse_unet),
    Method("ResNet-LSTM", Backbone, "03_resnet_lstm/fold_0/refitted", resnet_lstm, brain=True),
    Method("HGI-SAM", Backbone, "04_swin_hgi_sam/two_outputs/all", attention, brain=True),
    Method("MIL", MilBackbone, "05_mil_detector/max_pooling", mil),
)


def classifier_of(runs: Path) -> Method:
    """The CAM benchmark's column: the classifier that its run explained."""
    record = runs / "06_cam_benchmark" / "run.json"
    if not record.is_file():
        raise StudyError(f"{record} is not there; run the study first: make smoke")
    run = json.loads(record.read_text(encoding="utf-8"))["parameters"]["classifier_run"]
    return Method("HiResCAM", Backbone, f"01_backbones/{Path(run).name}", hires_cam)


def heat_of(
    method: Method, runs: Path, store: Store, rows: pd.DataFrame, brain: np.ndarray
) -> np.ndarray:
    """Heat of the slices, float32 (n, SIDE, SIDE) in [0, 1]; WeightsError where a run is missing.
    brain: bool (n, SIDE, SIDE)."""
    path = runs / method.weights / "weights.safetensors"
    found: Checkpoint = load(path, DEVICE, method.kind)
    _, inputs = network_view(store, rows, found.preprocessing, DEVICE)
    heat = method.heat(found.model, inputs).detach().numpy().astype(np.float32)
    return cut_to_brain(heat, brain) if method.brain else heat


def chosen_by_size(areas: np.ndarray) -> list[int]:
    """The slice with the largest lesion, then the one in the middle.

    >>> chosen_by_size(np.array([10, 40, 20, 30, 50]))
    [4, 3]
    >>> chosen_by_size(np.array([10]))
    [0]
    """
    order = np.argsort(areas, kind="stable")
    return [int(number) for number in dict.fromkeys([order[-1], order[len(order) // 2]])]


def draw(runs: Path, dataset: str, target: Path) -> str:
    """Draws the picture into `target`; returns which slices it shows.

    Raises StudyError for a data set of real patients that LICENCES does not name.
    """
    summary = pd.read_csv(runs / "00_data" / "summary.csv").set_index("dataset")
    real = not bool(summary["synthetic"].get(dataset, default=False))
    if real and dataset not in LICENCES:
        raise StudyError(
            f"{dataset} of {runs} is not a synthetic phantom, and no licence is known under which"
            " its slices may be published; they stay here"
        )
    store = Store(runs / "00_data" / "store" / dataset)
    grid = Preprocessing(("brain",), "fixed", 1, SIDE, "none", (0.0,), (1.0,))
    kind, rows = ("boxes", held_out(runs, store)) if real else ("masks", store.index)
    known = rows["has_boxes" if real else "has_mask"]
    rows = rows[known & rows["any"].fillna(False)]
    truth = read_truth(store, rows, grid, kind, progress=False)
    numbers = chosen_by_size(truth.mask().sum((1, 2)))
    shown = truth.rows.iloc[numbers].reset_index(drop=True)
    columns = [
        MapColumn(method.title, heat_of(method, runs, store, shown, truth.brain[numbers]))
        for method in (*METHODS, classifier_of(runs))
    ]
    outline = truth.mask("any", numbers) if real else truth.codes[numbers]
    said = (
        f"Real slice ({LICENCES[dataset]}); box: truth"
        if real
        else f"Synthetic phantom ({dataset})"
    )
    title = f"{said}; trained networks of {runs.name}"
    look = {"window": WINDOWS["brain"], "intensity": store.intensity}
    figure = heatmap_grid(truth.hu[numbers], columns, title, outline, **look)
    # wide and low, as it stands on README's first screen
    above = 0.55 + TITLE_LINE * figure.get_suptitle().count("\n")
    height = 0.45 + above + 1.95 * len(numbers)
    figure.set_layout_engine("none")
    figure.set_size_inches(14, height)
    figure.subplots_adjust(
        left=0.005,
        right=0.93,
        bottom=0.3 / height,  # the subtypes' colours stand below
        top=1 - above / height,
        wspace=0.03,
        hspace=0.03,
    )
    figure.axes[-1].set_position((0.938, 0.5 / height, 0.006, 1 - 1.3 / height))  # the colour bar
    save_figure(figure, target)
    return "; ".join(f"{row.scan_id}, slice {row.slice_index}" for row in shown.itertuples())


def held_out(runs: Path, store: Store) -> pd.DataFrame:
    """The test part of the split that is named as its data set."""
    dataset = store.path.name
    split = read_split(runs / "00_data" / "splits" / f"{dataset}.csv")
    return rows_of(store.index, split, "test")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.readme_picture", description=__doc__)
    parser.add_argument("--runs", default="runs/smoke")
    parser.add_argument("--dataset", default="bhsd")
    parser.add_argument("--target", type=Path, default=project_root() / "figures" / "readme.png")
    chosen = parser.parse_args(arguments)
    try:
        shown = draw(resolve(chosen.runs), chosen.dataset, chosen.target)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{chosen.target}: {shown}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
