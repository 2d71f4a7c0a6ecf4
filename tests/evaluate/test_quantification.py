"""Volumes against the volume of the mask itself; Bland-Altman's figures against the plain formula
and a resampling by hand."""

import numpy as np
import pandas as pd
import pytest

from ich_study.errors import StudyError
from ich_study.evaluate.quantification import (
    AGREEMENT_METRICS,
    agreement_rows,
    agreement_statistic,
    scans_of,
    volume_table,
)
from ich_study.evaluate.rows import Rows
from ich_study.metrics.statistics import patient_bootstrap, resampled_multiplicities
from ich_study.metrics.volume import volume_ml
from ich_study.schema import MASK_CODES, SUBTYPES, result_table
from tests.metrics.label_counts import label_counts


def scans(seed=0, count=8, depth=3):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 6, (count, depth, 10, 10)) * (rng.random((count, 1, 1, 1)) < 0.8)
    labels = np.where(rng.random(truth.shape) < 0.7, truth, rng.integers(0, 6, truth.shape))
    spacing = rng.uniform(0.4, 6, (count, 3))
    rows = pd.DataFrame(
        {
            "scan_id": np.repeat([f"s{number}" for number in range(count)], depth),
            "patient_id": np.repeat([f"p{number // 2}" for number in range(count)], depth),
        }
    )
    flat = [part.reshape(-1, 10, 10) for part in (labels, truth)]
    return (
        labels,
        truth,
        spacing,
        volume_table(label_counts(*flat, 6), rows, np.repeat(spacing.prod(1) / 1000, depth)),
        rows,
        flat,
    )


def test_volumes_are_those_of_the_masks():
    labels, truth, spacing, table, _, _ = scans()
    assert list(dict.fromkeys(table["class"])) == [*SUBTYPES, "any"] and len(table) == 8 * 6
    for row in table.itertuples():
        number = int(row.scan_id[1:])
        for volume, found in ((labels, row.predicted_ml), (truth, row.truth_ml)):
            mask = volume[number] > 0 if row[3] == "any" else volume[number] == MASK_CODES[row[3]]
            assert found == pytest.approx(
                volume_ml(mask, np.full(len(mask), spacing[number].prod() / 1000))
            )


def test_unknown_spacing_makes_the_scan_unknown_not_smaller():
    _, _, spacing, _, rows, flat = scans()
    pixel_ml = np.repeat(spacing.prod(1) / 1000, 3)
    pixel_ml[4] = np.nan
    table = volume_table(label_counts(*flat, 6), rows, pixel_ml)
    unknown = table[table["scan_id"] == "s1"]
    assert unknown[["predicted_ml", "truth_ml"]].isna().all(axis=None) and table[
        table["scan_id"] != "s1"
    ].notna().all(axis=None)
    assert set(scans_of(table, "any", "all")["scan_id"]) == {
        f"s{number}" for number in range(8)
    } - {"s1"}


def test_volumes_of_any_alone_are_counted_once():
    _, _, spacing, table, rows, (predicted, truth) = scans()
    pixel_ml = np.repeat(spacing.prod(1) / 1000, 3)
    any_of = label_counts((predicted > 0).astype(int), (truth > 0).astype(int), 2)
    alone = volume_table(any_of, rows, pixel_ml, ("any",))
    summed = table[table["class"] == "any"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, summed)


def limits(table):
    """Bland and Altman's bias and limits of agreement: mean difference, and 1.96 SD around it."""
    difference = table["predicted_ml"] - table["truth_ml"]
    bias, half = difference.mean(), 1.96 * difference.std(ddof=1)
    return bias, bias - half, bias + half


def test_agreement_is_the_plain_formula_on_sample_and_replicates():
    table = scans_of(scans(1)[3], "any", "all")
    expected = dict(zip(AGREEMENT_METRICS, limits(table)))
    expected["volume_mean_absolute_ml"] = (table["predicted_ml"] - table["truth_ml"]).abs().mean()
    for metric, value in expected.items():
        assert agreement_statistic(table, metric).value() == pytest.approx(value)
    statistic, weights = (
        agreement_statistic(table, "volume_lower_limit_ml"),
        resampled_multiplicities(4, 5, seed=3),
    )
    for drawn, found in zip(weights, statistic.evaluate(weights)):
        again = pd.concat(
            [
                table[table["patient_id"] == name]
                for name, times in zip(statistic.patients, drawn)
                for _ in range(int(times))
            ]
        )
        assert found == pytest.approx(limits(again)[1])
    interval = patient_bootstrap(statistic, 300)
    assert interval.low <= interval.value <= interval.high


def test_rows_say_which_scans_they_count():
    volumes = scans(2)[3]
    table = result_table(agreement_rows(volumes, Rows("02_lse_unet", "d", 40), method="m"))
    assert set(table["unit"]) == {"scan"} and set(table["metric"]) == set(AGREEMENT_METRICS)
    assert set(table["class"]) == {*SUBTYPES, "any"} and set(table["subset"]) == {"all", "positive"}
    perfect = agreement_rows(volumes.assign(predicted_ml=volumes["truth_ml"]), Rows("s", "d", 10))
    # mL have no upper end, so that no bound follows from agreement in every patient
    assert all(row["value"] == 0 and np.isnan(row["ci_high"]) for row in perfect)
    assert all("no exact bound" in row["interval"] for row in perfect)
    none = volumes[volumes["class"] == "EDH"].assign(truth_ml=0.0)
    assert {row["subset"] for row in agreement_rows(none, Rows("s", "d", 10))} == {"all"}


def test_one_scan_has_a_bias_but_no_limits():
    one = scans_of(scans()[3], "any", "all")[:1]
    assert np.isfinite(agreement_statistic(one, "volume_bias_ml").value())
    assert np.isnan(agreement_statistic(one, "volume_upper_limit_ml").value())


def test_bad_input_is_refused():
    _, _, spacing, table, rows, flat = scans()
    counts, pixel_ml = label_counts(*flat, 6), np.repeat(spacing.prod(1) / 1000, 3)
    with pytest.raises(StudyError, match="positive"):
        volume_table(counts, rows, -pixel_ml)
    with pytest.raises(StudyError, match="at least one scan"):
        agreement_statistic(table[:0], "volume_bias_ml")
