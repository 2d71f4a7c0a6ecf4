"""Pictures show what they say: thresholds and classes of the masks, arrays of the opened slice."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from ich_study.evaluate.rows import Rows
from ich_study.evaluate.thresholds import fixed_threshold
from ich_study.evaluate.truth import largest_lesions
from ich_study.methods.lse_unet import pictures, report as lse_report
from ich_study.methods.lse_unet.algorithm1 import heat_levels
from ich_study.methods.lse_unet.study import rivals_of
from ich_study.schema import SUBTYPES
from tests.methods.lse_unet.cases import (
    BAD,
    GOOD,
    SCORED,
    SIDE,
    VALIDATION_LABELS,
    made_of,
    method,
    slices_of,
    two_kinds,
)

ROWS = Rows("02_lse_unet", "bhsd", 20, 0)


def test_pictures_show_masks_at_the_test_masks_thresholds_and_true_labels():
    made, slices = two_kinds(found="low")
    report = lse_report.report_masks(ROWS, [made], slices, VALIDATION_LABELS, "printed")
    shown = pd.DataFrame({"class": "IPH", "index": np.arange(4)})
    (column,) = pictures.map_columns([made], slices, shown, report)
    # At 200: all 8 pixels of the "high" lesions, one of the "low" ones; class thresholds would give
    # the "high" ones no mask.
    assert sorted((column.codes == 1).sum((1, 2))) == [1, 1, 8, 8]
    np.testing.assert_array_equal(column.heatmaps, made.heat.maps[:, 0])


def test_a_row_outlines_its_own_class_alone_and_any_all_of_them(monkeypatch):
    codes = np.zeros((1, 8, 8), np.uint8)
    codes[0, :2], codes[0, 4:7] = 1, 2
    slices = slices_of(codes, ("IPH", "IVH"), ["a"])
    maps = np.stack([codes == 1, codes == 2], 1).astype(np.float32)
    made = made_of(maps, ("IPH", "IVH"), "lse_unet")
    cuts = dict.fromkeys(("IPH", "IVH"), fixed_threshold(125.0))
    report = lse_report.MaskReport(chosen={"lse_unet": cuts})
    truths, found = [], pictures.map_columns
    monkeypatch.setattr(pictures, "heatmap_grid", lambda *given, **_: truths.append(given[3]))
    shown = pd.DataFrame({"class": ["IPH", "IVH"], "index": 0})
    pictures.methods_figure([made], slices, shown, report, "x")
    (column,) = found([made], slices, shown, report)
    for number, code in enumerate((1, 2)):
        assert np.array_equal(truths[0][number], np.where(codes[0] == code, code, 0))
        assert np.array_equal(column.codes[number], codes[0] == code)
    monkeypatch.setattr(pictures, "map_columns", lambda *_: [])
    pictures.methods_figure([made], slices, shown.assign(**{"class": "any"}), report, "x")
    assert np.array_equal(truths[1], codes[[0, 0]])


def test_columns_name_their_variant_where_a_method_has_several():
    shown = largest_lesions(SCORED, SUBTYPES)
    report = lse_report.report_masks(ROWS, [GOOD, BAD], SCORED, None, "printed")
    columns = pictures.map_columns([GOOD, BAD], SCORED, shown, report)
    assert [column.title for column in columns] == ["LSE-UNet", "RDNet"]
    assert columns[0].codes.shape == (5, SIDE, SIDE)
    several = [GOOD, method("lse_unet", 0.4, "authors"), BAD]
    variants = pictures.map_columns(several, SCORED, shown, lse_report.MaskReport())
    assert [column.title for column in variants] == [
        "LSE-UNet\n(printed)",
        "LSE-UNet\n(authors)",
        "RDNet",
    ]


def test_volumes_of_the_methods_stand_above_those_of_the_hu_threshold():
    rivals = rivals_of(GOOD, SCORED, 2.0, seed=1)
    everyone = [GOOD, BAD, *rivals]
    report = lse_report.report_masks(ROWS, everyone, SCORED, None, "printed")
    figure = pictures.volume_figure(report, [GOOD, BAD], rivals)
    panels = [axis for axis in figure.axes if axis.get_ylabel()]
    names = [axis.get_ylabel().partition("\n")[0] for axis in panels]
    assert names == ["LSE-UNet", "RDNet", "HU 50-90 in the brain"]
    for axis, name in zip(panels, ("lse_unet", "rdnet_tiny", "hu_threshold")):
        table = report.volumes[name]
        table = table[table["class"] == "any"]
        expected = (table["predicted_ml"] - table["truth_ml"]).to_numpy()
        drawn = np.concatenate([np.asarray(each.get_offsets()) for each in axis.collections])
        np.testing.assert_allclose(np.sort(drawn[:, 1]), np.sort(expected))
    plt.close(figure)


def test_boxes_have_no_masks_and_six_patients():
    boxes = [np.array([[0.0, 0.0, 8.0, float(number + 1)]]) for number in range(8)]
    codes = np.zeros((8, 8, 8), np.uint8)
    patients = [f"p{number // 2}" if number < 4 else f"p{number}" for number in range(8)]
    boxed = slices_of(codes, ("IPH",), patients, boxes=boxes)
    shown = pictures.chosen_slices(boxed, ["any"])
    assert shown["index"].tolist() == [7, 6, 5, 4, 3, 1]
    made, _ = two_kinds()
    one = pd.DataFrame({"class": ["IPH"], "index": [2]})
    (column,) = pictures.map_columns([made], boxed, one, lse_report.MaskReport())
    assert column.codes is None and column.heatmaps.shape == (1, 8, 8)


def view(channels=3):
    """The four slices of `two_kinds`, opened through its own heat and through none."""
    made, truth = two_kinds()
    heat = made.heat.read(slice(None))
    cold = np.zeros_like(heat)
    walks = {
        name: pictures.Walk([maps - 0.5, maps], np.zeros((4, 1)), maps, maps, heat_levels(maps))
        for name, maps in (("authors", heat), ("printed", cold))
    }
    shown = pd.DataFrame({"class": "IPH", "index": np.arange(4)})
    inputs = np.random.default_rng(0).normal(size=(4, channels, 8, 8)).astype(np.float32)
    present = np.ones((4, 1), bool)
    names = ("brain window", "subdural window", "bone window")[:channels]
    return pictures.SliceView(truth, shown, inputs, names, present, ("IPH",), walks), truth


def titles(figure):
    return [axis.get_title() for axis in figure.axes if axis.get_title()]


@pytest.mark.parametrize("channels", [1, 3])
def test_one_slice_has_a_row_of_inputs_and_a_row_per_variant(channels):
    opened, truth = view(channels)
    high = int(np.flatnonzero((truth.codes > 0).any((1, 2)) & (heat_of(opened) == 8))[0])
    figure = opened.draw(high, "all", 175)
    found = titles(figure)
    assert len(found) == 21 and found[7].startswith("8 authors: f3 of IPH")
    assert found[14].startswith("15 printed: f3 of IPH")
    assert found[0].startswith("1 input: brain window")
    assert found[2].startswith("3 input: bone window" if channels == 3 else "3 slice, bone window")
    # At 175 all 8 lesion pixels of the "high" kind are left, of the cold map none.
    assert found[13].endswith("its IPH, 8 px\ntruth 8 px")
    assert found[20].endswith("its IPH, 0 px\ntruth 8 px")
    plt.close(figure)
    figure = opened.draw(high, "authors", 25)
    # At 25 its 24 stray pixels are in the mask.
    assert len(titles(figure)) == 14 and "its IPH, 32 px" in titles(figure)[13]
    plt.close(figure)


def test_heat_at_the_mask_threshold_is_not_above_it():
    opened, _ = view()
    high = int(np.flatnonzero(heat_of(opened) == 8)[0])
    for threshold, pixels in ((159, 32), (160, 8)):  # three stray rows have 160
        figure = opened.draw(high, "authors", threshold)
        axis = next(axis for axis in figure.axes if "heat above" in axis.get_title())
        assert np.count_nonzero(axis.images[-1].get_array()) == pixels
        plt.close(figure)


def heat_of(opened):
    """Pixels above 175 of each slice."""
    return (opened.walks["authors"].whole[:, 0] > 175).sum((1, 2))


def test_figure_1_shows_each_subtype_on_few_slices_and_figure_6_the_lesion_of_middle_size():
    codes = np.zeros((5, 8, 8), np.uint8)
    codes[0, 0, :1], codes[0, 1, :8] = 1, 2
    codes[1, 0, :4], codes[1, 1, :4] = 1, 2
    codes[2, :4] = 1
    codes[3, 0, :6] = 1
    codes[3, 7, :2], codes[4, 7, :3] = 3, 3
    slices = slices_of(codes, ("IPH", "IVH", "SAH"), list("abcde"))
    found = pictures.more_slices(slices, ["IPH", "IVH", "SAH"])
    # SAH, on no slice with both others, stands on a further one, its largest
    assert found["1"].to_dict("list") == {"class": ["IPH", "IVH", "SAH"], "index": [1, 1, 4]}
    two = pictures.more_slices(slices, ["IPH", "IVH"])
    assert two["1"].to_dict("list") == {"class": ["IPH", "IVH"], "index": [1, 1]}
    assert two["6"].to_dict("list") == {"class": ["IPH", "IVH"], "index": [1, 1]}
    alone = slices_of(np.where(codes > 1, 0, codes), ("IPH",), list("abcde"))
    assert list(pictures.more_slices(alone, ["IPH"])) == ["6"]
    boxed = slices_of(np.zeros_like(codes), ("IPH",), list("abcde"), boxes=[np.zeros((0, 4))] * 5)
    assert pictures.more_slices(boxed, ["IPH"]) == {}


def test_losses_have_a_name_per_arm_beside_the_curves_and_whole_epochs_from_1():
    loss = pd.DataFrame({"train_loss": [2.0, 1.0], "valid_loss": [0.5, 0.4]})
    figure = pictures.losses_figure({"authors": loss, "no_consistency_loss": loss + 1})
    axis = figure.axes[0]
    assert [each.get_text() for each in axis.get_legend().get_texts()] == [
        "authors",
        "no consistency loss",
    ]
    assert {tuple(line.get_xdata()) for line in axis.get_lines()} == {(1, 2)}
    figure.draw_without_rendering()
    assert axis.get_legend().get_window_extent().x0 >= axis.get_window_extent().x1
    plt.close(figure)
