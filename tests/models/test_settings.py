"""Settings of a network: what its first weights may be called, and what belongs to its name."""

import pytest

from ich_study.errors import ParameterError
from ich_study.models.settings import BackboneSettings, check_hash, weights_kind


@pytest.mark.parametrize(
    ("weights", "found"),
    [
        ("hub", ("hub", "")),
        ("package:efficientnet-lite0", ("package", "efficientnet-lite0")),
        ("file:a/b.pth", ("file", "a/b.pth")),
        # only the first colon parts kind and place
        ("file:C:/b.pth", ("file", "C:/b.pth")),
        ("run:runs/smoke/01_backbones/encoder", ("run", "runs/smoke/01_backbones/encoder")),
    ],
)
def test_first_weights_have_a_kind_and_a_place(weights, found):
    assert weights_kind(weights) == found
    assert BackboneSettings(name="resnet18", weights=weights).weights == weights


@pytest.mark.parametrize("weights", ["", "hub:resnet18", "package:", "file", "url:x", "Hub"])
def test_another_kind_is_refused_with_the_kinds_there_are(weights):
    with pytest.raises(ParameterError, match="expected hub, package:NAME, file:PATH or run:FOLDER"):
        weights_kind(weights)
    with pytest.raises(ParameterError, match="hub, package:NAME"):
        BackboneSettings(name="resnet18", weights=weights)


@pytest.mark.parametrize(
    ("weights", "fits"),
    [("file:a.pth", True), ("run:a", True), ("hub", False), ("package:a", False), (None, False)],
)
def test_a_hash_is_of_a_file_or_a_run(weights, fits):
    check_hash(weights, None)
    if fits:
        check_hash(weights, "0" * 64)
        BackboneSettings(name="resnet18", weights=weights, weights_sha256="0" * 64)
        return
    with pytest.raises(ParameterError, match="hash of a file or a run"):
        check_hash(weights, "0" * 64)
    with pytest.raises(ParameterError, match="hash of a file or a run"):
        BackboneSettings(name="resnet18", weights=weights, weights_sha256="0" * 64)


def test_options_and_weights_belong_to_the_name_they_were_given_with():
    named = {"name": "resnet101", "options": {"layers": [1, 1, 1, 1]}, "weights": "hub"}
    assert BackboneSettings.merged(named, {"name": "densenet121"}) == {"name": "densenet121"}
    kept = BackboneSettings.merged(named, {"weights": "file:a.pth"})
    assert kept == {**named, "weights": "file:a.pth"}


def test_it_is_handed_to_the_network_whole():
    settings = BackboneSettings(name="resnet18", options={"drop_rate": 0.1})
    assert settings.arguments() == {
        "name": "resnet18",
        "options": {"drop_rate": 0.1},
        "weights": None,
        "trained": "all",
        "weights_sha256": None,
    }
