import numpy as np
import pandas as pd
from scipy.special import logit

from ich_study.figures import panels
from ich_study.schema import BOX_COLUMNS, LABELS


class Scans:
    def __init__(self, positive=True):
        rows = [
            {
                "patient_id": f"p{n}",
                "scan_id": f"s{n}",
                "slice_index": i,
                "spacing_x_mm": 0.5,
                "spacing_y_mm": 0.5,
                "has_mask": True,
                "has_boxes": False,
                **dict.fromkeys(LABELS, False),
                "any": positive and i in (2, 3, 4),
                "SDH": positive and i in (2, 3, 4),
            }
            for n in range(6)
            for i in range(8)
        ]
        self.index = pd.DataFrame(rows)
        self.boxes = pd.DataFrame(columns=list(BOX_COLUMNS))
        self.codes = np.zeros((8, 10, 10), np.uint8)
        self.codes[2:5, 2:6, 2:6] = 4

    def slice(self, scan_id, slice_index):
        return np.full((10, 10), slice_index, np.int16)

    def mask(self, scan_id):
        return self.codes


def test_the_middle_positive_slice_of_different_patients_is_shown():
    shown = panels.labelled_slices(Scans().index, "SDH", 3)
    assert len({scan for scan, _ in shown}) == 3 and {i for _, i in shown} == {3}


def test_subtype_panels_state_the_lesion_area():
    shown = panels.subtype_panels(Scans(), 2)
    assert [panel.title for panel in shown] == ["SDH 0.0 cm²"] * 2
    assert (shown[0].mask == 4).sum() == 16


def test_a_label_that_its_mask_lacks_shows_the_slice_of_the_label():
    scans = Scans()
    scans.codes[scans.codes == 4] = 1
    shown = panels.subtype_panels(scans, 2)
    assert [panel.title for panel in shown] == ["SDH, not in the mask"] * 2
    assert all(panel.hu[0, 0] == 3 for panel in shown), "the middle positive slice, not the first"


def test_a_data_set_without_positives_still_shows_its_scans():
    shown = panels.overview_panels(Scans(positive=False), 4)
    assert len(shown) == 4 and all(panel.hu[0, 0] == 4 for panel in shown)


def predictions(probabilities, labels):
    return pd.DataFrame(
        {
            "dataset": "d",
            "patient_id": [f"p{i}" for i in range(len(labels))],
            "scan_id": [f"s{i}" for i in range(len(labels))],
            "slice_index": 1,
            "class": "any",
            "label": pd.array(labels, dtype="boolean"),
            "logit": logit(probabilities),
            "probability": probabilities,
        }
    )


def test_best_and_worst_predictions_are_chosen_by_rule():
    groups = panels.extreme_predictions(
        predictions([0.9, 0.1, 0.8, 0.2, 0.5], [True, True, False, False, None]), "any", 1
    )
    assert {name: rows["patient_id"].tolist() for name, rows in groups.items()} == {
        "surest positives": ["p0"],
        "least sure positives": ["p1"],
        "surest negatives": ["p3"],
        "least sure negatives": ["p2"],
    }


def test_prediction_panels_keep_the_grid_where_a_group_is_short():
    shown = panels.prediction_panels(
        predictions([0.9, 0.2], [True, True]), {"d": Scans()}, "any", 3
    )
    assert len(shown) == 12
    assert [panel.title for panel in shown[6:9]] == ["surest negatives: none"] * 3
