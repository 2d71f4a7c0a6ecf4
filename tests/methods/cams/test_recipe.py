import numpy as np
import pandas as pd
import pytest
import torch

from ich_study.errors import DataError, ParameterError, RunError, WeightsError
from ich_study.evaluate.truth import read_truth
from ich_study.inputs.slices import network_view
from ich_study.methods.cams.cams import cam_maps
from ich_study.methods.cams.heat import layer_heats, rival_heats, threshold_grid
from ich_study.methods.cams.layers import timm_layers
from ich_study.methods.cams.recipe import (
    LIBRARY,
    CamRecipe,
    archive_part,
    archived_maps,
    choose_slices,
    describe_layers,
    load_subject,
)
from ich_study.methods.cams.scores import score_all
from ich_study.models.weights import save_weights
from tests.methods.cams.fakes import masked_store, write_run

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
    _, inputs = network_view(STORE, rows, subject.preprocessing, CPU)
    expected = cam_maps(subject.model, inputs, timm_layers(subject.model), 0, ["HiResCAM"])
    found = archived_maps(archives["validation"], np.arange(len(rows)))
    assert set(archives["validation"].names) - set(found) == {
        (name + LIBRARY, d) for name in ("eigen_cam", "ablation_cam") for d in RECIPE.depths
    }
    for layer in ("[-1]", "[-2]", "[-3]"):
        assert torch.allclose(found["hires_cam", layer], expected["HiResCAM", layer], atol=1e-5)
    assert {name for name, _ in found} == {"hires_cam", "eigen_cam", "ablation_cam"}


def test_ablation_in_both_variants_is_the_engines(subject, archives):
    rows = choose_slices(STORE.index, "any", 6, 4)
    rows = rows[rows["scan_id"].isin(STORE.index["scan_id"].unique()[:3])].iloc[:2]
    _, inputs = network_view(STORE, rows, subject.preprocessing, CPU)
    layers, found = timm_layers(subject.model), {}
    for ablation, name in (("zero", "ablation_cam"), ("library", "ablation_cam" + LIBRARY)):
        maps = cam_maps(subject.model, inputs, layers, 0, ["AblationCAM"], ablation=ablation)
        for (_, depth), raw in maps.items():
            kept = torch.from_numpy(archives["validation"].raw((name, depth), slice(0, 2)))
            assert torch.allclose(kept, raw, atol=1e-3 * float(raw.abs().max())), (name, depth)
        found[ablation] = maps["AblationCAM", "[-2]"]
    gap = (found["zero"] - found["library"]).abs().max()
    assert gap > 0.1 * found["zero"].abs().max()


def test_the_librarys_eigen_maps_have_the_sign_that_lapack_gives(subject, archives):
    rows = choose_slices(STORE.index, "any", 6, 4)
    rows = rows[rows["scan_id"].isin(STORE.index["scan_id"].unique()[:3])].iloc[:2]
    _, inputs = network_view(STORE, rows, subject.preprocessing, CPU)
    layers = timm_layers(subject.model)
    maps = cam_maps(subject.model, inputs, layers, 0, ["EigenCAM"], eigen_sign="lapack")
    for depth in RECIPE.depths:
        kept, raw = (
            archives["validation"].raw(("eigen_cam" + LIBRARY, depth), slice(0, 2)),
            maps["EigenCAM", depth],
        )
        assert np.allclose(kept, raw, atol=1e-3 * float(raw.abs().max()))


def test_a_whole_benchmark_of_an_untrained_network_runs(subject, archives):
    scans = STORE.index["scan_id"].unique()
    rows = choose_slices(STORE.index, "any", 6, 4)
    truths = tuple(
        read_truth(STORE, rows[rows["scan_id"].isin(part)], subject.preprocessing, brain=True)
        for part in (scans[:3], scans[3:])
    )
    heats = [
        [*layer_heats(archive, 64), *rival_heats(truth, "any", 3.0, 1)]
        for archive, truth in zip(archives.values(), truths)
    ]
    scores = score_all(*heats, truths)
    # three methods at three depths, raw, printed and as the library computes them; three rivals
    assert len(scores) == 3 * 3 * 3 + 3
    # thresholds of raw maps are tried where the validation part's values lie
    for heat, each in zip(heats[0], scores):
        assert np.array_equal(each.scores.grid, threshold_grid(heat))


def test_the_explained_logit_is_that_of_the_class(tmp_path):
    write_run(tmp_path, classes=("any", "IPH", "SDH"))
    targets = [load_subject(tmp_path, name, CPU).target for name in ("any", "SDH", "IPH")]
    assert targets == [0, 2, 1]


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
    with pytest.raises(RunError, match="absent, found nothing; make it"):
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


def test_bad_recipes_are_errors():
    with pytest.raises(ParameterError, match="ScoreCAM"):
        CamRecipe(methods=("ScoreCAM",))
    with pytest.raises(ParameterError, match="'zero'"):
        CamRecipe(ablations=("library",))
    with pytest.raises(ParameterError, match="expected some of"):
        CamRecipe(methods=())
    with pytest.raises(ParameterError, match="no depths"):
        CamRecipe(depths=())
    with pytest.raises(ParameterError, match="eigen_sign is 'up'"):
        CamRecipe(eigen_sign="up")


def test_slices_are_chosen_evenly_and_by_rule():
    every = choose_slices(STORE.index, "any", None, None)
    assert len(every) == len(STORE.index)
    few = choose_slices(STORE.index, "any", 6, 4)
    assert few["any"].sum() == 6 and len(few) == 10 and few["patient_id"].nunique() > 4
    assert few.equals(choose_slices(STORE.index, "any", 6, 4))
    assert choose_slices(STORE.index, "any", 6, 0)["any"].all()
    unknown = STORE.index.assign(
        any=pd.array([pd.NA] * 3 + [True] * (len(STORE.index) - 3), dtype="boolean")
    )
    assert len(choose_slices(unknown, "any", None, None)) == len(unknown) - 3
    with pytest.raises(DataError, match=r"no slice of .* is positive for 'EDH'"):
        choose_slices(STORE.index, "EDH", None, None)
