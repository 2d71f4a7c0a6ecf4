import pandas as pd
import pytest
import torch

from ich_study.errors import DataError, ParameterError, RunError, SplitError, WeightsError
from ich_study.methods.lse_unet import train as lse_training
from ich_study.methods.lse_unet.train import LSEParts, LSERecipe, arm_trainings
from ich_study.models.backbones import create_backbone
from ich_study.models.sources import weights_of_run
from ich_study.models.weights import read_metadata, save_weights
from ich_study.study import Study
from ich_study.training.config import TrainingConfig
from tests.training.fakes import config, fake_store, parts

STORE = fake_store()
TRAIN, VALIDATION = parts(STORE)
NOBODY = STORE.index.head(0)
SMALL = {
    "num_init_features": 8,
    "growth_rates": [8] * 7,
    "num_blocks_list": [1] * 7,
    "ls_init_value": 1.0,
}
BACKBONE = {"name": "rdnet_tiny", "options": SMALL}
RECIPE = LSERecipe("printed", {}, None, BACKBONE)


def parts_of(train, validation, excluded=NOBODY):
    return LSEParts(train, validation, excluded, validation)


PARTS = parts_of(TRAIN, VALIDATION)


def trained(arm, folder, own=PARTS, test=NOBODY, recipe=RECIPE, **changes):
    settings = config(**{"epochs": 1, "max_train_batches": 2, "monitor": "valid_loss", **changes})
    return lse_training.train_variant(arm, recipe, settings, STORE, own, test, folder)


def metadata_of(run):
    return read_metadata(run.weights_path)


def test_each_arm_is_the_variant_it_says(tmp_path):
    found = {
        arm: metadata_of(trained(arm, tmp_path / arm))
        for arm in ("printed", "authors", "no_consistency_loss")
    }
    settings = {arm: each["architecture"]["settings"] for arm, each in found.items()}
    losses = {arm: each["loss"] for arm, each in found.items()}
    assert (
        settings["printed"]["r"],
        settings["authors"]["r"],
        settings["no_consistency_loss"]["r"],
    ) == (3, 6, 3)
    assert losses["printed"]["alphas"][0] == 2 and losses["authors"]["alphas"][0] == 1.5
    assert [losses[arm]["consistency"] for arm in found] == [True, True, False]
    changed = LSERecipe("printed", {"r": 5.0}, None, BACKBONE)
    assert (
        metadata_of(trained("printed", tmp_path / "changed", recipe=changed))["architecture"][
            "settings"
        ]["r"]
        == 5
    )


def test_every_arm_trains_its_own_network_loss_and_patients(tmp_path, monkeypatch):
    """What each arm hands to the training loop, with "authors" as the base variant."""
    backbone = create_backbone("rdnet_tiny", 6, 3, options=SMALL, seed=8)
    save_weights(
        tmp_path / "weights.safetensors", backbone.model, {"architecture": backbone.describe()}
    )
    trained_stem = backbone.model.stem[0].weight.clone()
    given = {}

    def train_classifier(network, config, store, rows, validation, folder, *rest):
        loss = rest[-1]
        stem = network.model.encoder.network.stem[0].weight
        given[folder.name] = {
            "r": network.settings.r,
            "alpha": loss.weights.alphas[0],
            "consistency": loss.consistency,
            "trained encoder": torch.equal(stem, trained_stem),
            "patients": sorted(set(rows["patient_id"])),
            "validation": sorted(set(validation["patient_id"])),
        }

    monkeypatch.setattr(lse_training, "train_classifier", train_classifier)
    named = {
        name: STORE.index[STORE.index["patient_id"] == f"p{number:03d}"].assign(dataset="rsna")
        for number, name in enumerate(("train", "validation", "in test", "not in test"))
    }
    shared = pd.concat([named["in test"], named["not in test"]])
    own = parts_of(named["train"], named["validation"], shared)
    test = named["in test"].assign(dataset="bhsd")
    recipe = LSERecipe("authors", {}, tmp_path / "weights.safetensors", BACKBONE)
    for arm in lse_training.ARMS:
        trained(arm, tmp_path / arm, own, test, recipe)
    authors = {
        "r": 6,
        "alpha": 1.5,
        "consistency": True,
        "trained encoder": True,
        "patients": ["p000"],
        "validation": ["p001"],
    }
    assert given == {
        "printed": {**authors, "r": 3, "alpha": 2.0},
        "authors": authors,
        "no_consistency_loss": {**authors, "consistency": False},
        "shared_patients": {**authors, "patients": ["p000", "p002"]},
        "random_encoder": {**authors, "trained encoder": False},
    }


def test_test_patients_train_only_the_arm_that_measures_it(tmp_path):
    test = TRAIN[TRAIN["patient_id"] == "p000"].assign(dataset="bhsd")
    own = TRAIN[TRAIN["patient_id"] != "p000"].assign(dataset="rsna")
    shared = TRAIN[TRAIN["patient_id"].isin(["p000", "p001"])].assign(dataset="rsna")
    kept = parts_of(own[own["patient_id"] != "p001"], VALIDATION.assign(dataset="rsna"), shared)
    rows = lse_training.with_shared_patients(kept, test)
    assert set(rows["patient_id"]) - set(kept.train["patient_id"]) == {"p000"}
    leaking = parts_of(TRAIN.assign(dataset="rsna"), kept.validation)
    with pytest.raises(SplitError, match="1 patients"):
        trained("printed", tmp_path, leaking, test)
    with pytest.raises(DataError, match="no optimism"):
        trained("shared_patients", tmp_path, parts_of(kept.train, kept.validation), test)


def test_the_split_gives_the_parts(tmp_path):
    split = STORE.index[["dataset", "patient_id"]].drop_duplicates().assign(part="train")
    split.loc[split["patient_id"] == "p003", "part"] = "validation"
    study = Study("02", tmp_path, tmp_path, {"fake": STORE}, {"fake": split})
    assert lse_training.lse_parts(study, "fake", "fake", {}).excluded.empty
    split.loc[split["patient_id"] == "p005", "part"] = "excluded"
    found = lse_training.lse_parts(study, "fake", "fake", {})
    assert set(found.validation["patient_id"]) == {"p003"} and set(
        found.excluded["patient_id"]
    ) == {"p005"}
    assert not {"p003", "p005"} & set(found.train["patient_id"])


def test_another_data_set_trains_and_tells_the_epoch_and_gives_no_threshold(tmp_path, monkeypatch):
    split = STORE.index[["dataset", "patient_id"]].drop_duplicates().assign(part="train")
    split.loc[split["patient_id"] == "p003", "part"] = "validation"
    stores, splits = {"fake": STORE, "other": STORE}, {"fake": split, "mine": split}
    study = Study("02", tmp_path, tmp_path, stores, splits)
    alone = lse_training.lse_parts(study, "fake", "fake", {})
    both = lse_training.lse_parts(study, "fake", "fake", {"other": "mine"})
    assert len(both.train) == 2 * len(alone.train)
    assert len(both.monitored) == 2 * len(alone.monitored) == 2 * len(both.validation)
    given = []
    monkeypatch.setattr(
        lse_training, "train_classifier", lambda *arguments: given.append(arguments[3:5])
    )
    trained("authors", tmp_path, both)
    assert given[0][0] is both.train and given[0][1] is both.monitored


def test_an_encoder_of_a_run_is_where_training_starts(tmp_path):
    backbone = create_backbone("rdnet_tiny", 6, 3, options=SMALL, seed=8)
    save_weights(
        tmp_path / "weights.safetensors", backbone.model, {"architecture": backbone.describe()}
    )
    recipe = LSERecipe("authors", {}, weights_of_run(tmp_path), BACKBONE)
    encoder = recipe.encoder(config(), "authors")
    assert (
        torch.equal(encoder.model.stem[0].weight, backbone.model.stem[0].weight)
        and encoder.weights_sha256
    )
    with pytest.raises(
        ParameterError, match="takes 3 channels; the windows and slices here make 6"
    ):
        recipe.encoder(config(stack_depth=3, windows=("brain", "bone")), "authors")
    with pytest.raises(RunError, match="absent, found nothing; make it"):
        weights_of_run(tmp_path / "absent")
    described = {"architecture": {"kind": "not_registered", "module": "ich_study.elsewhere"}}
    save_weights(tmp_path / "weights.safetensors", backbone.model, described)
    with pytest.raises(WeightsError, match=r"import ich_study\.elsewhere first"):
        recipe.encoder(config(), "authors")


def test_the_arm_with_a_random_encoder_has_the_same_network_with_other_weights(tmp_path):
    backbone = create_backbone("rdnet_tiny", 6, 3, options=SMALL, seed=8)
    save_weights(
        tmp_path / "weights.safetensors", backbone.model, {"architecture": backbone.describe()}
    )
    recipe = LSERecipe("authors", {}, weights_of_run(tmp_path), BACKBONE)
    encoders = [recipe.encoder(config(seed=seed), "random_encoder") for seed in (1, 1, 2)]
    first, again, other = (encoder.model.stem[0].weight for encoder in encoders)
    assert (
        torch.equal(first, again)
        and not torch.equal(first, other)
        and not torch.equal(first, backbone.model.stem[0].weight)
    )
    assert (
        encoders[0].options == backbone.options
        and encoders[0].weights_source == "random"
        and not encoders[0].weights_sha256
    )
    run = trained("random_encoder", tmp_path / "run", recipe=recipe)
    assert (
        metadata_of(run)["architecture"]["settings"]["r"] == 6
        and metadata_of(run)["loss"]["consistency"]
    )
    with pytest.raises(ParameterError, match="is the base variant once more"):
        RECIPE.encoder(config(), "random_encoder")


def test_arms_that_make_no_sense_are_refused(tmp_path):
    for arms, base in (
        (["printed", "other"], "printed"),
        (["authors"], "printed"),
        ([], "printed"),
        (["printed"] * 2, "printed"),
    ):
        with pytest.raises(ParameterError, match="expected that one first"):
            lse_training.training_config({}, False, arms, base)
    arms = ["authors", "printed", "no_consistency_loss"]
    lse_training.training_config({}, False, arms, "authors")
    with pytest.raises(ParameterError, match="arm is 'other'"):
        trained("other", tmp_path)


def test_the_table_of_variants_holds_every_setting_that_differs():
    table = lse_training.variant_table()
    assert list(table.columns) == ["printed", "authors"]
    assert table.loc["r"].tolist() == [3, 6] and table.loc["reduction"].tolist() == ["sum", "mean"]
    assert table.loc["alphas"].tolist() == ["(2.0, 0.5, 0.25, 0.125)", "(1.5, 0.25, 0.125, 0.0625)"]
    assert len(table) == 8


def test_the_parts_are_counted_by_their_own_names():
    test = STORE.index.head(8)
    table = parts_of(TRAIN, VALIDATION).table(test, ["any"]).set_index("part")
    assert table["slices"].to_dict() == {
        "train": len(TRAIN),
        "validation": len(VALIDATION),
        "excluded": 0,
        "test": 8,
    }
    assert table.loc["test", "any"] == test["any"].sum()


@pytest.mark.parametrize(
    ("changes", "backbone", "differs", "says"),
    [
        ({}, "rdnet_tiny", (), None),
        ({"size": 64}, "rdnet_tiny", (), None),
        ({}, "resnet18", (), "it is a rdnet_tiny, backbone says resnet18"),
        ({"windows": ("bone",)}, "rdnet_tiny", (), "its windows is"),
        ({"stack_depth": 3}, "rdnet_tiny", (), "its stack_depth is 1, here it is 3"),
        ({"normalisation": "none"}, "rdnet_tiny", (), "its mean is"),
        ({"windows": ("bone",)}, "rdnet_tiny", ("windows",), None),
    ],
)
def test_an_encoder_is_the_named_one_and_saw_slices_as_here(
    tmp_path, changes, backbone, differs, says
):
    trained_as = config(normalisation="half")
    network = create_backbone("rdnet_tiny", 6, 3, options=SMALL, seed=8)
    described = {
        "architecture": network.describe(),
        "preprocessing": trained_as.preprocessing().describe(),
    }
    save_weights(tmp_path / "w.safetensors", network.model, described)
    here = config(**{"normalisation": "half", **changes})
    if says is None:
        lse_training.check_encoder(tmp_path / "w.safetensors", here, backbone, differs)
        return
    with pytest.raises(ParameterError, match=f"{says}.*encoder_differs"):
        lse_training.check_encoder(tmp_path / "w.safetensors", here, backbone, differs)


def test_the_training_s_settings_are_checked_and_say_whether_a_changed_run_gives_way():
    given = lse_training.training_config({"epochs": 3}, True, ["printed", "authors"], "printed")
    assert (given.epochs, given.restart_changed) == (3, True)
    assert not lse_training.training_config({}, False, ["printed"], "printed").restart_changed
    with pytest.raises(ParameterError, match="epoch"):
        lse_training.training_config({"epoch": 3}, False, ["printed"], "printed")
    with pytest.raises(ParameterError, match="that one first"):
        lse_training.training_config({}, False, ["authors", "printed"], "printed")


def test_first_weights_may_be_of_arms_left_out_but_not_of_unknown_ones():
    first = {"authors": "a.safetensors", "printed": "p.safetensors"}
    each = arm_trainings(TrainingConfig(), ["authors", "no_consistency_loss"], first)
    assert {arm: one.first_weights for arm, one in each.items()} == {
        "authors": "a.safetensors",
        "no_consistency_loss": None,
    }
    with pytest.raises(ParameterError, match="author"):
        arm_trainings(TrainingConfig(), ["authors"], {"author": "a.safetensors"})
