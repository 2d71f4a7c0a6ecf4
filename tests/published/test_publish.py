from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageColor

from ich_study.errors import StudyError
from ich_study.figures.style import CLASS_COLOURS
from ich_study.manifest import run_problem
from ich_study.paths import project_root
from ich_study.published import publish

REDRAWN = (
    "00_data/volume_ml.png",
    "00_data/median_hu.png",
    "06_cam_benchmark/overview.png",
    "06_cam_benchmark/trust.png",
    "06_cam_benchmark/figure_[23].png",
    "08_cross_benchmark/quality_cost.png",
    "08_cross_benchmark/ranks_*.png",
)
"""Charts of other notebooks that `07_figures` draws from their small tables, and draws again from
the published ones."""
OF_THE_RUN_ALONE = (
    "montage_*",
    "history*",
    "one_slice",
    "slices_*",
    "heatmaps_*",
    "maps_*",
    "figure_[34]",
    *("variants", "readings", "sequence", "volumes", "dice_volumes"),
    *("free_response", "precision_recall", "reliability_*"),
)
"""Names of the other pictures: they need slices, maps, every volume or every threshold.
`docs/getting_started.md` says so."""


@pytest.fixture
def runs(tmp_path):
    arm = tmp_path / "runs" / "01_backbones" / "a"
    arm.mkdir(parents=True)
    (tmp_path / "runs" / "07_figures").mkdir()
    (tmp_path / "runs" / "00_data").mkdir()
    summary = pd.DataFrame({"dataset": ["rsna", "phe_sich"], "synthetic": [True, False]})
    summary.to_csv(tmp_path / "runs" / "00_data" / "summary.csv", index=False)
    (tmp_path / "runs" / "07_figures" / "roc.png").write_bytes(b"picture")
    (arm / "metrics.csv").write_text("x\n1\n")
    (arm / "weights.safetensors").write_bytes(b"large")
    curve = pd.DataFrame(
        {
            "dataset": "d",
            "class": "any",
            "false_positive_rate": [i / 999 for i in range(1000)],
            "sensitivity": 1.0,
        }
    )
    curve.to_csv(arm / "roc.csv", index=False)
    table = pd.DataFrame(
        {
            "dataset": "rsna",
            "patient_id": "p",
            "scan_id": "s",
            "slice_index": [0, 0, 0],
            "class": ["any", "IPH", "any"],
            "label": True,
            "logit": 0.1,
            "probability": 0.5,
            "part": ["rsna/test", "rsna/test", "rsna/validation"],
        }
    )
    table.to_parquet(arm / "predictions.parquet")
    return tmp_path / "runs"


def test_small_tables_are_copied_in_the_same_layout(runs, tmp_path):
    written = publish.publish_small(runs, runs / "07_figures", tmp_path / "figures")
    names = {str(path.relative_to(tmp_path / "figures")) for path in written}
    arm = {f"01_backbones/a/{name}" for name in ("metrics.csv", "roc.csv", "predictions.parquet")}
    assert names == {"00_data/summary.csv", *arm, "07_figures/roc.png"}


def test_tables_of_08_are_published_and_no_other_notebooks_cost(runs, tmp_path):
    for place in ("08_cross_benchmark", "06_cam_benchmark"):
        (runs / place).mkdir()
        for name in ("by_size", "triage", "cost", "differences"):
            (runs / place / f"{name}.csv").write_text("x\n1\n")
    written = publish.publish_small(runs, runs / "07_figures", tmp_path / "figures")
    names = [str(path.relative_to(tmp_path / "figures")) for path in written]
    found = [name for name in names if name.startswith(("06", "08"))]
    assert found == [f"08_cross_benchmark/{name}.csv" for name in ("by_size", "cost", "triage")]


def test_curves_are_thinned_with_their_ends_kept(runs, tmp_path):
    publish.publish_small(runs, runs / "07_figures", tmp_path / "figures")
    curve = pd.read_csv(tmp_path / "figures" / "01_backbones" / "a" / "roc.csv")
    assert len(curve) < 250 and curve["false_positive_rate"].iloc[[0, -1]].tolist() == [0, 1]


def test_predictions_of_every_part_that_a_claim_compares_are_published_in_half_the_size(
    runs, tmp_path
):
    publish.publish_small(runs, runs / "07_figures", tmp_path / "figures")
    table = pd.read_parquet(tmp_path / "figures" / "01_backbones" / "a" / "predictions.parquet")
    assert set(table["part"]) == {"rsna/test", "rsna/validation"} and len(table) == 3
    assert table["logit"].dtype == "float32"


def test_large_files_and_the_runs_own_folder_are_refused(runs, tmp_path):
    with pytest.raises(StudyError, match="own folder"):
        publish.publish_small(runs, runs / "07_figures", runs)
    (runs / "07_figures" / "big.csv").write_bytes(b"0" * (publish.LARGEST_BYTES + 1))
    with pytest.raises(StudyError, match=r"big\.csv"):
        publish.publish_small(runs, runs / "07_figures", tmp_path / "figures")


def test_pictures_of_real_scans_are_never_published(runs, tmp_path):
    data = runs / "00_data"
    for name in ("montage_rsna.png", "montage_phe_sich.png", "volume_ml.png"):
        (data / name).write_bytes(b"picture")
    written = publish.publish_small(runs, runs / "07_figures", tmp_path / "figures")
    pictures = {
        path.name for path in written if path.parent.name == "00_data" and path.suffix == ".png"
    }
    assert pictures == {"montage_rsna.png", "volume_ml.png"}


def test_predictions_on_real_patients_are_not_published(runs, tmp_path):
    source = runs / "01_backbones" / "a" / "predictions.parquet"
    pd.read_parquet(source).assign(dataset="phe_sich").to_parquet(source)
    written = publish.publish_small(runs, runs / "07_figures", tmp_path / "figures")
    assert "predictions.parquet" not in {path.name for path in written}


def test_runs_that_do_not_say_what_is_synthetic_are_refused(runs, tmp_path):
    pd.DataFrame({"dataset": ["rsna"]}).to_csv(runs / "00_data" / "summary.csv", index=False)
    with pytest.raises(StudyError, match="which data sets are synthetic"):
        publish.publish_small(runs, runs / "07_figures", tmp_path / "figures")


def test_pictures_of_the_methods_are_published_of_phantoms_alone(runs, tmp_path):
    picture = runs / "05_mil_detector" / "arm" / "slices.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"picture")
    publish.publish_small(runs, runs / "07_figures", tmp_path / "mixed")
    assert not (tmp_path / "mixed" / "05_mil_detector").exists()
    pd.DataFrame({"dataset": ["rsna"], "synthetic": [True]}).to_csv(
        runs / "00_data" / "summary.csv", index=False
    )
    publish.publish_small(runs, runs / "07_figures", tmp_path / "phantom")
    assert (tmp_path / "phantom" / "05_mil_detector" / "arm" / "slices.png").is_file()


def test_charts_without_slices_are_published_of_real_scans_too(runs, tmp_path):
    folder = runs / "08_cross_benchmark"
    folder.mkdir()
    for name in ("quality_cost.png", "ranks_phe_sich.png", "heat_phe_sich_1.png"):
        (folder / name).write_bytes(b"picture")
    publish.publish_small(runs, runs / "07_figures", tmp_path / "mixed")
    published = {path.name for path in (tmp_path / "mixed" / "08_cross_benchmark").iterdir()}
    assert published == {"quality_cost.png", "ranks_phe_sich.png"}


def test_a_chart_that_07_drew_again_takes_the_place_of_the_runs_own(runs, tmp_path):
    for folder, content in ((runs, b"of the run"), (runs / "07_figures", b"redrawn")):
        (folder / "08_cross_benchmark").mkdir()
        (folder / "08_cross_benchmark" / "quality_cost.png").write_bytes(content)
    publish.publish_small(runs, runs / "07_figures", tmp_path / "figures")
    published = tmp_path / "figures" / "08_cross_benchmark" / "quality_cost.png"
    assert published.read_bytes() == b"redrawn"
    assert not (tmp_path / "figures" / "07_figures" / "quality_cost.png").exists()


def test_every_committed_picture_is_rebuilt_by_07_or_known_to_need_its_run():
    """`docs/getting_started.md` names both kinds; a new picture has to be put into one of them."""
    figures = project_root() / "figures"
    places = [path.relative_to(figures) for path in figures.glob("*/[0-9]*/**/*.png")]
    assert len(places) > 80
    unknown = [
        place
        for place in (Path(*each.parts[1:]) for each in places)
        if place.parts[0] != "07_figures"
        and not any(fnmatch(place.as_posix(), pattern) for pattern in REDRAWN)
        and not any(fnmatch(place.stem, pattern) for pattern in OF_THE_RUN_ALONE)
    ]
    assert not unknown


def test_a_large_picture_is_published_smaller_and_never_dropped(tmp_path, monkeypatch):
    """Noise in 256 colours takes a byte a pixel and a palette of 768: of 100 x 45 it fits at three
    quarters."""
    monkeypatch.setattr(publish, "LARGEST_PICTURE_BYTES", 4000)
    for name, width in (("noise", 100), ("plain", 20), ("huge", 300)):
        pixels = np.random.default_rng(1).integers(0, 256, (45, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    assert (tmp_path / "noise.png").stat().st_size > 4000
    small = publish.small_picture(tmp_path / "noise.png", tmp_path / "out" / "noise.png")
    with Image.open(small) as picture:
        assert picture.width == 75 and small.stat().st_size <= 4000
    plain = publish.small_picture(tmp_path / "plain.png", tmp_path / "out" / "plain.png")
    assert plain.read_bytes() == (tmp_path / "plain.png").read_bytes()
    with pytest.raises(StudyError, match=r"huge\.png: \d+ bytes at 0.5 of its width"):
        publish.small_picture(tmp_path / "huge.png", tmp_path / "out" / "huge.png")


def test_outlines_keep_their_colours_in_a_picture_of_fewer_colours(tmp_path, monkeypatch):
    """Of a grey slice the most frequent 256 colours leave lines a mixture of their colours."""
    pixels = np.random.default_rng(0).integers(0, 256, (440, 400, 1)).repeat(3, 2)
    for number, colour in enumerate(CLASS_COLOURS.values(), start=1):
        for share, beside in ((1, 0), (0.66, 1), (0.33, 2)):  # a line and its soft edge
            row = pixels[60 * number + beside, 20:380]
            row[:] = share * np.array(ImageColor.getrgb(colour)) + (1 - share) * row
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(publish, "LARGEST_PICTURE_BYTES", 180_000)
    with Image.open(publish.small_picture(tmp_path / "a.png", tmp_path / "b.png")) as picture:
        assert picture.mode == "P" and picture.size == (400, 440)
        found = np.asarray(picture.convert("RGB"))
    for number, colour in enumerate(CLASS_COLOURS.values(), start=1):
        assert (found[60 * number, 20:380] == ImageColor.getrgb(colour)).all(), colour


def test_published_results_keep_five_digits_and_their_text():
    table = pd.DataFrame(
        {"layer": ["-1"], "value": [0.123456789], "ci_low": [float("nan")], "ci_high": [12345.678]}
    )
    found = publish.rounded(table)
    assert (
        found["value"].item() == 0.12346
        and found["ci_high"].item() == 12346
        and pd.isna(found["ci_low"].item())
    )
    assert found["layer"].item() == "-1"


def test_what_is_published_is_published_again_as_it_is():
    curve = pd.DataFrame(
        {
            "method": "a",
            "dataset": "d",
            "class": "any",
            "sensitivity": [i / 1999 for i in range(2000)],
        }
    )
    once = publish.thinned(pd.concat([curve, curve.assign(method="b")]))
    assert 400 < len(once) < 600
    pd.testing.assert_frame_equal(publish.thinned(once), once)
    numbers = pd.DataFrame({"value": [0.0123456789, 12.3456789, None, 1e-9 / 3]})
    rounded = publish.rounded(numbers)
    pd.testing.assert_frame_equal(publish.rounded(rounded), rounded)


def test_no_committed_interval_is_without_width():
    tables = [
        pd.read_csv(path, low_memory=False)
        for path in (project_root() / "figures").rglob("*.csv")
        if "ci_low" in path.read_text(encoding="utf-8").partition("\n")[0]
    ]
    assert len(tables) > 50
    for table in tables:
        alike = table[table["ci_low"].notna() & (table["ci_low"] == table["ci_high"])]
        if "metric" in alike:
            # no share: its two patients at phantom may agree to the five digits published
            alike = alike[alike["metric"] != "deletion_auc"]
        assert alike.empty, "a share that is alike in every patient has exact bounds"


def test_every_committed_record_stands_beside_the_files_that_it_names():
    """Else 07 cannot be run on the committed tables, as README says that it can."""
    records = sorted((project_root() / "figures").rglob("run.json"))
    assert len(records) > 40
    assert [run_problem(path.parent) for path in records if run_problem(path.parent)] == []
