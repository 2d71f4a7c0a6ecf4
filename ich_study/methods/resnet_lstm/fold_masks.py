"""Pseudo-masks of all scans of a fold: which classifier made them, and on which slices they stand.

On training and validation scans the image-level labels say so. In the test part there are no labels
to go by: there the classifier that made a mask says so itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from ich_study.evaluate.heat import Heat
from ich_study.evaluate.slice_predictions import decided
from ich_study.methods.resnet_lstm.pseudo_masks import PseudoLabeller, cached_masks
from ich_study.methods.resnet_lstm.settings import CamRegion, ClusterRecipe
from ich_study.methods.resnet_lstm.study import Fold, Stage1

Masks = Mapping[str, np.ndarray]
"""By scan, bool (slices, size, size)."""
CALLERS = {"resnet": "resnet", "resnet_lstm": "resnet_lstm_refitted"}
"""Whose predictions say on which test slices a classifier's masks stand: its own."""


@dataclass(frozen=True)
class FoldMasks:
    """Masks by classifier (`resnet`, `resnet_lstm`), recipe and scan.

    made: on every slice that somebody may ask for. labels: image-level labels of all scans. called:
    by classifier, slices of the test scans that it calls positive; both by scan, bool (slices,).
    labellers: by classifier.
    """

    made: Mapping[str, Mapping[str, Masks]] = field(repr=False)
    labels: Mapping[str, np.ndarray] = field(repr=False)
    called: Mapping[str, Mapping[str, np.ndarray]] = field(repr=False)
    labellers: Mapping[str, PseudoLabeller] = field(repr=False)

    def teaching(self, classifier: str, recipe: str) -> dict[str, np.ndarray]:
        """Masks of training and validation scans, on slices whose label is positive."""
        tested = self.called[classifier]
        gates = {scan: labels for scan, labels in self.labels.items() if scan not in tested}
        return _standing(self.made[classifier][recipe], gates)

    def test(
        self, classifier: str, recipe: str, by: Literal["call", "label"] = "call"
    ) -> dict[str, np.ndarray]:
        """Masks of test scans on slices that `classifier` calls positive, or, for comparison, by
        "label" on those whose label is."""
        called = self.called[classifier]
        gates = called if by == "call" else self.labels
        tested = {scan: gates[scan] for scan in self.labels if scan in called}
        return _standing(self.made[classifier][recipe], tested)

    def heats(self, rows: pd.DataFrame, variant: str = "printed") -> list[Heat]:
        """Heat of slices of the index by each classifier: its CAM, as the pseudo-masks take it."""
        named = self.labellers.items()
        return [labeller.heat(f"{name}_cam", rows, variant) for name, labeller in named]


def make_pseudo_masks(
    fold: Fold,
    stage: Stage1,
    predictions: Mapping[str, pd.DataFrame],
    cam: CamRegion,
    recipes: Mapping[str, ClusterRecipe],
    gate: float = 0.5,
) -> FoldMasks:
    """CAM regions and pseudo-masks with and without the LSTM's training.

    predictions: of the test part (`Stage1.predictions`). gate: probability from which a slice of
    the test part counts as positive.
    """
    known, tested = fold.labels("train", "validation"), fold.labels("test")
    made, called = {}, {}
    labellers = labellers_of(fold, stage, cam, recipes)
    for name, labeller in labellers.items():
        called[name] = called_positive(predictions[CALLERS[name]], gate)
        wanted = known | {scan: called[name][scan] | labels for scan, labels in tested.items()}
        folder = fold.folder / "pseudo_masks" / name
        made[name] = cached_masks(labeller, wanted, folder, f"{name}, fold {fold.number}")
    return FoldMasks(made, known | tested, called, labellers)


def labellers_of(
    fold: Fold, stage: Stage1, cam: CamRegion, recipes: Mapping[str, ClusterRecipe]
) -> dict[str, PseudoLabeller]:
    """What makes pseudo-masks without and with the LSTM's training, by name of the classifier.

    With it, that is the network that is left when the LSTM has gone.
    """
    found = {}
    for name, backbone, weights in (
        ("resnet", stage.resnet, stage.weights["resnet"]),
        ("resnet_lstm", stage.refitted, stage.weights["refitted"]),
    ):
        made_of = backbone, stage.preprocessing, weights, fold.store
        found[name] = PseudoLabeller(*made_of, cam, recipes, stage.device)
    return found


def called_positive(predictions: pd.DataFrame, gate: float) -> dict[str, np.ndarray]:
    """Slices of each scan with a probability of at least `gate`, bool in the order of slices."""
    groups = predictions.sort_values("slice_index").groupby("scan_id", sort=False)
    return {str(scan): decided(rows["logit"], gate) for scan, rows in groups}


def _standing(made: Masks, gates: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {scan: made[scan] & gate[:, None, None] for scan, gate in gates.items()}
