"""Heat of the CAMs against truth, for Table II in both halves and beyond: overlap, boxes, hits.

Heat is read once per part for pixel counts at every threshold of a grid, and once per threshold
chosen for what it marks; no more than one batch of full size maps is held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from tqdm import tqdm

from ich_study.errors import DataError
from ich_study.evaluate.heat import Heat, batches
from ich_study.evaluate.score import Scores, score
from ich_study.evaluate.thresholds import Choice, choose
from ich_study.evaluate.truth import Truth
from ich_study.methods.cams.heat import threshold_grid
from ich_study.metrics.boxes import component_boxes, filled_counts, match_boxes
from ich_study.metrics.overlap import Counts, stack_counts
from ich_study.metrics.ratio import ratio
from ich_study.metrics.statistics import PatientStatistic

_NO_BOXES = np.zeros((0, 4))


@dataclass(frozen=True)
class Marks:
    """What heat at or above a threshold marks on every slice, each (slices,).

    choice: the threshold, and the pixels counted there. cm2: area. brain_share: share of the brain
    that is marked, NaN without brain. union: pixels of the filled boxes around what is marked
    against those of the truth (`box_dice`). matched: boxes, one to one (`box_match_f1`). Slices
    without truth have no boxes: speckle over thousands of them would only cost time.
    """

    choice: Choice
    cm2: np.ndarray = field(repr=False)
    brain_share: np.ndarray = field(repr=False)
    union: Counts = field(repr=False)
    matched: Counts = field(repr=False)

    @property
    def threshold(self) -> float:
        """At or above this a pixel is marked."""
        return self.choice.single.value


@dataclass(frozen=True)
class MethodScores:
    """One method at one layer in one variant on the test part. marks: by threshold source."""

    scores: Scores
    marks: dict[str, Marks] = field(repr=False)

    @property
    def label(self) -> str:
        """Such as "hires_cam [-3]"; a rival's name alone."""
        layer = self.scores.layer
        return f"{self.scores.name} [{layer}]" if layer else self.scores.name


def score_all(
    validation: Sequence[Heat],
    test: Sequence[Heat],
    truths: tuple[Truth, Truth],
    class_name: str = "any",
    unit: str = "pixel",
    batch: int = 32,
    min_iou: float = 0.5,
) -> list[MethodScores]:
    """Scores of every heat of the test part, in order.

    validation: the same methods on other patients, in the same order; their masks, and for raw maps
    their values, choose the thresholds `masks-validation`. truths: of validation and test. unit:
    what a threshold maximises, "pixel" for the global Dice of Table IIa, "slice" for the mean of
    Table IIb. min_iou: from which boxes match. Raises DataError where the two parts
    differ in methods, or one has no truth.
    """
    named = [
        [(heat.name, heat.layer, heat.variant) for heat in part] for part in (validation, test)
    ]
    if named[0] != named[1]:
        raise DataError(f"validation has heat of {named[0]}, test of {named[1]}")
    for part, truth in zip(("validation", "test"), truths):
        if not truth.positive(class_name).any():
            raise DataError(
                f"the {part} part has no slice with truth; thresholds and overlap need positives"
            )
    boxes, found = truths[1].boxes(class_name), []
    pairs = list(zip(validation, test))
    for pair in tqdm(pairs, "scoring maps", unit="map", mininterval=5, leave=False):
        grid = threshold_grid(pair[0])
        held_out, own = (
            score(heat, truth, grid, class_name, batch) for heat, truth in zip(pair, truths)
        )
        choices = {
            "masks-validation": choose(own, "masks-validation", held_out=held_out, unit=unit),
            "masks-test": choose(own, "masks-test", unit=unit),
        }
        marks = {
            source: _marks(pair[1], truths[1], choice, boxes, batch, min_iou)
            for source, choice in choices.items()
        }
        found.append(MethodScores(own, marks))
    return found


def _marks(
    heat: Heat,
    truth: Truth,
    choice: Choice,
    boxes: Sequence[np.ndarray],
    batch: int,
    min_iou: float,
) -> Marks:
    cm2, share = np.full((2, len(truth)), np.nan)
    union, matched = [], []
    for index in batches(len(truth), batch):
        masks = heat.read(index)[:, 0] >= choice.single.value
        cm2[index] = masks.sum((1, 2)) * truth.pixel_cm2[index]
        brain = truth.brain[index]
        # a slice without brain has no share of it
        share[index] = ratio((masks & brain).sum((1, 2)), brain.sum((1, 2)))
        for mask, true in zip(masks, boxes[index]):
            predicted = component_boxes(mask) if len(true) else _NO_BOXES
            union.append(filled_counts(predicted, true, mask.shape))
            matched.append(match_boxes(predicted, true, min_iou))
    return Marks(choice, cm2, share, stack_counts(union), stack_counts(matched))


def precision_recall(scores: Scores, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Sensitivity and precision of the pixels of positive slices, (T + 1,) each, from the highest
    threshold to none. size: of a slice, pixels."""
    tp, selected = _from_high_to_low(scores.counts[scores.positive], size)
    tp, selected = tp.sum(0), selected.sum(0)
    return tp / tp[-1], ratio(tp, selected)


def pixel_average_precision(scores: Scores, size: int, chosen: np.ndarray) -> PatientStatistic:
    """Area under the precision-recall curve of pixels over the grid, of the patients with chosen
    slices. chosen: bool (slices,). size: of a slice, pixels."""
    names, index = np.unique(
        scores.rows["patient_id"].astype(str).to_numpy()[chosen], return_inverse=True
    )
    per_patient = np.zeros((2, len(names), len(scores.grid) + 1))
    for sums, part in zip(per_patient, _from_high_to_low(scores.counts[chosen], size)):
        np.add.at(sums, index, part)

    def evaluate(weights: np.ndarray) -> np.ndarray:
        tp, selected = weights @ per_patient[0], weights @ per_patient[1]
        precision = np.divide(tp, selected, out=np.zeros_like(tp), where=selected > 0)
        gained = np.diff(tp, axis=1, prepend=0)
        return ratio((precision * gained).sum(1), tp[:, -1])

    return PatientStatistic(names, evaluate, share=True)


def _from_high_to_low(counts: Counts, size: int) -> tuple[np.ndarray, np.ndarray]:
    """TP and selected pixels per slice, from the highest threshold to none, where every pixel is
    selected, (slices, T + 1)."""
    everything = np.full((len(counts.tp), 1), size**2)
    tp = np.concatenate([counts.tp[:, ::-1], (counts.tp + counts.fn)[:, :1]], 1)
    return tp, np.concatenate([(counts.tp + counts.fp)[:, ::-1], everything], 1)


def threshold_table(scored: Sequence[MethodScores]) -> pd.DataFrame:
    """Every threshold: `method, layer, variant, threshold_source, threshold, objective` (the Dice
    it reached where it was chosen)."""
    rows = []
    for each in scored:
        named = each.scores.name, each.scores.layer or "", each.scores.variant
        for source, marks in each.marks.items():
            rows.append((*named, source, marks.threshold, marks.choice.single.objective))
    columns = ["method", "layer", "variant", "threshold_source", "threshold", "objective"]
    return pd.DataFrame(rows, columns=columns)
