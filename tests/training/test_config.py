import pytest

from ich_study.errors import ParameterError
from ich_study.training.config import LoopSettings, TrainingConfig, going_on


def test_parameters_round_trip_through_their_description():
    config = TrainingConfig.read(
        {
            "classes": ["any", "IPH"],
            "windows": ["brain", "subdural", "bone"],
            "learning_rate": 1,
            "positive_weight": [1, 2.5],
            "early_stopping_patience": 3,
            "augmentation": "cam_benchmark",
            "augmentation_options": {"0.rotate": 15},
        }
    )
    assert (config.learning_rate, config.positive_weight, config.outputs, config.in_channels) == (
        1.0,
        (1.0, 2.5),
        2,
        3,
    )
    assert TrainingConfig.read(config.describe()) == config
    assert TrainingConfig() == TrainingConfig.read({})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epoch": 3}, "unknown setting 'epoch'; did you mean 'epochs'?"),
        ({"epochs": "3"}, "epochs is '3' (str)"),
        ({"epochs": 3.5}, "epochs is 3.5"),
        ({"epochs": True}, "epochs is True"),
        ({"epochs": 0}, "epochs is 0"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"early_stopping_patience": 0}, "early_stopping_patience is 0"),
        ({"loss": "mse"}, "loss is 'mse'; expected one of bce, focal"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"classes": ["ICH"]}, "classes[0] is 'ICH'"),
        ({"classes": []}, "classes is []"),
        ({"classes": ["any", "any"]}, "none of them twice"),
        ({"windows": ["liver"]}, "windows[0] is 'liver'"),
        ({"windows": "brain"}, "windows is 'brain'"),
        ({"stack_depth": 2}, "stack_depth is 2"),
        ({"positive_weight": [1.0, 2.0]}, "positive_weight"),
        ({"positive_weight": 0.0}, "positive_weight"),
        ({"loss": "focal", "positive_weight": 2.0}, "only loss bce uses it"),
        ({"loss": "cross_entropy_two_outputs"}, "is for one class"),
        ({"loss": "cross_entropy_softmaxed"}, "is for one class"),
        ({"augmentation": "flip"}, "augmentation is 'flip'"),
        ({"step_epochs": [3, 2]}, "rising order"),
        ({"normalisation": "z"}, "normalisation is 'z'"),
        ({"seed": -1}, "seed is -1"),
        ({"cache_in_memory": 1}, "cache_in_memory is 1"),
        ({"focal_gamma": "no"}, "focal_gamma is 'no'"),
        ({"augmentation": "lse_unet", "augmentation_options": {"rotate": 3}}, "no option 'rotate'"),
        (
            {"augmentation": "lse_unet", "augmentation_options": {"1.rotate": 3}},
            "no option '1.rotate'",
        ),
        ({"processes": 2}, "distributed is false"),
    ],
)
def test_every_wrong_parameter_is_named(changes, words):
    with pytest.raises(ParameterError) as error:
        TrainingConfig.read(changes)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("windows", "depth", "channels"),
    [(("brain",), 1, 3), (("ich",), 3, 3), (("brain", "bone"), 1, 2), (("brain", "bone"), 3, 6)],
)
def test_input_channels(windows, depth, channels):
    assert TrainingConfig(windows=windows, stack_depth=depth).in_channels == channels


def test_the_primary_class_and_the_outputs():
    assert TrainingConfig(classes=("SDH", "any")).primary_class == "any"
    assert TrainingConfig(classes=("SDH", "IPH")).primary_class == "SDH"
    assert TrainingConfig(classes=("SDH",), loss="cross_entropy_two_outputs").outputs == 2


def test_normalisation_follows_the_pretrained_weights_only_when_asked():
    half = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert TrainingConfig(normalisation="pretrained").preprocessing(*half).mean == half[0]
    assert TrainingConfig(normalisation="imagenet").preprocessing(*half).mean == (
        0.485,
        0.456,
        0.406,
    )


def test_every_setting_says_what_it_means_and_the_defaults_are_valid():
    for model in (TrainingConfig, LoopSettings):
        assert all(field.description for field in model.model_fields.values())
        assert model(**dict(model())) == model()


def test_the_defaults_are_the_documented_ones():
    found = TrainingConfig()
    assert (found.size, found.learning_rate, found.optimizer, found.epochs) == (
        224,
        0.001,
        "adam",
        40,
    )
    assert (found.loss, found.sampler, found.augmentation, found.keep) == (
        "bce",
        "none",
        "none",
        "best",
    )
    assert dict(found.loop) == {**dict(LoopSettings()), "monitor": "valid_loss"}


def test_the_loops_part_of_a_classifiers_settings_is_watched_by_the_loss():
    given = {"epochs": 7, "optimizer": "sgd", "schedule": "cosine", "monitor": "auroc"}
    loop = TrainingConfig.read({**given, "channels_last": True}).loop
    assert type(loop) is LoopSettings and loop.channels_last
    assert (loop.epochs, loop.optimizer, loop.schedule) == (7, "sgd", "cosine")
    assert loop.monitor == "valid_loss"


def test_each_network_goes_on_from_its_own_first_weights_else_from_the_common_ones():
    names, own = ["attention", "max_pooling"], {"max_pooling": "m.safetensors"}
    for common in (None, "all.safetensors"):
        each = going_on(TrainingConfig(first_weights=common), names, own)
        assert {name: one.first_weights for name, one in each.items()} == {
            "attention": common,
            "max_pooling": "m.safetensors",
        }
    with pytest.raises(ParameterError, match="max_poling; trained are max_pooling"):
        going_on(TrainingConfig(), ["max_pooling"], {"max_poling": "m.safetensors"})
