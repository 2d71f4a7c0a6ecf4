"""Rows of label maps against scikit-learn's F1 of pixels and plain means over scans."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from ich_study.errors import StudyError
from ich_study.methods.lse_unet.mask_quality import (
    average_statistic,
    label_map_counts,
    label_map_rows,
)
from ich_study.schema import RESULT_COLUMNS, result_table


def slices(seed=0, count=12, missing=None):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 6, (count, 9, 9))
    if missing is not None:
        truth[truth == missing] = 0
    labels = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, 6, truth.shape))
    rows = pd.DataFrame(
        {
            "scan_id": [f"s{item // 2}" for item in range(count)],
            "patient_id": [f"p{item // 4}" for item in range(count)],
        }
    )
    return labels, truth, rows


def test_pixel_dice_is_f1_and_average_is_the_mean():
    labels, truth, rows = slices()
    table = result_table(
        label_map_rows(
            label_map_counts(labels, truth), rows, {"method": "m", "subset": "all"}, replicates=50
        )
    )
    assert list(table.columns) == list(RESULT_COLUMNS)
    value = table[(table["unit"] == "pixel") & (table["metric"] == "dice")].set_index("class")[
        "value"
    ]
    expected = f1_score(truth.ravel(), labels.ravel(), average=None)
    np.testing.assert_allclose(value[["normal", "IPH", "IVH", "SAH", "SDH", "EDH"]], expected)
    assert value["average"] == pytest.approx(expected.mean())
    scan = table[(table["unit"] == "scan") & (table["metric"] == "dice")].set_index("class")[
        "value"
    ]
    per_scan = [
        f1_score(truth[i : i + 2].ravel(), labels[i : i + 2].ravel(), average=None)
        for i in range(0, 12, 2)
    ]
    np.testing.assert_allclose(
        scan[["normal", "IPH", "IVH", "SAH", "SDH", "EDH"]], np.mean(per_scan, 0)
    )
    assert (table["ci_low"] <= table["value"]).all() and (table["value"] <= table["ci_high"]).all()


def test_a_subtype_without_truth_is_left_out_of_rows_and_average():
    labels, truth, rows = slices(1, missing=4)
    counts = label_map_counts(labels, truth)
    table = pd.DataFrame(label_map_rows(counts, rows, {}, units=("pixel",), replicates=20))
    assert "SDH" not in set(table["class"])
    expected = f1_score(truth.ravel(), labels.ravel(), labels=[0, 1, 2, 3, 5], average=None)
    assert table.set_index("class")["value"]["average"] == pytest.approx(expected.mean())
    assert average_statistic(counts, rows, "pixel", background=False).value() == pytest.approx(
        expected[1:].mean()
    )


def test_bad_input_is_refused():
    labels, truth, rows = slices()
    with pytest.raises(StudyError, match="counts of shape"):
        label_map_rows(label_map_counts(labels, truth), rows[:3], {})
    with pytest.raises(StudyError, match="label map"):
        label_map_counts(labels + 1, truth)
    with pytest.raises(StudyError, match="must be given"):
        average_statistic(label_map_counts(labels, truth * 0), rows, "pixel", background=False)
