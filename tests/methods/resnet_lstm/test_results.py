"""The direction of every difference, and the names of measures, on values written down here."""

import pandas as pd
import pytest

from ich_study.methods.resnet_lstm.results import (
    classifier_results,
    joined,
    localisation_results,
    volume_results,
)

COMMON = {"study": "03_resnet_lstm", "dataset": "fake", "seed": 1}
DICE = {
    ("resnet_unet", "printed"): 0.10,
    ("resnet_lstm_unet", "printed"): 0.25,
    ("resnet_kmeans_unet", "printed"): 0.40,
    ("resnet_lstm_kmeans_unet", "printed"): 0.60,
    ("resnet_lstm_kmeans_unet", "no_contrast_enhancement"): 0.55,
    ("unet", "printed"): 0.90,
    ("resnet_lstm_kmeans", "printed"): 0.32,
    ("resnet_lstm_cam", "printed"): 0.20,
    ("hu_threshold", "printed"): 0.03,
    ("centred_blob", "printed"): 0.04,
    ("random_map", "printed"): 0.01,
}
DIFFERENCES = {
    "resnet_lstm_unet - resnet_unet": 0.15,
    "resnet_unet - resnet_lstm_unet": -0.15,
    "resnet_unet - resnet_kmeans_unet": -0.30,
    "resnet_unet - resnet_lstm_kmeans_unet": -0.50,
    "resnet_lstm_kmeans_unet - resnet_kmeans_unet": 0.20,
    "resnet_lstm_kmeans_unet - resnet_lstm_unet": 0.35,
    "resnet_lstm_kmeans_unet - resnet_unet": 0.50,
    "unet - resnet_lstm_kmeans_unet": 0.30,
    "resnet_lstm_kmeans_unet - resnet_lstm_kmeans": 0.28,
    "resnet_lstm_kmeans - resnet_lstm_cam": 0.12,
    "resnet_lstm_kmeans_unet - hu_threshold": 0.57,
    "resnet_lstm_kmeans_unet - centred_blob": 0.56,
    "resnet_lstm_kmeans_unet - random_map": 0.59,
    "resnet_lstm_kmeans_unet - resnet_lstm_kmeans_unet": 0.05,
}


def measured():
    """Volumes of three patients on which every method has the Dice of the table above."""
    rows = []
    for (method, variant), dice in DICE.items():
        for patient in ("a", "b", "c"):
            named = {"patient_id": patient, "scan_id": patient, "method": method}
            values = dict.fromkeys(("rvd", "hausdorff", "surface_dice"), 0.5)
            rows.append(
                {"fold": 0, **named, "variant": variant, "dice": dice, "tpr": 1.0, **values}
            )
    return pd.DataFrame(rows)


def predictions(probabilities):
    """Slice predictions of four patients with two slices each, the second one positive."""
    rows = []
    for patient in "abcd":
        for index, probability in enumerate(probabilities):
            place = {"dataset": "fake", "patient_id": patient, "scan_id": patient}
            scored = {"slice_index": index, "class": "any", "label": bool(index)}
            rows.append({**place, **scored, "logit": 0.0, "probability": probability})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("truth", "prefix"), [("masks", ""), ("boxes", "box_")])
def test_differences_are_first_minus_second_and_measures_against_boxes_say_so(truth, prefix):
    rows, table = volume_results(measured(), COMMON, "printed", truth, 20, 1)
    found = rows[rows["metric"] == f"{prefix}dice_difference"].set_index("method")["value"]
    assert found.to_dict() == pytest.approx(DIFFERENCES)
    dice = table[table["metric"] == f"{prefix}dice"]
    for row in dice[dice["second"] != "no_contrast_enhancement"].itertuples():
        assert row.difference == pytest.approx(DIFFERENCES[f"{row.first} - {row.second}"])
    plain = dice[dice["second"] == "no_contrast_enhancement"].iloc[0]
    assert plain["first"] == "resnet_lstm_kmeans_unet"
    assert plain["difference"] == pytest.approx(0.05)
    means = rows[rows["metric"] == f"{prefix}dice"].set_index(["method", "variant"])["value"]
    assert means.to_dict() == pytest.approx(DICE)
    assert all(metric.startswith("box_") == bool(prefix) for metric in rows["metric"])


def test_auroc_differences_are_with_the_lstm_minus_without():
    given = {
        "resnet": predictions((0.9, 0.1)),
        "resnet_lstm_refitted": predictions((0.5, 0.5)),
        "resnet_lstm": predictions((0.1, 0.9)),
    }
    rows, table = classifier_results(given, "fake", COMMON, 20, 1)
    assert dict(zip(zip(table["first"], table["second"]), table["difference"])) == pytest.approx(
        {("resnet_lstm", "resnet"): 1.0, ("resnet_lstm_refitted", "resnet"): 0.5}
    )
    auroc = rows[rows["metric"] == "auroc"].set_index("method")["value"]
    assert auroc.to_dict() == pytest.approx(
        {"resnet": 0.0, "resnet_lstm_refitted": 0.5, "resnet_lstm": 1.0}
    )
    difference = rows[rows["metric"] == "auroc_difference"].set_index("method")["value"]
    assert difference["resnet_lstm - resnet"] == pytest.approx(1.0)


@pytest.mark.parametrize(("truth", "prefix"), [("masks", ""), ("boxes", "box_")])
def test_maps_are_pooled_over_folds_by_method_and_measure(truth, prefix):
    def part(method, metric, *values):
        patients = pd.DataFrame({"patient_id": [f"{method}{value}" for value in values]})
        return {"method": method, "metric": metric, "values": list(values), "rows": patients}

    parts = [
        part("resnet_cam", "pointing_game", 0.0, 1.0),
        part("random_map", "pointing_game", 0.0),
        part("resnet_cam", "mass_inside", 0.2),
        part("resnet_cam", "pointing_game", 1.0),
    ]
    table = localisation_results(parts, COMMON, "printed", truth, 20, 1)
    found = table.set_index(["method", "metric"])["value"].to_dict()
    assert found == pytest.approx(
        {
            ("resnet_cam", f"{prefix}pointing_game"): 2 / 3,
            ("random_map", f"{prefix}pointing_game"): 0.0,
            ("resnet_cam", f"{prefix}mass_inside"): 0.2,
        }
    )
    assert set(table["unit"]) == {"slice"} and set(table["variant"]) == {"printed"}
    assert len(joined([table, table])) == 6
