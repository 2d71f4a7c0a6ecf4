import matplotlib.pyplot as plt
import numpy as np
import pytest

from ich_study.evaluate.truth import read_truth
from ich_study.methods.cams.pictures import map_pictures, shown_slices
from ich_study.schema import UNSPECIFIED_HEMORRHAGE
from tests.methods.cams.fakes import heat_of, levels, masked_store, scored, truth_part
from tests.training.fakes import config

PARTS = VALIDATION, TEST = truth_part(seed=1, prefix="v"), truth_part(seed=2, prefix="t")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_pictures_show_the_largest_lesion_of_each_subtype():
    store = masked_store()
    grid = config(size=32).preprocessing()
    boxes = read_truth(store, store.index, grid, "boxes", brain=False)
    assert [name for name, _ in shown_slices(boxes, "any", 1)] == ["IPH", "SDH"]
    # masks of this store name one subtype; where they say hemorrhage alone, five patients are shown
    masks = read_truth(store, store.index, grid, brain=False)
    assert [name for name, _ in shown_slices(masks, "any", 1)] == ["IPH"]
    masks.codes[masks.codes > 0] = UNSPECIFIED_HEMORRHAGE
    shown = shown_slices(masks, "any", 1)
    areas = masks.mask().sum((1, 2))
    assert [name for name, _ in shown] == ["any"] * 5 and areas[shown[0][1]] == areas.max()
    assert masks.rows.iloc[[index for _, index in shown]]["patient_id"].is_unique


def test_a_picture_outlines_what_lies_above_the_held_out_threshold(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "ich_study.methods.cams.pictures.heatmap_grid",
        lambda hu, columns, title, **options: (
            drawn.append((columns, title, options)) or plt.figure()
        ),
    )
    named = [("hires_cam", "-1"), ("hires_cam", "-3"), ("hires_cam", "-1", "printed")]
    # [-1] marks the lesions at the test part's own threshold and nothing at the held-out one
    late = levels(VALIDATION, 0.8, 0.5), levels(TEST, 0.4, 0.1)
    right = levels(VALIDATION, 0.8, 0.5), levels(TEST, 0.8, 0.5)
    rival = (*right, "centred_blob", None)
    maps = [(*late, *named[0]), (*right, *named[1]), (*right, *named[2]), rival]
    scores = scored(PARTS, *maps)
    heats = [heat_of(each[1], *each[2:]) for each in maps]
    found = list(map_pictures(heats, scores, TEST, "any", 1, "fake"))
    assert len(found) == len(drawn) == 4  # patients of the test part
    for (name, _), (columns, title, options) in zip(found, drawn):
        index = int(name.removeprefix("maps_any_"))
        assert [column.title for column in columns] == ["HiResCAM"] and "fake" in title
        assert options["row_titles"] == ["depth [-1]", "depth [-3]"]
        lesion = TEST.mask("any", index)
        assert columns[0].codes[0].sum() == 0 and np.array_equal(columns[0].codes[1], lesion)
        assert columns[0].heatmaps.min() == 0 and columns[0].heatmaps.max() == 1
        assert np.array_equal(options["truth"][0] > 0, lesion)
        (below,) = options["below"]
        assert below.title == "centred blob" and np.array_equal(below.codes, lesion[None])


@pytest.mark.parametrize("kind", ["masks", "boxes"])
def test_pictures_are_drawn_of_masks_and_of_boxes(kind):
    truth = TEST if kind == "masks" else _boxed(TEST)
    maps = levels(VALIDATION, 0.8, 0.5), levels(TEST, 0.8, 0.5), "hires_cam", "-1"
    scores = scored((VALIDATION, truth), maps)
    pictures = dict(map_pictures([heat_of(maps[1], *maps[2:])], scores, truth, "any", 1, "fake"))
    figure = next(iter(pictures.values()))
    assert len(figure.axes) == 4 and "fake" in figure.get_suptitle()


def _boxed(truth):
    labels = dict.fromkeys(("IPH", "IVH", "SAH", "SDH", "EDH"), False)
    rows = truth.rows.assign(**{**labels, "SDH": truth.rows["any"]})
    return type(truth)(**{**vars(truth), "rows": rows, "kind": "boxes", "annotated": truth.boxes()})
