import pandas as pd
import pytest

from ich_study.errors import StudyError
from ich_study.evaluate.slice_predictions import PREDICTION_COLUMNS, known_of
from ich_study.schema import typed


def predictions():
    return typed(
        pd.DataFrame(
            {
                "dataset": "rsna",
                "patient_id": ["p1", "p1", "p2"],
                "scan_id": ["s1", "s1", "s2"],
                "slice_index": [0, 1, 0],
                "class": "IPH",
                "label": [True, None, False],
                "logit": [1.0, 2.0, -1.0],
                "probability": [0.7, 0.9, 0.3],
            }
        ),
        PREDICTION_COLUMNS,
        "predictions",
    )


def test_slices_with_an_unknown_label_are_left_out():
    known = known_of(predictions(), "IPH")
    assert known["label"].tolist() == [True, False] and known["label"].dtype == bool
    assert known["logit"].tolist() == [1.0, -1.0]


def test_a_class_that_was_not_predicted_is_named():
    with pytest.raises(StudyError, match="no predictions of class 'SDH'; there are \\['IPH'\\]"):
        known_of(predictions(), "SDH")
