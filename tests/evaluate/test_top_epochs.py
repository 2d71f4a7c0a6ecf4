"""F1 of the five best epochs: value, interval over patients, differences of two runs."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from ich_study.evaluate.comparisons import prediction_differences
from ich_study.evaluate.rows import Rows
from ich_study.evaluate.top_epochs import gain_rows, top_epochs, top_epochs_rows
from ich_study.published.lookup import row_keys
from ich_study.schema import result_table

EPOCHS, SLICES = 8, 120
RNG = np.random.default_rng(0)
LABEL = RNG.random(SLICES) < 0.4
ROWS = pd.DataFrame(
    {
        "patient_id": [f"p{number // 6:02d}" for number in range(SLICES)],
        "any": pd.array(LABEL, dtype="boolean"),
    }
)


def run(errors, seed=1, label=LABEL):
    """A run whose epochs call a share `errors` of the slices wrongly."""
    wrong = np.random.default_rng(seed).random((EPOCHS, SLICES)) < np.reshape(errors, (-1, 1))
    decided = wrong ^ label
    history = pd.DataFrame({"f1": [f1_score(label, calls) for calls in decided]})
    return history, decided


def rows_of(history, table, method="m"):
    rows = Rows("01_backbones", "hemorica/validation", replicates=400, seed=3)
    return result_table(top_epochs_rows(history, table, rows, method, "any"))


def test_the_value_is_the_mean_of_the_five_best_and_its_interval_is_over_patients():
    history, decided = run(np.linspace(0.4, 0.05, EPOCHS))
    found = rows_of(history, top_epochs(history, decided, ROWS, "any")).set_index("metric")
    best = np.sort(history["f1"])[-5:]
    top = found.loc["f1_top5"]
    assert top["value"] == pytest.approx(best.mean()) and top["n"] == 20
    assert found.loc["f1_top5_sd", "value"] == pytest.approx(best.std(ddof=1))
    assert found.loc["f1_top5_sd", "n"] == 5
    # the same patients drawn by hand, each with all of its slices, F1 by sklearn
    chosen = np.argsort(-history["f1"].to_numpy())[:5]
    rng, drawn = np.random.default_rng(9), []
    for _ in range(400):
        slices = np.concatenate([np.arange(6) + 6 * p for p in rng.integers(0, 20, 20)])
        drawn.append(np.mean([f1_score(LABEL[slices], decided[e][slices]) for e in chosen]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert top["ci_low"] == pytest.approx(low, abs=0.02)
    assert top["ci_high"] == pytest.approx(high, abs=0.02)


def test_unknown_labels_and_slices_that_were_not_validated_do_not_count():
    history, decided = run(np.full(EPOCHS, 0.2))
    rows = ROWS.copy()
    rows.loc[:11, "any"] = pd.NA
    table = top_epochs(history, decided[:, :60], rows, "any")
    assert sorted(table["patient_id"].unique()) == [f"p{number:02d}" for number in range(2, 10)]
    counts = table[table["epoch"] == table["epoch"].iloc[0]][["tp", "fn"]].to_numpy().sum()
    assert counts == LABEL[12:60].sum()


def test_a_run_without_any_f1_has_no_value():
    history = pd.DataFrame({"f1": [np.nan] * EPOCHS})
    table = top_epochs(history, np.zeros((EPOCHS, SLICES), bool), ROWS, "any")
    found = rows_of(history, table)
    assert table.empty and found["value"].isna().all() and found["n"].tolist() == [0, 0]


def test_two_runs_are_compared_on_the_same_patients_by_their_own_measure():
    """Of equal runs the difference is 0, with the bounds of patients of whom none differs; of
    unlike ones it is narrower than two intervals side by side."""
    runs = {
        name: run(errors, seed)
        for name, errors, seed in (
            ("good", np.full(EPOCHS, 0.1), 1),
            ("twin", np.full(EPOCHS, 0.1), 1),
            ("poor", np.full(EPOCHS, 0.3), 2),
        )
    }
    epochs = {name: top_epochs(*of_run, ROWS, "any") for name, of_run in runs.items()}
    results = pd.concat([rows_of(runs[name][0], epochs[name], name) for name in runs])
    results = results.reset_index(drop=True)
    keys = {row["method"]: row_keys(row) for row in results.to_dict("records")[::2]}
    pairs = [(keys["good"], keys["twin"]), (keys["good"], keys["poor"])]
    found = prediction_differences(pairs, {}, epochs, 400, 3)
    assert found["metric"].unique().tolist() == ["f1_top5_difference"]
    bleeding = LABEL.reshape(20, 6).any(axis=1).sum()  # the others have no F1 alone
    end = 0.025 ** (1 / bleeding)
    assert found.loc[0, ["value", "ci_low", "ci_high"]].tolist() == pytest.approx(
        [0, end - 1, 1 - end]
    )
    top = results[results["metric"] == "f1_top5"].set_index("method")
    assert found.loc[1, "value"] == pytest.approx(
        top.loc["good", "value"] - top.loc["poor", "value"]
    )
    apart = top.loc["good", "ci_high"] - top.loc["poor", "ci_low"]
    assert found.loc[1, "ci_low"] > 0 and found.loc[1, "ci_high"] < apart
    assert prediction_differences(pairs, {}, {}, 400, 3).empty


def test_gains_are_against_the_reference_of_the_same_seed_and_data():
    runs = {name: run(np.full(EPOCHS, share), 1) for name, share in (("base", 0.3), ("a", 0.1))}
    epochs = {name: top_epochs(*of_run, ROWS, "any") for name, of_run in runs.items()}
    results = pd.concat([rows_of(runs[name][0], epochs[name], name) for name in runs])
    other = results[results["method"] == "a"].assign(seed=4)
    results = pd.concat([results, other], ignore_index=True)
    value = results[results["metric"] == "f1_top5"].set_index("method")["value"]
    found = gain_rows(results, "base", epochs, 400, 3)
    assert found[["method", "metric", "seed"]].to_numpy().tolist() == [["a", "f1_top5_gain", 3]]
    assert found["value"].item() == pytest.approx(value["a"].iloc[0] - value["base"])
    assert 0 < found["ci_low"].item() < found["value"].item() < found["ci_high"].item()
    # without the epochs of one, or on other patients, there is no interval
    fewer = {**epochs, "a": epochs["a"][epochs["a"]["patient_id"] != "p00"]}
    for epochs_of in ({}, {"a": epochs["a"]}, fewer):
        alone = gain_rows(results, "base", epochs_of)
        assert alone["value"].tolist() == found["value"].tolist() and alone["ci_low"].isna().all()
