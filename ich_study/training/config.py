"""Every setting of training: of any network, and of a slice classifier.

Papers' settings: LSE-UNet Section 4; CAM benchmark Section IV; ResNet-LSTM stage 1; what their
texts leave out is in docs/printed_and_authors.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

from ich_study.ct.windows import WINDOWS
from ich_study.errors import ParameterError
from ich_study.inputs.augment import NAMED, Augmentation, named_augmentation
from ich_study.inputs.preprocessing import CROPS, NORMALISATIONS, WINDOW_SCALINGS, Preprocessing
from ich_study.inputs.samplers import SAMPLERS
from ich_study.inputs.settings import Settings, one_of
from ich_study.schema import LABELS

TWO_OUTPUT_LOSSES = ("cross_entropy_two_outputs", "cross_entropy_softmaxed")
INDIFFERENT = frozenset({"device", "num_workers", "cache_in_memory", "restart_changed"})
"""Fields that change no weight beyond rounding; a run may be resumed with other values of these:
what a GPU began goes on, or is scored, without one."""


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("an odd number of slices")
    return value


def _labels_once(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values or len(set(values)) != len(values):
        raise ValueError(f"some of {', '.join(LABELS)}, none of them twice")
    return values


def _rising(values: tuple[int, ...]) -> tuple[int, ...]:
    if not values or list(values) != sorted(set(values)):
        raise ValueError("epochs in rising order")
    return values


Label = Annotated[str, one_of(LABELS)]
Optimizer = Annotated[str, one_of(("sgd", "adam", "adamw"))]
Device = Annotated[str, one_of(("cpu", "cuda", "auto"))]


class LoopSettings(Settings):
    """How any network of the study is trained, whatever it sees."""

    optimizer: Optimizer = Field("adam", description="sgd, adam or adamw")
    learning_rate: PositiveFloat = Field(1e-3, description="the schedule's highest")
    weight_decay: NonNegativeFloat = Field(0.0, description="of the optimizer")
    momentum: NonNegativeFloat = Field(
        0.9, description="of SGD, or Adam's first beta; one_cycle takes fastai's"
    )
    schedule: Annotated[str, one_of(("constant", "step", "cosine", "one_cycle"))] = Field(
        "constant", description="of the learning rate; one_cycle is fastai's"
    )
    step_epochs: PositiveInt | Annotated[tuple[PositiveInt, ...], AfterValidator(_rising)] = Field(
        10, description="`step` multiplies by `step_factor` every so many epochs, or after each"
    )
    step_factor: PositiveFloat = Field(0.1, description="see `step_epochs`")
    epochs: PositiveInt = Field(40, description="passes over the training part, at most")
    early_stopping_patience: PositiveInt | None = Field(
        None, description="epochs without improvement of `monitor`; null never stops early"
    )
    monitor: Annotated[str, one_of(("valid_loss",))] = Field(
        "valid_loss", description="what tells the best epoch, on the validation part"
    )
    keep: Annotated[str, one_of(("best", "last"))] = Field(
        "best", description="weights of the best epoch by `monitor`, or of the last"
    )
    seed: NonNegativeInt = Field(0, description="of everything drawn at random")
    precision: Annotated[str, one_of(("fp32", "amp", "bf16"))] = Field(
        "fp32", description="amp is float16 with loss scaling on CUDA; bf16 runs on CUDA and CPU"
    )
    channels_last: bool = Field(False, description="memory format, faster on most GPUs")
    device: Device = Field(
        "cpu",
        description="auto takes CUDA where there is one; recorded. A run may go on on another",
    )
    distributed: bool = Field(False, description="train on several GPUs")
    processes: PositiveInt | None = Field(
        None, description="with `distributed`, started by accelerate; null: one per visible GPU"
    )
    restart_changed: bool = Field(
        False,
        description="a folder that holds another run is trained anew; false makes it an error",
        exclude=True,  # a checkpoint does not say it
    )

    def check(self) -> None:
        """Settings that do not go together."""
        if self.processes is not None and not self.distributed:
            raise ParameterError(f"processes is {self.processes}, but distributed is false")

    def marks(self) -> dict[str, str]:
        """What must be the same for a run to be resumed."""
        return {name: repr(value) for name, value in self if name not in INDIFFERENT}


class TrainingConfig(LoopSettings):
    """Settings of training a slice classifier: what it sees, what it learns, and the loop's."""

    first_weights: str | None = Field(
        None,
        description="checkpoint of the same network, below the project's folder, that training"
        " goes on from; null: those that the network comes with",
    )
    classes: Annotated[tuple[Label, ...], AfterValidator(_labels_once)] = Field(
        LABELS, description="labels in the order of the logits; one for the losses of two outputs"
    )
    windows: tuple[Annotated[str, one_of(WINDOWS)], ...] = Field(
        ("brain",), min_length=1, description="HU windows, a channel each"
    )
    window_scaling: Annotated[str, one_of(WINDOW_SCALINGS)] = Field(
        "fixed", description="how a window becomes 0 to 1, see `Preprocessing`"
    )
    stack_depth: Annotated[PositiveInt, AfterValidator(_odd)] = Field(
        1, description="neighbouring slices as channels, an odd number"
    )
    size: PositiveInt = Field(224, description="rows and columns of the input, px")
    crop: Annotated[str, one_of(CROPS)] = Field("none", description="see `Preprocessing`")
    normalisation: Annotated[str, one_of((*NORMALISATIONS, "pretrained"))] = Field(
        "imagenet", description="mean and std; `pretrained`: what the network's weights expect"
    )
    augmentation: Annotated[str, one_of(NAMED)] = Field(
        "none", description="random changes of the training slices, named after the papers"
    )
    augmentation_options: dict[str, Any] = Field(
        {}, description="what differs from the named one, see `augment.named_augmentation`"
    )
    loss: Annotated[str, one_of(("bce", "focal", *TWO_OUTPUT_LOSSES))] = Field(
        "bce",
        description="`cross_entropy_softmaxed` is HGI-SAM's code: of outputs that went through a"
        " softmax already",
    )
    positive_weight: PositiveFloat | tuple[PositiveFloat, ...] = Field(
        1.0, description="weight of positive labels in `bce`, one number or one per class"
    )
    focal_gamma: NonNegativeFloat = Field(2.0, description="exponent of `focal`")
    sampler: Annotated[str, one_of(SAMPLERS)] = Field(
        "none",
        description="`inverse_frequency` draws as many slices as there are, with replacement,"
        " weighted by 1/frequency of label `any` in their data set; `same_height` too, the"
        " negatives from where in the head the positives lie; `mostly_same_height` three of four"
        " of them, the fourth from anywhere; `balanced` draws 2 x positives without (HGI-SAM's"
        " code)",
    )
    monitor: Annotated[str, one_of(("valid_loss", "auroc", "auroc_mean", "f1", "accuracy"))] = (
        Field("valid_loss", description="what tells the best epoch, on the validation part")
    )
    batch_size: PositiveInt = Field(16, description="slices of a batch")
    num_workers: NonNegativeInt = Field(0, description="processes that load slices")
    cache_in_memory: bool = Field(False, description="keep all resized slices in memory")
    max_train_batches: PositiveInt | None = Field(None, description="of an epoch; null: all")
    max_validation_batches: PositiveInt | None = Field(None, description="of an epoch; null: all")

    def check(self) -> None:
        """Settings that do not go together."""
        super().check()
        weights = self.positive_weight
        if isinstance(weights, tuple) and len(weights) not in (1, len(self.classes)):
            raise ParameterError(
                f"positive_weight is {list(weights)}; expected one number, or one for each of"
                f" {', '.join(self.classes)}"
            )
        if self.two_outputs and len(self.classes) != 1:
            raise ParameterError(f"loss {self.loss} is for one class, not {list(self.classes)}")
        if self.loss != "bce" and weights != 1.0:
            raise ParameterError(
                f"positive_weight is {weights}, but only loss bce uses it, and loss is {self.loss}"
            )
        self.augmenter()

    @property
    def two_outputs(self) -> bool:
        """Whether the network has a logit for absent and one for present."""
        return self.loss in TWO_OUTPUT_LOSSES

    @property
    def outputs(self) -> int:
        """Logits of the network."""
        return 2 if self.two_outputs else len(self.classes)

    @property
    def class_weights(self) -> tuple[float, ...]:
        """`positive_weight` of each class."""
        weight = self.positive_weight
        return weight if isinstance(weight, tuple) else (weight,) * len(self.classes)

    @property
    def in_channels(self) -> int:
        """Input channels of the network."""
        return self.preprocessing().in_channels

    @property
    def primary_class(self) -> str:
        """The label whose AUROC and F1 the history and the monitor follow: `any`, else the
        first."""
        return "any" if "any" in self.classes else self.classes[0]

    def preprocessing(
        self,
        pretrained_mean: tuple[float, ...] | None = None,
        pretrained_std: tuple[float, ...] | None = None,
    ) -> Preprocessing:
        """HU to input; the pretrained weights' own mean and std serve `normalisation:
        pretrained`."""
        pretrained = self.normalisation == "pretrained"
        mean, std = NORMALISATIONS["imagenet" if pretrained else self.normalisation]
        if pretrained and pretrained_mean is not None and pretrained_std is not None:
            mean, std = pretrained_mean, pretrained_std
        return Preprocessing(
            self.windows, self.window_scaling, self.stack_depth, self.size, self.crop, mean, std
        )

    @property
    def loop(self) -> LoopSettings:
        """The part that any network's training has, the best epoch told by the loss."""
        return LoopSettings(
            **{name: getattr(self, name) for name in LoopSettings.model_fields if name != "monitor"}
        )

    def augmenter(self) -> Augmentation:
        """The training augmentation."""
        return named_augmentation(self.augmentation, self.augmentation_options)


def going_on(
    config: TrainingConfig, names: Sequence[str], first_weights: Mapping[str, str | None]
) -> dict[str, TrainingConfig]:
    """The training of each network by its name, from its own checkpoint where `first_weights` names
    one, else from that of `config`, if any.

    Raises ParameterError for first weights of a network that is not trained.
    """
    idle = sorted(set(first_weights) - set(names))
    if idle:
        raise ParameterError(
            f"first_weights names {', '.join(idle)}; trained are {', '.join(names) or 'none'}"
        )
    return {
        name: config.changed(first_weights=first_weights.get(name, config.first_weights))
        for name in names
    }
