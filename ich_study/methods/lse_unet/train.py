"""The trainings of notebook 02: LSE-UNet as printed, as its authors run it, and that with one thing
changed.

LSE-UNet, Sections 3, 4 and 6.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ich_study.errors import DataError, ParameterError, require_known
from ich_study.evaluate.unseen import assert_unseen
from ich_study.inputs.preprocessing import preprocessing_from
from ich_study.inputs.slices import SliceSource
from ich_study.methods.lse_unet.loss import LOSS_WEIGHTS, LSELoss
from ich_study.methods.lse_unet.network import (
    LSE_VARIANTS,
    create_lse_unet,
    lse_settings,
    trained_encoder,
)
from ich_study.models.backbones import Backbone, create_backbone
from ich_study.models.settings import BackboneSettings
from ich_study.models.sources import weights_of_run
from ich_study.models.weights import read_metadata
from ich_study.splits.overlap import assert_disjoint
from ich_study.splits.split import EXCLUDED
from ich_study.study import Study, parts_table
from ich_study.training.config import TrainingConfig, going_on
from ich_study.training.learner import TrainingRun, train_classifier

NO_CONSISTENCY = "no_consistency_loss"
SHARED_PATIENTS = "shared_patients"
RANDOM_ENCODER = "random_encoder"
ARMS = ("printed", "authors", NO_CONSISTENCY, SHARED_PATIENTS, RANDOM_ENCODER)
"""Values of `variant` in the result table. The last three are the base variant with one thing
changed."""


@dataclass(frozen=True)
class LSEParts:
    """Index rows of training and validation, and of the patients whom the overlap guard took out of
    the training part. `monitored`: where several data sets are learned from, the validation rows of
    all, which tell the epoch; `validation` is that of the one that thresholds are for."""

    train: pd.DataFrame
    validation: pd.DataFrame
    excluded: pd.DataFrame
    monitored: pd.DataFrame

    def table(self, test_rows: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
        """Patients, slices and positive slices of each class, a row per part and for the test
        slices."""
        parts = {"train": self.train, "validation": self.validation, "excluded": self.excluded}
        return parts_table({**parts, "test": test_rows}, classes)


@dataclass(frozen=True)
class LSERecipe:
    """What all arms share. base_variant: the one that the ablation and the shared patients change.

    changes: settings of `LSESettings` that differ from the variant's, for every arm; empty for the
    paper's. encoder_weights: of a 01_backbones run; without it the encoder is
    `backbone`, settings of BackboneSettings.
    """

    base_variant: str
    changes: Mapping[str, Any]
    encoder_weights: Path | None
    backbone: Mapping[str, Any]

    def encoder(self, config: TrainingConfig, arm: str) -> Backbone:
        """A fresh encoder for an arm; ParameterError where a trained one has another number of
        input channels.

        In the arm RANDOM_ENCODER it is the trained encoder's network, with weights drawn anew.
        """
        if self.encoder_weights is None:
            if arm == RANDOM_ENCODER:
                raise ParameterError(
                    f"arm {arm!r} without encoder_run is the base variant once more; name a run of"
                    " 01_backbones there"
                )
            return create_backbone(
                outputs=config.outputs,
                in_channels=config.in_channels,
                seed=config.seed,
                **BackboneSettings.read(self.backbone, "backbone").arguments(),
            )
        encoder = trained_encoder(self.encoder_weights)
        if encoder.in_channels != config.in_channels:
            found, wanted = encoder.in_channels, config.in_channels
            raise ParameterError(
                f"the encoder of {self.encoder_weights} takes {found} channels; the windows and"
                f" slices here make {wanted}"
            )
        return (
            encoder if arm != RANDOM_ENCODER else Backbone.rebuild(encoder.arguments(), config.seed)
        )


def lse_parts(study: Study, dataset: str, split: str, train_with: Mapping[str, str]) -> LSEParts:
    """Rows of the parts `train`, `validation` and `excluded` of a data set; the last is empty where
    the guard took nobody out. train_with: data set -> its split, learned from too."""
    learned = {dataset: split, **train_with}
    took = (study.splits[split]["part"] == EXCLUDED).any()
    return LSEParts(
        study.rows_together(learned, "train"),
        study.rows(dataset, split, "validation"),
        study.rows(dataset, split, EXCLUDED) if took else study.rows(dataset).head(0),
        study.rows_together(learned, "validation"),
    )


def train_variant(
    arm: str,
    recipe: LSERecipe,
    config: TrainingConfig,
    source: SliceSource,
    parts: LSEParts,
    test_rows: pd.DataFrame,
    folder: Path,
) -> TrainingRun:
    """One arm of ARMS, trained into `folder`.

    Test patients stand in no training part, except in the arm that measures what it is worth if
    they do. Raises ParameterError for an unknown arm, SplitError for a shared patient, DataError
    where the arm with shared patients has none.
    """
    require_known("arm", arm, ARMS)
    assert_disjoint(parts.monitored, test_rows)
    assert_disjoint(parts.train, test_rows)
    rows = with_shared_patients(parts, test_rows) if arm == SHARED_PATIENTS else parts.train
    network = create_lse_unet(
        recipe.encoder(config, arm),
        config.outputs,
        lse_settings(arm_variant(arm, recipe.base_variant), recipe.changes),
        config.seed,
        config.size,
    )
    loss = arm_loss(arm, recipe.base_variant, config)
    return train_classifier(network, config, source, rows, parts.monitored, folder, loss)


def arm_variant(arm: str, base_variant: str) -> str:
    """Whose settings an arm has, the paper's ("printed") or its code's ("authors")."""
    return arm if arm in LSE_VARIANTS else base_variant


def arm_loss(arm: str, base_variant: str, config: TrainingConfig) -> LSELoss:
    """The loss that an arm trains with."""
    variant = arm_variant(arm, base_variant)
    return LSELoss(variant, arm != NO_CONSISTENCY, config.class_weights)


def variant_table() -> pd.DataFrame:
    """Every setting in which the paper and its code differ, a row each (printed_and_authors,
    000.1 to 000.5)."""
    columns = {}
    for name, settings in LSE_VARIANTS.items():
        weights = {key: str(value) for key, value in asdict(LOSS_WEIGHTS[name]).items()}
        columns[name] = {**settings.describe(), **weights}
    return pd.DataFrame(columns)


def with_shared_patients(parts: LSEParts, test_rows: pd.DataFrame) -> pd.DataFrame:
    """Training rows and those of the excluded patients who stand in the test rows; DataError where
    there are none."""
    shared = parts.excluded[parts.excluded["patient_id"].isin(set(test_rows["patient_id"]))]
    if shared.empty:
        raise DataError(
            "no patient of the test set stands among the excluded ones; there is no optimism of"
            " shared patients to measure"
        )
    return pd.concat([parts.train, shared], ignore_index=True)


def checked_encoder(
    encoder_run: str | None,
    baseline_runs: Sequence[str],
    test_rows: pd.DataFrame,
    config: TrainingConfig,
    backbone: str,
    differs: Collection[str],
) -> Path | None:
    """The checkpoint of the encoder's run, if there is one, after `check_encoder`; neither it nor
    the baselines saw a patient that is tested on (`unseen.assert_unseen`)."""
    for run in filter(None, [encoder_run, *baseline_runs]):
        assert_unseen(weights_of_run(run), test_rows)
    if encoder_run is None:
        return None
    weights = weights_of_run(encoder_run)
    check_encoder(weights, config, backbone, differs)
    return weights


def check_encoder(
    weights: Path, config: TrainingConfig, backbone: str, differs: Collection[str]
) -> None:
    """ParameterError unless a trained encoder is the named `backbone` and saw slices as they are
    made here: windows and their scaling, stack, normalisation. differs: what of these may differ
    (`Preprocessing`'s names). Size and crop may, as it has no layer that knows them."""
    metadata = read_metadata(weights)
    found = preprocessing_from(metadata["preprocessing"])
    wanted = config.preprocessing(found.mean, found.std)
    name = metadata["architecture"].get("name")
    said = [] if name == backbone else [f"it is a {name}, backbone says {backbone}"]
    for setting in ("windows", "window_scaling", "stack_depth", "mean", "std"):
        own, here = getattr(found, setting), getattr(wanted, setting)
        if own != here and setting not in differs:
            said.append(f"its {setting} is {own}, here it is {here}")
    if said:
        raise ParameterError(
            f"the encoder of {weights} is another than the parameters say: {'; '.join(said)}."
            " Change them, or name what may differ in encoder_differs"
        )


def training_config(
    training: Mapping[str, Any], restart_changed: bool, arms: Sequence[str], base_variant: str
) -> TrainingConfig:
    """Settings of the training that all arms share.

    ParameterError unless the arms are known, distinct, and the base variant, which others are
    compared with, is the first.
    """
    known = set(arms) <= set(ARMS) and base_variant in LSE_VARIANTS
    if not known or len(set(arms)) != len(arms) or [*arms][:1] != [base_variant]:
        raise ParameterError(
            f"arms {list(arms)} with base_variant {base_variant!r}; expected that one first, then"
            f" others of {', '.join(ARMS)}"
        )
    return TrainingConfig.read({**training, "restart_changed": restart_changed}, "training")


def arm_trainings(
    config: TrainingConfig, arms: Sequence[str], first_weights: Mapping[str, str | None]
) -> dict[str, TrainingConfig]:
    """The training of each arm, from its own checkpoint where `first_weights` names one, which may
    be for arms that are left out. ParameterError for an unknown arm."""
    for arm in first_weights:
        require_known("first_weights", arm, ARMS)
    used = {arm: path for arm, path in first_weights.items() if arm in arms}
    return going_on(config, arms, used)
