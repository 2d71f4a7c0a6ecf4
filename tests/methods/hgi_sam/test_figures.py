import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from ich_study.errors import StudyError
from ich_study.methods.hgi_sam.figures import comparison_figure, largest_lesions

HU = np.zeros((2, 16, 16), np.int16) + 30
TRUTH = np.zeros(HU.shape, bool)
TRUTH[:, 4:8, 4:8] = True


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_the_largest_lesion_of_each_patient_is_shown():
    rows = pd.DataFrame({"patient_id": ["a", "a", "b", "c", "c", "d"]})
    assert largest_lesions(rows, np.array([5, 9, 2, 0, 12, 0]), 3).tolist() == [4, 1, 2]
    assert largest_lesions(rows, np.array([5, 5, 5, 0, 0, 0]), 2).tolist() == [0, 2]
    with pytest.raises(StudyError, match="no slice"):
        largest_lesions(rows, np.zeros(6), 3)


def test_colours_say_who_drew_what():
    found = np.zeros(HU.shape, bool)
    found[:, 6:10, 4:8] = True
    figure = comparison_figure(HU, TRUTH, {"swin_hgi_sam": found, "unet": TRUTH}, "title")
    assert [axis.get_title() for axis in figure.axes[:3]] == [
        "slice",
        "Swin-HGI-SAM",
        "U-Net (supervised)",
    ]
    painted = figure.axes[1].images[0].get_array()
    automatic, truth, both, plain = painted[9, 5], painted[4, 5], painted[6, 5], painted[0, 0]
    assert len({tuple(np.round(colour, 3)) for colour in (automatic, truth, both, plain)}) == 4
    assert (
        automatic[0] > automatic[2]
        and truth[2] > truth[0]
        and both[0] > both[2]
        and plain[0] == plain[2]
    )
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {
        "automatic only",
        "truth only",
        "both",
    }


def test_masks_of_other_slices_are_refused():
    with pytest.raises(StudyError, match="no slices, or masks"):
        comparison_figure(HU, TRUTH, {"unet": TRUTH[:1]}, "title")
    with pytest.raises(StudyError, match="no slices, or masks"):
        comparison_figure(HU[:0], TRUTH[:0], {}, "title")
