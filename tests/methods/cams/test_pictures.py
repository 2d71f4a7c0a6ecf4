import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from ich_study.errors import ParameterError
from ich_study.evaluate.scaling import resized_maps
from ich_study.methods.cams.pictures import map_pictures
from ich_study.methods.cams.recipe import (
    CamRecipe,
    archive_part,
    load_subject,
    map_series,
    network_inputs,
    rival_series,
    stack_maps,
)
from ich_study.methods.cams.sanity import compare_maps
from ich_study.methods.cams.scores import score_all, shown_maps
from ich_study.methods.cams.trust import repeatability
from ich_study.methods.cams.truth_masks import choose_slices, largest_lesions, read_truth
from tests.methods.cams.fakes import masked_store, write_run

STORE = masked_store()
RECIPE = CamRecipe(methods=("HiResCAM", "GradCAM"), ablations=("zero",))
SCANS = STORE.index["scan_id"].unique()


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    write_run(folder / "first")
    subject = load_subject(folder / "first", "any", torch.device("cpu"))
    rows = choose_slices(STORE.index, "any", 8, 2)
    parts = [rows[rows["scan_id"].isin(scans)] for scans in (SCANS[:3], SCANS[3:])]
    archives = [
        archive_part(folder / str(number), subject, RECIPE, STORE, part, 8, "maps")
        for number, part in enumerate(parts)
    ]
    truths = [read_truth(STORE, part, subject.preprocessing) for part in parts]
    series = [*map_series(*archives, 64), *rival_series(*truths, 3.0, 1)]
    return folder, subject, archives[1], truths[1], series, score_all(series, *truths)


@pytest.mark.parametrize("truth", ["masks", "boxes"])
def test_a_picture_for_the_largest_lesion_of_each_subtype(benchmark, truth):
    _, subject, _, test, series, scores = benchmark
    found = dict(map_pictures(series, scores, test, STORE, subject.preprocessing, truth, 1, "fake"))
    assert list(found) == [f"maps_{name}_{place}.png" for name, place in largest_lesions(test, 1)]
    figure = next(iter(found.values()))
    assert len(figure.axes) == 3 * (2 + 2) and "fake" in figure.get_suptitle()
    plt.close("all")


def test_shown_maps_are_the_raw_maps_and_their_masks(benchmark):
    _, _, archive, _, series, scores = benchmark
    heat, masks = shown_maps(series, scores, 1)
    assert (
        set(heat)
        == set(masks)
        == {
            (method, layer)
            for method in ("hires_cam", "grad_cam")
            for layer in ("[-1]", "[-2]", "[-3]")
        }
    )
    raw = resized_maps(torch.from_numpy(archive.raw(("grad_cam", "[-2]"), slice(1, 2))), 64)[
        0
    ].numpy()
    score = next(s for s in scores if (s.method, s.layer, s.variant) == ("grad_cam", "-2", "raw"))
    assert (masks["grad_cam", "[-2]"] == (raw >= score.thresholds["masks-validation"].value)).all()
    shown = heat["grad_cam", "[-2]"]
    assert shown.min() >= 0 and shown.max() <= 1


def test_repeatability_compares_with_the_same_classifier_trained_again(benchmark):
    folder, subject, archive, test, *_ = benchmark
    rows = test.rows.iloc[:3]
    _, inputs = network_inputs(subject, STORE, rows)
    maps = RECIPE.maps(subject.model, inputs, subject.target)
    assert set(stack_maps(archive, [0, 1])) == set(maps)
    write_run(folder / "again", seed=7)
    table = repeatability(subject, [folder / "again"], "any", RECIPE, STORE, rows, maps)
    assert (
        set(table["run"]) == {"again"}
        and len(table) == len(maps)
        and table["spearman"].abs().max() < 0.999
    )
    assert repeatability(subject, [], "any", RECIPE, STORE, rows, maps).empty


def test_every_repeated_run_is_compared_with_the_maps_of_the_subject(benchmark):
    folder, subject, archive, test, *_ = benchmark
    rows, places = test.rows.iloc[:3], np.arange(3)
    maps = stack_maps(archive, places)
    expected = {}
    for name, seed in (("second", 8), ("third", 9)):
        write_run(folder / name, seed=seed)
        other = load_subject(folder / name, "any", torch.device("cpu"))
        _, inputs = network_inputs(other, STORE, rows)
        expected[name] = compare_maps(maps, RECIPE.maps(other.model, inputs, other.target))
    folders = [folder / name for name in expected]
    table = repeatability(subject, folders, "any", RECIPE, STORE, rows, maps)
    for name, found in table.groupby("run"):
        columns = ["method", "layer", "spearman", "ssim", "undefined", "slices"]
        pd.testing.assert_frame_equal(
            found[columns].reset_index(drop=True), expected[name][columns]
        )
    assert not np.allclose(expected["second"]["spearman"], expected["third"]["spearman"])


def test_repeatability_refuses_the_same_weights_and_another_classifier(benchmark):
    folder, subject, _, test, *_ = benchmark
    write_run(folder / "smaller", size=32)
    for name, why in (("first", "the very weights"), ("smaller", "nothing but its seed")):
        with pytest.raises(ParameterError, match=why):
            repeatability(subject, [folder / name], "any", RECIPE, STORE, test.rows.iloc[:1], {})
