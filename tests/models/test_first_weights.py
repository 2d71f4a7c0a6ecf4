"""First weights that travel with the package: what the notebook names, whole, and of no patient."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest
import torch
import yaml

from ich_study.hashing import sha256_file
from ich_study.methods.hgi_sam.swin import create_swin
from ich_study.methods.lse_unet.network import create_lse_unet, lse_settings
from ich_study.methods.lse_unet.train import LSERecipe, arm_variant
from ich_study.models.weights import load_weights, read_metadata, read_tensors
from ich_study.training.config import TrainingConfig

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "ich_study" / "models" / "first_weights"
FILES = sorted(FOLDER.glob("*.safetensors"))


@pytest.fixture(scope="module")
def defaults() -> dict:
    """Literals of the parameters cell of 04."""
    notebook = nbformat.read(ROOT / "notebooks" / "04_swin_hgi_sam.ipynb", as_version=4)
    cell = next(each for each in notebook.cells if "parameters" in each.metadata.get("tags", []))
    assigned = [node for node in ast.parse(cell.source).body if isinstance(node, ast.AnnAssign)]
    return {node.target.id: ast.literal_eval(node.value) for node in assigned}


def test_each_file_is_small_and_has_a_card_with_its_hash():
    assert FILES
    for path in FILES:
        assert path.stat().st_size < 10 * 2**20
        assert sha256_file(path) in path.with_suffix(".md").read_text(encoding="utf-8")


def test_they_name_no_patient():
    # ids of another phantom's patients are the same, so that a guard would take them for these
    assert not any(read_metadata(path).get("patients") for path in FILES)


def test_the_defaults_of_04_start_from_them(defaults):
    network = create_swin(
        2,
        len(defaults["classifier"]["windows"]),
        defaults["swin"],
        defaults["swin_options"],
        defaults["weights"],
        defaults["weights_sha256"],
    )
    stored = read_tensors(ROOT / defaults["weights"].removeprefix("file:"))
    name = "layers.0.blocks.0.attn.qkv.weight"
    assert torch.equal(network.model.state_dict()[name], stored[name].float())
    assert network.weights_licence is None and network.weights_sha256 == defaults["weights_sha256"]


def test_each_arm_of_the_phantoms_lse_unet_starts_from_a_network_taught_as_it_is():
    scale = yaml.safe_load((ROOT / "params/phantom/02_lse_unet.yaml").read_text(encoding="utf-8"))
    config = TrainingConfig.read(scale["training"])
    recipe = LSERecipe(scale["base_variant"], {}, None, scale["backbone"])
    assert set(scale["first_weights"]) == set(scale["arms"])
    for arm, first in scale["first_weights"].items():
        settings = lse_settings(arm_variant(arm, recipe.base_variant), {})
        encoder = recipe.encoder(config, arm)
        network = create_lse_unet(encoder, config.outputs, settings, config.seed, config.size)
        load_weights(ROOT / first, network.model)
        said = read_metadata(ROOT / first)
        assert said["preprocessing"]["windows"] == list(config.windows)
        assert said["loss"]["consistency"] == (arm != "no_consistency_loss")
