"""Every network of every arm of every scale is built from its merged parameters, without weights,
and a scale other than `smoke` inherits none of the notebooks' smoke values by accident."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from ich_study import params
from ich_study.inputs.settings import Settings
from ich_study.methods.cams.layers import timm_layers
from ich_study.methods.hgi_sam.segmentation_baselines import create_segmenter
from ich_study.methods.hgi_sam.swin import create_swin
from ich_study.methods.lse_unet.network import create_lse_unet, lse_settings
from ich_study.methods.mil.network import WINDOWS, create_mil
from ich_study.methods.resnet_lstm.network import ResNetLSTM
from ich_study.methods.resnet_lstm.settings import LSTMSettings, UNetSettings
from ich_study.methods.resnet_lstm.volumes import create_unet
from ich_study.models.backbones import Backbone, create_backbone
from ich_study.models.settings import BackboneSettings
from ich_study.training.config import TrainingConfig

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("0[1-6]_*.ipynb"))
NETWORKS = {
    "01_backbones": ["backbone"],
    "02_lse_unet": ["backbone"],
    "03_resnet_lstm": ["backbone", "lstm", "unet"],
    "04_swin_hgi_sam": ["swin", "swin_options", "supervised_networks"],
    "05_mil_detector": ["network", "blocks"],
    "06_cam_benchmark": [],
}
"""Parameters that describe a network, whose default in the notebook is a small one."""


class Arm(NamedTuple):
    """One run of a scale. given: what its files set. values: what it runs with, defaults too."""

    scale: str
    notebook: str
    name: str
    given: dict[str, Any]
    values: dict[str, Any]


def merged_of(layers: list[dict[str, Any]]) -> dict[str, Any]:
    """What several files set, dictionaries entry by entry."""
    found: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            both = isinstance(found.get(name), dict) and isinstance(value, dict)
            found[name] = {**found[name], **value} if both else value
    return found


@cache
def arms() -> list[Arm]:
    found = []
    for scale in sorted(path.name for path in (ROOT / "params").iterdir()):
        for notebook in NOTEBOOKS:
            common = ROOT / "params" / scale / f"{notebook}.yaml"
            own = sorted((ROOT / "params" / scale / notebook).glob("*.yaml"))
            path = ROOT / "notebooks" / f"{notebook}.ipynb"
            for files in [[common, file] for file in own] or [[common]]:
                layers = []
                for file in files:
                    layers.append({k: v.value for k, v in params.read_file(file).items()})
                values = params.complete(path, params.load(path, files))
                found.append(Arm(scale, notebook, files[-1].stem, merged_of(layers), values))
    return found


def arms_of(notebook: str) -> list[Arm]:
    return [arm for arm in arms() if arm.notebook == notebook]


def trained(arm: Arm, name: str, **more: Any) -> TrainingConfig:
    """The training that the parameter `name` holds."""
    return TrainingConfig.read({**arm.values[name], **more}, f"{arm.scale} {arm.name} {name}")


@cache
def backbone(name: str, outputs: int, in_channels: int, options: str = "{}") -> Backbone:
    with torch.device("meta"):
        return create_backbone(name, outputs, in_channels, options=json.loads(options))


def backbone_of(settings: dict[str, Any], outputs: int, in_channels: int) -> Backbone:
    chosen = BackboneSettings.read(settings, "backbone")
    options = json.dumps(chosen.options, sort_keys=True)
    return backbone(chosen.name, outputs, in_channels, options)


def passes(model: torch.nn.Module, shape: tuple[int, ...]) -> Any:
    """What a network without values makes of inputs of that shape, without values."""
    with torch.device("meta"), torch.no_grad():
        return model.eval()(torch.zeros(shape))


def classifier_of_run(arm: Arm, run: str) -> Arm:
    """The arm of 01_backbones whose folder a parameter names."""
    return next(
        each
        for each in arms_of("01_backbones")
        if each.scale == arm.scale and each.values["output_dir"] == run
    )


def built(arm: Arm) -> Backbone:
    config = trained(arm, "training")
    return backbone_of(arm.values["backbone"], config.outputs, config.in_channels)


def test_there_are_arms_of_every_notebook_and_scale():
    assert {arm.notebook for arm in arms()} == set(NOTEBOOKS) == set(NETWORKS)
    assert {arm.scale for arm in arms()} == {"open", "paper", "phantom", "phantom-gpu", "smoke"}
    assert len(arms_of("01_backbones")) >= 60


def test_every_declared_value_fits_its_model():
    for arm in arms():
        path = ROOT / "notebooks" / f"{arm.notebook}.ipynb"
        for parameter in params.declared(path).values():
            assert parameter.problems(parameter.default) == [], arm.notebook
            assert parameter.problems(arm.values[parameter.name]) == [], (arm.scale, arm.name)


def test_a_scale_other_than_smoke_says_everything_that_the_smoke_defaults_say():
    """`-p` and files merge over the notebook's default, so a scale states each of its entries."""
    for arm in arms():
        path = ROOT / "notebooks" / f"{arm.notebook}.ipynb"
        for parameter in params.declared(path).values():
            # a collection is replaced as a whole
            if parameter.model is None or parameter.collection or not parameter.default:
                continue
            given = arm.given.get(parameter.name, {})
            if arm.scale == "smoke" or given is None or "name" in given:  # nothing is inherited
                continue
            missing = set(parameter.default) - set(given)
            assert not missing, f"{arm.scale} {arm.notebook} {arm.name}: {parameter.name} {missing}"


def test_a_scale_other_than_smoke_names_its_networks():
    for arm in arms():
        missing = set(NETWORKS[arm.notebook]) - set(arm.given)
        if arm.given.get("encoder_run"):  # the network of another run
            missing -= {"backbone"}
        assert arm.scale == "smoke" or not missing, f"{arm.scale} {arm.notebook} {arm.name}"


def test_every_classifier_of_01_is_built_and_takes_its_slices():
    for arm in arms_of("01_backbones"):
        network = built(arm)
        assert network.options == arm.values["backbone"].get("options", {})
        if arm.scale != "smoke":
            assert network.options == arm.given["backbone"].get("options", {}), arm.name
    taken = {id(built(arm)): arm for arm in arms_of("01_backbones")}
    for arm in taken.values():
        config = trained(arm, "training")
        shape = (2, config.in_channels, config.size, config.size)
        assert passes(built(arm).model, shape).shape == (2, config.outputs), arm.name


def test_every_lse_unet_is_built():
    for arm in arms_of("02_lse_unet"):
        config = trained(arm, "training")
        if arm.values["encoder_run"]:
            encoder = built(classifier_of_run(arm, arm.values["encoder_run"]))
        else:
            encoder = backbone_of(arm.values["backbone"], config.outputs, config.in_channels)
        assert encoder.in_channels == config.in_channels
        for variant in ("printed", "authors"):
            settings = lse_settings(variant, arm.values["lse_changes"])
            with torch.device("meta"):
                model = create_lse_unet(encoder, config.outputs, settings, size=config.size).model
            with torch.device("meta"), torch.no_grad():
                inputs = torch.zeros(1, config.in_channels, config.size, config.size)
                maps, logits = model.eval().maps_and_logits(inputs)
            side = config.size // 4
            assert maps.shape == (1, config.outputs, side, side)
            assert logits.shape == (1, config.outputs)


def test_every_resnet_lstm_and_its_unet_are_built():
    for arm in arms_of("03_resnet_lstm"):
        config = trained(arm, "classifier", classes=["any"])
        network = backbone_of(arm.values["backbone"], 1, config.in_channels)
        with torch.device("meta"):
            features = copy.deepcopy(network.model)
            features.reset_classifier(0)
            lstm = ResNetLSTM(features, LSTMSettings.read(arm.values["lstm"], "lstm"), 1)
            unet = UNetSettings.read(arm.values["unet"], "unet")
            volumes = create_unet(unet).model
        shape = (3, config.in_channels, config.size, config.size)
        assert passes(network.model, shape).shape == (3, 1)
        assert lstm.lstm.input_size == network.model.num_features
        shape = (1, 1, unet.depth, unet.size, unet.size)
        with torch.device("meta"), torch.no_grad():
            patch = volumes.train()(torch.zeros(shape))  # of one patch: no sliding window
        assert patch.shape == shape


@cache
def check_swin(name: str, options: str, channels: int, size: int, outputs: int) -> None:
    with torch.device("meta"):
        model = create_swin(outputs, channels, name, json.loads(options)).model
    assert passes(model, (1, channels, size, size)).shape == (1, outputs)


@cache
def check_segmenter(name: str, options: str, channels: int, size: int) -> None:
    segmenter = create_segmenter(name, channels, json.loads(options))  # MONAI needs values
    segmenter.check_size(size)
    found = passes(segmenter.model.to("meta"), (1, channels, size, size))
    assert found.shape == (1, 2, size, size)


def test_every_swin_and_supervised_network_of_04_is_built():
    for arm in arms_of("04_swin_hgi_sam"):
        classes = arm.values["multi_label_classes"]
        config = trained(arm, "classifier", classes=classes)
        taken = config.in_channels, config.size
        name, options = arm.values["swin"].split(".")[0], json.dumps(arm.values["swin_options"])
        for outputs in (1, len(classes)):
            check_swin(name, options, *taken, outputs)
        for name, options in arm.values["supervised_networks"].items():
            check_segmenter(name, json.dumps(options), *taken)


def test_every_network_of_05_is_built():
    for arm in arms_of("05_mil_detector"):
        for head in arm.values["heads"]:
            with torch.device("meta"):
                network = create_mil(arm.values["network"], head, blocks=arm.values["blocks"])
            size = trained(arm, "training").size
            shape = (1, len(WINDOWS), size, size)
            assert passes(network.model, shape).shape == (1, 1)


def test_the_maps_of_06_find_their_layers():
    for arm in arms_of("06_cam_benchmark"):
        for run in [arm.values["classifier_run"], *arm.values["repeat_runs"]]:
            network = built(classifier_of_run(arm, run))
            layers = timm_layers(network.model, arm.values["layer_reading"], arm.values["depths"])
            assert list(layers) == arm.values["depths"]
        for run in arm.values["classifier_runs"]:
            assert classifier_of_run(arm, run).notebook == "01_backbones"


def test_an_arm_that_inherits_the_smoke_network_is_found():
    """The defect that this file guards against: a densenet with options of a ResNet."""
    with pytest.raises(Exception, match="layers"):
        backbone("densenet121", 1, 3, json.dumps({"layers": [1, 1, 2, 1]}))
    earlier = {"name": "resnet101", "options": {"layers": [1, 1, 2, 1]}}
    assert BackboneSettings.merged(earlier, {"name": "densenet121"}) == {"name": "densenet121"}
    assert issubclass(BackboneSettings, Settings)
