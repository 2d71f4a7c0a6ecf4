"""The detector on one slice, with settings that a reader moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ich_study.figures.names import window_words
from ich_study.methods.mil.figures import Panel, panel_figure
from ich_study.methods.mil.network import ReadyNetwork
from ich_study.methods.mil.peaks import PUBLISHED, Detector, detection_steps, upsampled
from ich_study.methods.mil.pipeline import ScoredMaps, run_network
from ich_study.metrics.points import point_counts, point_f1
from ich_study.store import Store

STEP_TITLES = {
    "maxima": "local maxima above T",
    "border": "off the blind border",
    "h_maxima": "rising by h",
    "distance": "highest within d",
}


def largest_boxes(rows: pd.DataFrame, boxes: Sequence[np.ndarray]) -> list[int]:
    """Which slices to show, by rule: those whose boxes cover most, of six patients."""
    areas = [each[:, 2:].prod(1).sum() for each in boxes]
    table = rows.reset_index(drop=True).assign(area=areas)
    largest = table[table["area"] > 0].sort_values("area", ascending=False, kind="stable")
    return largest.drop_duplicates("patient_id").index[:6].tolist()


def input_panels(windows: Sequence[str], channels: np.ndarray) -> list[Panel]:
    """A panel per channel (C, side, side) of what the network sees, named by its window."""
    return [
        Panel(f"input: {window_words(name)}", channel, len(channel), None, colours="gray")
        for name, channel in zip(windows, channels, strict=True)
    ]


def detector_in_shares(
    likelihood: np.ndarray,
    h: float,
    T: float,
    d: int,
    order: str = "printed",
    blind_border: bool = False,
) -> Detector:
    """A detector whose h and T are shares of a map's range, so that one number serves logits and
    weights that sum to 1.

    >>> detector_in_shares(np.array([[-1.0, 3.0]]), h=0.1, T=0.5, d=2).threshold
    1.0
    """
    low, span = float(likelihood.min()), float(np.ptp(likelihood))
    return Detector(h * span, low + T * span, d, order, blind_border)


def step_panels(likelihood: np.ndarray, detector: Detector, boxes: np.ndarray) -> list[Panel]:
    """A panel per step of the detector: the points that it leaves, and small what it drops."""
    steps = detection_steps(likelihood, detector)
    panels = []
    for (name, points), before in zip(steps.items(), [(), *steps.values()]):
        title = f"{STEP_TITLES[name]}: {len(points)}"
        panels.append(Panel(title, likelihood, len(likelihood), None, boxes, points, before))
    return panels


def side_by_side(
    networks: Mapping[str, ReadyNetwork], hu: np.ndarray, boxes: np.ndarray, h: float, T: float
) -> Figure:
    """The steps of each network with the detector of its name, a row each: `printed`, and
    `authors` with the code's order and blind border. h and T as in `detector_in_shares`, d as
    published for the networks' head."""
    rows = []
    for name, ready in networks.items():
        side, head = ready.preprocessing.size, ready.network.head
        logits, cells = run_network(ready.model, ready.inputs(hu[None]))
        likelihood = upsampled(cells, side)[0]
        d = max(1, round(PUBLISHED[head].distance * side / 256))
        detector = detector_in_shares(likelihood, h, T, d, name, name == "authors")
        map_panel = Panel(f"{name}: logit {logits[0]:.2f}", cells[0], side, None, boxes)
        steps = step_panels(likelihood, detector, boxes)
        found = steps[-1].points
        f1 = point_f1(point_counts(found, boxes))
        on_slice = Panel(f"{name}: F1 {f1:.2f}", hu, side, boxes=boxes, points=found)
        rows.append([on_slice, map_panel, *steps])
    return panel_figure(rows, f"{head}, d = {d} px, {' above '.join(networks)}")


def draw_detection(
    scored: Mapping[str, ScoredMaps],
    store: Store,
    order: str,
    blind_border: bool,
    slice: int,
    head: str,
    h: float,
    T: float,
    d: int,
) -> Figure:
    """The detector's steps on one slice, for settings that a reader moves
    (`detector_in_shares`)."""
    likelihood, boxes = scored[head].read(np.array([slice]))[0], scored[head].boxes[slice]
    detector = detector_in_shares(likelihood, h, T, d, order, blind_border)
    steps = step_panels(likelihood, detector, boxes)
    row, points = scored[head].rows.iloc[slice], steps[-1].points
    hu = store.slice(str(row["scan_id"]), int(row["slice_index"]))
    first = Panel(f"patient {row['patient_id']}", hu, len(likelihood), boxes=boxes, points=points)
    counts = point_counts(points, boxes)
    return panel_figure(
        [[first, *steps]],
        f"{head}, {order}: h={detector.prominence:.3g}, T={detector.threshold:.3g}, d={d};"
        f" {counts.tp} boxes hit, {counts.fn} missed, {counts.fp} points in none",
    )
