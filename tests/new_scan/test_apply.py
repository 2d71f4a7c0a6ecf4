import numpy as np
import pytest
import torch

from ich_study.errors import ParameterError, WeightsError
from ich_study.evaluate.scan_methods import ScanRecipe
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.manifest import RUN_NAME
from ich_study.models.weights import read_metadata
from ich_study.new_scan.apply import (
    SHIPPED,
    apply_method,
    marked,
    open_methods,
    present,
    shipped,
    told_apart,
)
from ich_study.new_scan.read import read_dicom
from ich_study.schema import UNSPECIFIED_HEMORRHAGE
from tests.new_scan.heads import head, write_series
from tests.new_scan.methods import bright


@pytest.fixture
def scan(tmp_path):
    return read_dicom(tuple(write_series(tmp_path, head()[0], tilt_degrees=20)), "anon")


def test_the_mask_is_where_the_heat_is_and_its_volume_is_in_ml(scan):
    lesion = head()[1]
    finding = apply_method("bright", bright(), scan)
    assert np.array_equal(finding.mask == UNSPECIFIED_HEMORRHAGE, lesion)
    # 4 slices of 48 pixels, 3.0 x 2.8 mm and 6 mm of the table apart at 20 degrees
    expected = 4 * 48 * 3.0 * 2.8 * 6 * np.cos(np.deg2rad(20)) / 1000
    assert finding.volumes_ml == pytest.approx({"any": expected}, rel=1e-4)
    assert finding.probability["any"].tolist() == [0] * 4 + [1] * 4 + [0] * 4
    assert finding.points["slice_index"].tolist() == [4, 5, 6, 7]
    assert (finding.points["x_mm"] < 0).all()  # the lesion lies on the patient's right


def test_a_gate_closes_a_slice_and_the_brain_bounds_the_mask(scan):
    method = bright()
    closed = ScanRecipe("toy", "bright", "x", ("any",), (0.6,), (1.5,), "none")
    heat = np.full((1, 2, 4, 4), 0.7, np.float32)
    assert not marked(heat, np.array([[0.2], [0.9]]), closed).any()
    half = ScanRecipe("toy", "bright", "x", ("any",), (0.7,), (0.5,), "none")
    below = np.nextafter(0.5, 0)
    # a slice of exactly the gate is marked, and a pixel of exactly the threshold
    assert marked(heat, np.array([[0.5], [below]]), half).any((1, 2)).tolist() == [True, False]
    finding = apply_method("bright", method, scan, inside_brain=False)
    inside = apply_method("bright", method, scan)
    assert not (inside.mask > 0)[~scan.source.brain].any()
    assert (finding.mask > 0).sum() >= (inside.mask > 0).sum()


def test_of_two_subtypes_the_hotter_wins_and_any_marks_nothing_of_its_own():
    recipe = ScanRecipe("toy", "x", "x", ("any", "IPH", "SAH"), (0.5,) * 3, (0.0,) * 3, "none")
    heat = np.array([[0.9, 0.9, 0.9, 0.9], [0.6, 0.7, 0.1, 0.5], [0.7, 0.6, 0.2, 0.1]])
    mask = marked(heat[:, None, None].astype(np.float32), np.ones((1, 3)), recipe)
    assert mask[0, 0].tolist() == [3, 1, 0, 1]


@pytest.mark.parametrize("crop", ["none", "center_of_110_percent"])
def test_the_way_back_from_the_networks_grid_is_the_way_there(crop):
    preprocessing = Preprocessing(("brain",), "fixed", 1, 40, crop, (0.0,), (1.0,))
    hu = np.zeros((1, 96, 80), np.int16)
    hu[0, 30:50, 44:60] = 1000
    grid = preprocessing.resized(torch.from_numpy(hu), clipped=False)
    native = preprocessing.native(grid.float(), 96, 80)[0] > 500
    assert (native == torch.from_numpy(hu[0] > 500)).float().mean() > 0.99
    # the centre of the block, on the grid and back: pixels 30..49 and 44..59
    box = preprocessing.on_grid(torch.tensor([[44.0, 30.0, 16.0, 20.0]]), 96, 80)[0]
    centre = torch.tensor([[box[1] + box[3] / 2 - 0.5, box[0] + box[2] / 2 - 0.5]])
    found = preprocessing.native_points(centre, 96, 80)
    assert found[0].tolist() == pytest.approx([39.5, 51.5], abs=0.6)


def test_what_is_left_out_is_said_with_what_to_set(monkeypatch, capsys):
    monkeypatch.delenv("ICH_NOWHERE", raising=False)
    monkeypatch.setenv("ICH_SOMEWHERE", "here")
    optional = "published_attention:$ICH_NOWHERE/a.npz"
    kept = present(["lse_unet", f"if_set:{optional}", "if_set:every:$ICH_SOMEWHERE/run"])
    assert kept == ["lse_unet", "every:$ICH_SOMEWHERE/run"]
    said = capsys.readouterr().out
    assert said == f"left out: {optional}; set ICH_NOWHERE to the folder where the file lies\n"
    # what is named without a condition is never left out
    assert present([optional]) == [optional]


def test_the_shipped_weights_open_by_name_and_are_small():
    assert shipped() == ["lse_unet", "mil_max_pooling", "swin_hgi_sam"]
    methods = open_methods(shipped(), torch.device("cpu"))
    assert list(methods) == shipped()
    for method in methods.values():
        assert method.recipe.classes == ("any",) and len(method.sha256) == 64


def test_shipped_weights_learned_from_hu_or_see_none_beyond_the_grey_of_the_real_slices():
    """An 8-bit export of -20 to 100 HU says nothing of bone; the phantom's HU do."""
    clips = {}
    for name, method in open_methods(shipped(), torch.device("cpu")).items():
        low, high = clips[name] = method.preprocessing.clip
        learned = read_metadata(SHIPPED / f"{name}.safetensors")["patients"]
        assert {"phe_sich", "rsna"} == set(learned) or (low >= -20 and high <= 100)
    assert clips["mil_max_pooling"] == (0, 80) and clips["lse_unet"][1] > 100


def test_the_mil_weights_see_no_difference_between_hu_and_the_grey_of_their_data(scan):
    """What PHE-SICH's reader makes of an export of -20 to 100 HU against the scan's own HU."""
    hu = scan.hu
    grey = np.where(hu >= 100, 1000, np.where(hu <= -20, -20, hu)).astype(np.int16)
    grey[hu < -900] = -1000
    method = open_methods(["mil_max_pooling"], torch.device("cpu"))["mil_max_pooling"]
    seen = [method.preprocessing.resized(torch.from_numpy(each)) for each in (hu, grey)]
    assert torch.equal(*seen)


def test_a_second_network_is_named_by_its_run_or_else_by_its_hash(tmp_path):
    for name in ("02_lse_unet", "02_lse_unet.large_seed_2", "weights.safetensors"):
        (tmp_path / name).mkdir()
    for name in ("02_lse_unet", "02_lse_unet.large_seed_2"):
        (tmp_path / name / RUN_NAME).write_text("{}")
    named = {each.name: told_apart(str(each), "ab" * 32) for each in tmp_path.iterdir()}
    assert named.pop("02_lse_unet.large_seed_2") == "large_seed_2"
    assert set(named.values()) == {"ababab"} and told_apart("lse_unet", "ab" * 32) == "shipped"


def test_a_source_that_is_nothing_and_a_method_named_twice_are_refused(tmp_path):
    device = torch.device("cpu")
    with pytest.raises(ParameterError, match="shipped are lse_unet"):
        open_methods([], device)
    with pytest.raises(WeightsError, match="none of the shipped weights"):
        open_methods([str(tmp_path)], device)
    found = open_methods(["mil_max_pooling"] * 2, device)  # as a run's and the shipped weights
    assert list(found) == ["mil_max_pooling", "mil_max_pooling_shipped"]
    with pytest.raises(ParameterError, match="named twice"):
        open_methods(["mil_max_pooling"] * 3, device)
    (tmp_path / "run.json").write_text('{"notebook": "00_data", "status": "ok", "parameters": {}}')
    with pytest.raises(WeightsError, match="run of 00_data"):
        open_methods([str(tmp_path)], device)
