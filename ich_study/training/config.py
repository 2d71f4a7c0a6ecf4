"""Every parameter of training a slice classifier, checked when it is set.

Papers' settings: LSE-UNet Section 4; CAM benchmark Section IV; ResNet-LSTM stage 1; what their
texts leave out is in docs/printed_and_authors.md.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from ich_study.ct.windows import named_window
from ich_study.errors import ParameterError
from ich_study.inputs.augment import Augmentation, named_augmentation
from ich_study.inputs.preprocessing import CROPS, NORMALISATIONS, WINDOW_SCALINGS, Preprocessing
from ich_study.schema import LABELS

CHOICES: dict[str, tuple[str, ...]] = {
    "window_scaling": WINDOW_SCALINGS,
    "crop": CROPS,
    "normalisation": (*NORMALISATIONS, "pretrained"),
    "loss": ("bce", "focal", "cross_entropy_two_outputs", "cross_entropy_softmaxed"),
    "sampler": ("none", "inverse_frequency", "balanced"),
    "optimizer": ("sgd", "adam", "adamw"),
    "schedule": ("constant", "step", "cosine", "one_cycle"),
    "monitor": ("valid_loss", "auroc", "auroc_mean", "f1", "accuracy"),
    "keep": ("best", "last"),
    "precision": ("fp32", "amp", "bf16"),
    "device": ("cpu", "cuda", "auto"),
}
TWO_OUTPUT_LOSSES = ("cross_entropy_two_outputs", "cross_entropy_softmaxed")
POSITIVE = (
    "size",
    "learning_rate",
    "epochs",
    "batch_size",
    "step_factor",
    "one_cycle_divisor",
    "one_cycle_final_divisor",
)
NOT_NEGATIVE = (
    "weight_decay",
    "momentum",
    "focal_gamma",
    "seed",
    "num_workers",
    "warmup_epochs",
    "min_learning_rate",
)
POSITIVE_OR_NONE = (
    "early_stopping_patience",
    "max_train_batches",
    "max_validation_batches",
    "processes",
)
INDIFFERENT = frozenset({"num_workers", "cache_in_memory"})
"""Fields that do not change a single weight; a run may be resumed with other values of these."""


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of one training run. Raises ParameterError naming the field that is wrong.

    classes: labels, in the order of the logits. For the losses of two outputs exactly one.
    windows, window_scaling, stack_depth, size, crop: see `Preprocessing`.
    normalisation: "imagenet", "half", "none", or "pretrained" (what the network's weights expect).
    augmentation, augmentation_options: see `augment.named_augmentation`.
    positive_weight: weight of positive labels in `bce`, one number or one per class.
    loss: "cross_entropy_softmaxed" is HGI-SAM's code: cross-entropy of outputs that went through a
    softmax already.
    focal_alpha: weight of positives against negatives in `focal`; None leaves both at 1.
    sampler: "inverse_frequency" draws len(rows) slices with replacement, weighted by 1/frequency of
        `sampler_label`; "balanced" draws 2 x positives without replacement (HGI-SAM's code).
    schedule: "step" multiplies by `step_factor` every `step_epochs`, or after each of them where
    there are several; "cosine" falls to
        `min_learning_rate`; "one_cycle" as fastai's; `warmup_epochs` rise linearly before step and
        cosine.
    early_stopping_patience: epochs without improvement of `monitor`; None never stops early.
    momentum: of SGD, or Adam's first beta; "one_cycle" schedules it along `one_cycle_momenta`.
    keep: weights of the best epoch by `monitor`, or of the last.
    precision: "amp" is float16 with loss scaling and needs CUDA; "bf16" runs on CUDA and CPU.
    device: "auto" takes CUDA where there is one, and the run records what it took.
    processes: with `distributed`, processes started by accelerate; None takes one per visible GPU.
    """

    classes: tuple[str, ...] = LABELS
    windows: tuple[str, ...] = ("brain",)
    window_scaling: str = "fixed"
    stack_depth: int = 1
    size: int = 224
    crop: str = "none"
    normalisation: str = "imagenet"
    augmentation: str = "none"
    augmentation_options: dict[str, Any] = field(default_factory=dict)
    loss: str = "bce"
    positive_weight: float | tuple[float, ...] = 1.0
    focal_gamma: float = 2.0
    focal_alpha: float | None = None
    sampler: str = "none"
    sampler_label: str = "any"
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.9
    schedule: str = "constant"
    step_epochs: int | tuple[int, ...] = 10
    step_factor: float = 0.1
    warmup_epochs: float = 0.0
    min_learning_rate: float = 0.0
    one_cycle_rise: float = 0.25
    one_cycle_divisor: float = 25.0
    one_cycle_final_divisor: float = 1e5
    one_cycle_momenta: tuple[float, ...] = (0.95, 0.85, 0.95)
    epochs: int = 40
    batch_size: int = 16
    drop_last: bool = True
    early_stopping_patience: int | None = None
    monitor: str = "valid_loss"
    keep: str = "best"
    seed: int = 0
    precision: str = "fp32"
    channels_last: bool = False
    device: str = "cpu"
    num_workers: int = 0
    cache_in_memory: bool = False
    max_train_batches: int | None = None
    max_validation_batches: int | None = None
    distributed: bool = False
    processes: int | None = None

    def __post_init__(self) -> None:
        types = typing.get_type_hints(TrainingConfig)
        for entry in fields(self):
            object.__setattr__(
                self, entry.name, _typed(entry.name, getattr(self, entry.name), types[entry.name])
            )
        _check_choices(self)
        _check_ranges(self)
        _check_labels(self)
        _check_combinations(self)

    @property
    def outputs(self) -> int:
        """Logits of the network."""
        return 2 if self.loss in TWO_OUTPUT_LOSSES else len(self.classes)

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
        if (
            self.normalisation == "pretrained"
            and pretrained_mean is not None
            and pretrained_std is not None
        ):
            mean, std = pretrained_mean, pretrained_std
        else:
            mean, std = NORMALISATIONS[
                "imagenet" if self.normalisation == "pretrained" else self.normalisation
            ]
        return Preprocessing(
            self.windows, self.window_scaling, self.stack_depth, self.size, self.crop, mean, std
        )

    def augmenter(self) -> Augmentation:
        """The training augmentation."""
        return named_augmentation(self.augmentation, self.augmentation_options)

    def describe(self) -> dict[str, Any]:
        """JSON-able parameters, as `from_parameters` takes them."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }


def from_parameters(parameters: Mapping[str, Any]) -> TrainingConfig:
    """Parameters of a YAML file as a checked configuration; ParameterError names unknown ones."""
    names = [entry.name for entry in fields(TrainingConfig)]
    unknown = sorted(set(parameters) - set(names))
    if unknown:
        raise ParameterError(f"unknown training parameters {unknown}; known: {', '.join(names)}")
    return TrainingConfig(**dict(parameters))


def defaults() -> dict[str, Any]:
    """Default of every field."""
    return {
        entry.name: entry.default if entry.default is not MISSING else entry.default_factory()  # type: ignore[misc]
        for entry in fields(TrainingConfig)
    }


def _typed(name: str, value: Any, wanted: Any) -> Any:
    allowed = typing.get_args(wanted) if _is_union(wanted) else (wanted,)
    for kind in allowed:
        converted = _converted(value, kind)
        if converted is not None or (value is None and kind is type(None)):
            return converted
    raise ParameterError(
        f"{name} is {value!r} ({type(value).__name__}); expected"
        f" {str(wanted).replace('typing.', '')}"
    )


def _is_union(wanted: Any) -> bool:
    return len(typing.get_args(wanted)) > 1 and typing.get_origin(wanted) not in (tuple, dict)


def _converted(value: Any, kind: Any) -> Any:
    origin = typing.get_origin(kind) or kind
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if origin is tuple and isinstance(value, (list, tuple)):
        item = typing.get_args(kind)[0]
        items = tuple(_converted(entry, item) for entry in value)
        return None if any(entry is None for entry in items) else items
    if origin is dict and isinstance(value, Mapping):
        return dict(value)
    matches = isinstance(value, origin) and (origin is bool or not isinstance(value, bool))
    return value if matches else None


def _check_choices(config: TrainingConfig) -> None:
    for name, choices in CHOICES.items():
        if getattr(config, name) not in choices:
            raise ParameterError(
                f"{name} is {getattr(config, name)!r}; expected one of {', '.join(choices)}"
            )


def _check_ranges(config: TrainingConfig) -> None:
    for names, low, words in ((POSITIVE, 0, "above 0"), (POSITIVE_OR_NONE, 0, "above 0, or none")):
        for name in names:
            value = getattr(config, name)
            if value is not None and not value > low:
                raise ParameterError(f"{name} is {value}; expected a number {words}")
    for name in NOT_NEGATIVE:
        if not getattr(config, name) >= 0:
            raise ParameterError(f"{name} is {getattr(config, name)}; expected 0 or more")
    if config.stack_depth < 1 or config.stack_depth % 2 == 0:
        raise ParameterError(
            f"stack_depth is {config.stack_depth}; expected an odd number of slices"
        )
    if len(config.one_cycle_momenta) != 3 or not all(
        0 <= value < 1 for value in config.one_cycle_momenta
    ):
        raise ParameterError(
            f"one_cycle_momenta is {config.one_cycle_momenta}; expected start, middle and end, each"
            " in [0, 1)"
        )
    if not 0 < config.one_cycle_rise < 1:
        raise ParameterError(
            f"one_cycle_rise is {config.one_cycle_rise}; expected a share of the training between 0"
            " and 1"
        )
    steps = config.step_epochs if isinstance(config.step_epochs, tuple) else (config.step_epochs,)
    if not steps or min(steps) < 1 or list(steps) != sorted(set(steps)):
        raise ParameterError(
            f"step_epochs is {config.step_epochs}; expected a number above 0, or several in rising"
            " order"
        )
    if config.warmup_epochs >= config.epochs:
        raise ParameterError(
            f"warmup_epochs is {config.warmup_epochs}, epochs {config.epochs}; the warm-up must end"
            " before the training"
        )


def _check_labels(config: TrainingConfig) -> None:
    unknown = [label for label in (*config.classes, config.sampler_label) if label not in LABELS]
    if unknown:
        raise ParameterError(
            f"classes or sampler_label hold {unknown}; expected labels of {', '.join(LABELS)}"
        )
    if not config.classes:
        raise ParameterError(f"classes is empty; name at least one of {', '.join(LABELS)}")
    if len(set(config.classes)) != len(config.classes):
        raise ParameterError(f"classes {list(config.classes)} names a label twice")
    for name in config.windows:
        named_window(name)
    weights = (
        config.positive_weight
        if isinstance(config.positive_weight, tuple)
        else (config.positive_weight,)
    )
    if len(weights) not in (1, len(config.classes)) or min(weights) <= 0:
        raise ParameterError(
            f"positive_weight is {config.positive_weight}; expected a number above 0, or one for"
            " each class"
        )


def _check_combinations(config: TrainingConfig) -> None:
    if config.loss in TWO_OUTPUT_LOSSES and len(config.classes) != 1:
        raise ParameterError(f"loss {config.loss} is for one class, not {list(config.classes)}")
    if config.loss != "bce" and config.positive_weight != 1.0:
        raise ParameterError(
            f"positive_weight is {config.positive_weight}, but only loss bce uses it, and loss is"
            f" {config.loss}"
        )
    if config.processes is not None and not config.distributed:
        raise ParameterError(f"processes is {config.processes}, but distributed is false")
    if config.warmup_epochs and config.schedule in ("constant", "one_cycle"):
        raise ParameterError(
            f"warmup_epochs is {config.warmup_epochs}, but schedule {config.schedule} has no"
            " warm-up of that kind"
        )
    config.augmenter()
