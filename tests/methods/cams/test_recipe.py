import numpy as np
import pytest
import torch

from ich_study.errors import DataError, ParameterError, WeightsError
from ich_study.evaluate.scaling import resized_maps
from ich_study.methods.cams.cams import cam_maps, library_scaled
from ich_study.methods.cams.layers import timm_layers
from ich_study.methods.cams.recipe import (
    LIBRARY_ABLATION,
    CamRecipe,
    archive_part,
    describe_layers,
    load_subject,
    map_series,
    network_inputs,
    rival_series,
    stack_maps,
)
from ich_study.methods.cams.scores import score_all
from ich_study.methods.cams.truth_masks import choose_slices, read_truth
from ich_study.models.weights import save_weights
from tests.methods.cams.fakes import masked_store, write_run
from tests.training.fakes import config

CPU = torch.device("cpu")
STORE = masked_store()
RECIPE = CamRecipe(methods=("HiResCAM", "EigenCAM", "AblationCAM"))


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_run(folder)
    return load_subject(folder, "any", CPU)


@pytest.fixture(scope="module")
def archives(subject, tmp_path_factory):
    folder, rows = tmp_path_factory.mktemp("maps"), choose_slices(STORE.index, "any", 6, 4)
    return {
        part: archive_part(
            folder / part, subject, RECIPE, STORE, rows[rows["scan_id"].isin(scans)], 4, part
        )
        for part, scans in (
            ("validation", STORE.index["scan_id"].unique()[:3]),
            ("test", STORE.index["scan_id"].unique()[3:]),
        )
    }


def test_the_archive_holds_the_engines_maps(subject, archives):
    rows = choose_slices(STORE.index, "any", 6, 4)
    rows = rows[rows["scan_id"].isin(STORE.index["scan_id"].unique()[:3])]
    _, inputs = network_inputs(subject, STORE, rows)
    expected = cam_maps(subject.model, inputs, timm_layers(subject.model), 0, ["HiResCAM"])
    found = stack_maps(archives["validation"], np.arange(len(rows)), library=True)
    assert set(found) - set(stack_maps(archives["validation"], np.arange(1))) == {
        (LIBRARY_ABLATION, d) for d in RECIPE.depths
    }
    for layer in ("[-1]", "[-2]", "[-3]"):
        assert torch.allclose(found["hires_cam", layer], expected["HiResCAM", layer], atol=1e-5)
    assert {name for name, _ in found} == {
        "hires_cam",
        "eigen_cam",
        "ablation_cam",
        LIBRARY_ABLATION,
    }


def test_series_read_raw_and_scaled_maps(archives):
    series = {
        (each.method, each.layer, each.variant): each
        for each in map_series(archives["validation"], archives["test"], 64)
    }
    assert (
        ("ablation_cam", "-1", "library") in series
        and ("hires_cam", "-1", "library") not in series
        and len(series) == 3 * 7
    )
    low = torch.from_numpy(archives["test"].raw(("hires_cam", "[-2]"), slice(0, 2)))
    raw, printed = (
        series["hires_cam", "-2", variant].test(slice(0, 2)) for variant in ("raw", "printed")
    )
    assert np.allclose(raw, resized_maps(low, 64).numpy()) and np.allclose(
        printed, library_scaled(low, 64).numpy()
    )
    assert printed.max() <= 1 and printed.min() >= 0


def test_every_series_reads_its_own_archive_layer_and_variant(archives):
    found = map_series(archives["validation"], archives["test"], 64)
    assert len({(each.method, each.layer, each.variant) for each in found}) == len(found)
    for each in found:
        method = LIBRARY_ABLATION if each.variant == "library" else each.method
        for part, read in (("validation", each.validation), ("test", each.test)):
            low = torch.from_numpy(archives[part].raw((method, f"[{each.layer}]"), slice(0, 2)))
            shown = resized_maps(low, 64) if each.variant == "raw" else library_scaled(low, 64)
            assert torch.equal(torch.from_numpy(read(slice(0, 2))), shown), (each.title, part)
        scaled = each.grid.tolist() == [number / 64 for number in range(1, 65)]
        assert scaled == (each.variant != "raw")


def test_raw_thresholds_come_from_the_validation_part(archives):
    for each in map_series(archives["validation"], archives["test"], 64):
        if each.variant == "raw":
            held_out = archives["validation"].raw((each.method, f"[{each.layer}]"))
            assert held_out.min() <= each.grid[0] and each.grid[-1] <= held_out.max()
            assert np.isin(np.float32(each.grid[0]), np.quantile(held_out, 0).astype(np.float32))


def test_ablation_in_both_variants_is_the_engines(subject, archives):
    rows = choose_slices(STORE.index, "any", 6, 4)
    rows = rows[rows["scan_id"].isin(STORE.index["scan_id"].unique()[:3])].iloc[:2]
    _, inputs = network_inputs(subject, STORE, rows)
    layers = timm_layers(subject.model, depths=["[-2]"])
    found = {}
    for ablation, name in (("zero", "ablation_cam"), ("library", LIBRARY_ABLATION)):
        found[ablation] = cam_maps(
            subject.model, inputs, layers, 0, ["AblationCAM"], ablation=ablation
        )["AblationCAM", "[-2]"].numpy()
        kept = archives["validation"].raw((name, "[-2]"), slice(0, 2))
        peak = np.abs(found[ablation]).max()
        assert np.allclose(kept, found[ablation], atol=1e-3 * peak), name
    assert np.abs(found["zero"] - found["library"]).max() > 0.1 * np.abs(found["zero"]).max()


def test_rivals_of_each_part_are_those_of_its_slices():
    scans = STORE.index["scan_id"].unique()
    grid = config(size=32).preprocessing()
    validation, test = (
        read_truth(STORE, STORE.index[STORE.index["scan_id"].isin(some)], grid)
        for some in (scans[:2], scans[2:5])
    )
    for each in rival_series(validation, test, 3.0, seed=1):
        assert (each.layer, each.variant) == ("", "raw")
        for part, read in ((validation, each.validation), (test, each.test)):
            expected = part.rival(each.method, 3.0, 1)(slice(0, len(part)))
            assert np.array_equal(read(slice(0, len(part))), expected)


def test_the_explained_logit_is_that_of_the_class(tmp_path):
    write_run(tmp_path, classes=("any", "IPH", "SDH"))
    targets = [load_subject(tmp_path, name, CPU).target for name in ("any", "SDH", "IPH")]
    assert targets == [0, 2, 1]


def test_a_whole_benchmark_of_an_untrained_network_runs(subject, archives):
    scans = STORE.index["scan_id"].unique()
    rows = choose_slices(STORE.index, "any", 6, 4)
    truth = [
        read_truth(STORE, rows[rows["scan_id"].isin(part)], subject.preprocessing)
        for part in (scans[:3], scans[3:])
    ]
    series = map_series(archives["validation"], archives["test"], 64) + rival_series(
        *truth, smoothness_px=3.0, seed=1
    )
    scores = score_all(series, *truth)
    assert len(scores) == len(series) and all(0 <= score.area.value() <= 1 for score in scores)


def test_the_depths_are_described(subject):
    table = describe_layers(subject, RECIPE).set_index("depth")
    assert table["module"].to_dict() == {
        "[-1]": "blocks.5",
        "[-2]": "blocks.4",
        "[-3]": "blocks.3",
    }
    assert table.loc["[-1]", "shape"][1:] == (2, 2) and table.loc["[-3]", "shape"][1:] == (4, 4)
    assert not any(module._forward_hooks for module in subject.model.modules())


def test_checkpoints_that_do_not_serve_are_refused(tmp_path, subject):
    with pytest.raises(WeightsError, match="train the classifier first"):
        load_subject(tmp_path / "absent", "any", CPU)
    write_run(tmp_path / "two", two_outputs=True)
    with pytest.raises(ParameterError, match="two outputs"):
        load_subject(tmp_path / "two", "any", CPU)
    with pytest.raises(ParameterError, match="no logit of 'SDH'"):
        write_run(tmp_path / "one")
        load_subject(tmp_path / "one", "SDH", CPU)
    settings, backbone = write_run(tmp_path / "other")
    described = {**backbone.describe(), "name": "resnet10t", "options": {}}
    save_weights(
        tmp_path / "other" / "weights.safetensors",
        backbone.model,
        {
            "architecture": described,
            "preprocessing": settings.preprocessing().describe(),
            "classes": ["any"],
            "two_outputs": False,
        },
    )
    with pytest.raises(WeightsError):
        load_subject(tmp_path / "other", "any", CPU)


def test_bad_recipes_are_errors(archives):
    with pytest.raises(ParameterError, match="ScoreCAM"):
        CamRecipe(methods=("ScoreCAM",))
    with pytest.raises(ParameterError, match="'zero'"):
        CamRecipe(ablations=("library",))
    other = type("Archive", (), {"names": [("grad_cam", "[-1]")]})()
    with pytest.raises(DataError, match="different recipes"):
        map_series(archives["validation"], other, 64)
