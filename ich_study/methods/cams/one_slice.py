"""One slice through the method: what the network sees, what is captured, and what every CAM makes
of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from ich_study.evaluate.scaling import resized_maps
from ich_study.evaluate.truth import Truth
from ich_study.figures.steps import Step, steps_figure
from ich_study.inputs.slices import network_view
from ich_study.methods.cams.cams import library_scaled
from ich_study.methods.cams.capture import Captured
from ich_study.methods.cams.figures import titled
from ich_study.methods.cams.recipe import CamRecipe, Subject
from ich_study.metrics.overlap import dice, overlap_counts
from ich_study.store.read import Store

SETTINGS = (
    ("evidence against the class", "kept, negative", "set to zero", "set to zero"),
    ("scale", "that of the logit", "0 to 1 in every image", "0 to 1 in every image"),
    ("a slice without hemorrhage", "may stay dark", "has a pixel at 1", "has a pixel at 1"),
    ("AblationCAM writes into channel k", "0", "0", "about -k 10⁷"),
    (
        "sign of the eigen maps",
        "towards the evidence",
        "towards the evidence",
        "as LAPACK gives it",
    ),
)
"""What the three variants do, as rows of setting, raw, printed, library."""


def settings_table() -> pd.DataFrame:
    """The variants side by side: how a raw map becomes heat in each."""
    columns = ["setting", "raw (as defined)", "printed (paper)", "library (pytorch-grad-cam)"]
    return pd.DataFrame(SETTINGS, columns=columns).set_index("setting")


def variant_maps(
    grad_cam: Tensor, ablation: Tensor, library: Tensor, size: int
) -> dict[str, np.ndarray]:
    """Grad-CAM raw and printed, AblationCAM printed and as the library computes it, (n, size, size)
    each, from raw maps (n, h, w)."""
    scaled = {
        "Grad-CAM, printed": grad_cam,
        "AblationCAM, printed": ablation,
        "AblationCAM, library": library,
    }
    found = {"Grad-CAM, raw": resized_maps(grad_cam.float(), size).cpu().numpy()}
    for name, raw in scaled.items():
        found[name] = library_scaled(raw.float(), size).cpu().numpy()
    return found


def variant_results(maps: Mapping[str, np.ndarray], truth: np.ndarray) -> pd.DataFrame:
    """What the variants come to on a slice with a lesion and on healthy ones, a row per variant.

    maps: (1 + healthy slices, S, S), the lesion's first. truth: its mask, bool (S, S). `Dice` at
    the best `threshold` of that slice itself; `healthy peak` is the maximum on the healthy slices
    over that on the lesion's (unknown where its map is empty), `healthy marked` the share of their
    pixels at the threshold.
    """
    rows = []
    for name, (lesion, *healthy) in maps.items():
        thresholds = np.quantile(lesion, np.linspace(0.5, 0.999, 64))
        reached = [float(dice(overlap_counts(lesion >= t, truth))) for t in thresholds]
        best = int(np.argmax(reached))
        peak = np.max(healthy) / lesion.max() if healthy and lesion.any() else np.nan
        marked = (np.array(healthy) >= thresholds[best]).mean() if healthy else np.nan
        rows.append((name, reached[best], float(thresholds[best]), peak, marked))
    columns = ["variant", "Dice", "threshold", "healthy peak", "healthy marked"]
    return pd.DataFrame(rows, columns=columns).set_index("variant")


def method_figure(
    truth: Truth,
    index: int,
    channels: Tensor,
    captured: Captured,
    maps: Mapping[str, Tensor],
    title: str,
    class_name: str = "any",
) -> Figure:
    """What the network sees (channels), A and G of the layer, and every raw map over the slice.

    channels: (n, C, S, S) in [0, 1]. captured, maps: of the same slices, raw (n, h, w) by title;
    the first slice of each is drawn.
    """
    activations, gradients = (
        part[0].cpu().numpy() for part in (captured.activations, captured.gradients)
    )
    k = int(np.abs(gradients.mean((1, 2))).argmax())
    steps = [
        Step(f"seen: channel {number}", seen.cpu().numpy())
        for number, seen in enumerate(channels[0], 1)
    ]
    steps += [
        Step("|A|, mean over k", np.abs(activations).mean(0), "signed"),
        Step("G, mean over k", gradients.mean(0), "signed"),
        Step(f"A, k = {k} (most weight)", activations[k], "signed"),
        Step(f"G, k = {k}", gradients[k], "signed"),
    ]
    for name, raw in maps.items():
        heat = resized_maps(raw[:1].float(), truth.size)[0].cpu().numpy()
        steps.append(_over(truth, index, heat, f"{name}\nup to {heat.max():.2g}", class_name))
    return steps_figure(steps, title, columns=5)


def variants_figure(
    truth: Truth,
    index: Sequence[int],
    maps: Mapping[str, np.ndarray],
    thresholds: Mapping[str, float],
    title: str,
    class_name: str = "any",
) -> Figure:
    """A row per slice of `index`, a column per variant; each variant has one scale for all rows and
    is outlined at its threshold. maps: (slices, S, S) by variant."""
    steps = []
    for row, number in enumerate(index):
        for name, heat in maps.items():
            step = _over(truth, number, heat[row], name, class_name)
            kind = "lesion" if step.truth.any() else "no lesion"
            title_of = f"{name}\n{kind}, up to {heat[row].max():.2g}"
            marked, limit = heat[row] >= thresholds[name], float(np.abs(heat).max())
            steps.append(replace(step, title=title_of, outline=marked, limit=limit))
    return steps_figure(steps, title, columns=len(maps))


def _over(truth: Truth, index: int, heat: np.ndarray, title: str, class_name: str) -> Step:
    """Heat over its slice, the truth outlined."""
    mask = truth.mask(class_name, index)
    return Step(title, heat, "signed", truth=mask, under=truth.hu[index])


@dataclass(frozen=True)
class Browser:
    """Draws one slice, method and depth at a time; its map is computed when it is asked for."""

    subject: Subject
    recipe: CamRecipe
    store: Store = field(repr=False)
    truth: Truth = field(repr=False)
    class_name: str = "any"

    def __call__(self, index: int, method: str, depth: str, threshold: float) -> Figure:
        """The raw map over the slice, and what lies at or above `threshold` times its peak."""
        row = self.truth.rows.iloc[[index]]
        model, target = self.subject.model, self.subject.target
        grid, device = self.subject.preprocessing, self.subject.device
        _, inputs = network_view(self.store, row, grid, device)
        raw = self.recipe.maps(model, inputs, target, [method], [depth])[method, depth]
        heat = resized_maps(raw, self.truth.size)[0].cpu().numpy()
        step = _over(self.truth, index, heat, f"{titled(method)} {depth}", self.class_name)
        marked = heat >= threshold * heat.max()
        reached = float(dice(overlap_counts(marked, step.truth))) if step.truth.any() else np.nan
        named = f"{row['scan_id'].item()} slice {row['slice_index'].item()}: Dice {reached:.2f}"
        figure = steps_figure([replace(step, outline=marked)], named, columns=1)
        figure.set_size_inches(4.6, 4.4)
        return figure
