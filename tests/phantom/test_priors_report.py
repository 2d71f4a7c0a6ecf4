import numpy as np
import pandas as pd
import pytest

from ich_study.datasets import open_dataset
from ich_study.integrity.lesions import lesion_statistics
from ich_study.paths import project_root
from ich_study.phantom.cohort import WRITERS
from ich_study.phantom.priors import PRIORS
from ich_study.phantom.priors_report import (
    against_priors,
    prior_range,
    quantity_figures,
)
from ich_study.store import build_store
from tests.phantom.fake_scans import fake_scan, volumes_ml

CALIBRATION = project_root().parent / "shared" / "calibration"


def lesions(volumes, name="IPH"):
    ids = {"dataset": "d", "scan_id": "s", "patient_id": "p", "class": name}
    return pd.DataFrame({**ids, "volume_ml": volumes, "median_hu": 48.0, "slices": 3})


def test_lesions_are_counted_inside_and_outside_the_prior():
    row = against_priors(lesions([0.01, 8.0, 9.0, 500.0])).query("quantity == 'volume_ml'").iloc[0]
    assert row["lesions"] == 4 and row["share_inside_prior"] == 0.5 and row["median"] == 8.5


@pytest.mark.parametrize("dataset", ["bhsd", "hemorica", "physionet", "instance2022"])
def test_the_report_shows_the_volumes_of_the_generator(tmp_path, dataset):
    scans = [fake_scan(seed, tilt=tilt) for seed, tilt in ((1, 0.0), (2, 20.0))]
    written = WRITERS[dataset](tmp_path / "data", iter(scans))
    reader = open_dataset(dataset, tmp_path / "data")
    store = build_store(reader, tmp_path / "store", workers=1)
    found = lesion_statistics(store).groupby("scan_id")["volume_ml"].sum()
    for row, scan in zip(written, scans):
        true = sum(volumes_ml(scan).values())
        assert found[row["scan_id"]] == pytest.approx(true, rel=1e-3)
        # 20 degrees make the volume smaller than the table's step says
        by_the_table = np.count_nonzero(scan.mask) * 5 * 0.25 / 1000
        cosine = np.cos(np.radians(scan.tilt_degrees))
        assert true == pytest.approx(by_the_table * cosine)


def test_unknown_spacing_and_unspecified_hemorrhage_are_left_out():
    table = against_priors(pd.concat([lesions([np.nan]), lesions([5.0], "hemorrhage")]))
    assert set(table["quantity"]) == {"median_hu"} and table["lesions"].tolist() == [1]
    assert set(quantity_figures(lesions([np.nan]), "synthetic lesions")) == {"median_hu"}


def test_ranges_are_ordered():
    for quantity in ("volume_ml", "median_hu"):
        table = prior_range(quantity)
        assert (table["low"] < table["median"]).all() and (table["median"] < table["high"]).all()


@pytest.mark.skipif(
    not CALIBRATION.is_dir(), reason="the measured densities are not beside this checkout"
)
@pytest.mark.parametrize("name", PRIORS)
def test_priors_agree_with_the_measured_densities(name):
    hu = pd.read_csv(CALIBRATION / "BHSD_HU_distributions.csv")
    mean = np.average(hu[f"{name}_HU"], weights=hu[f"{name}_weight"])
    deviation = np.sqrt(np.average((hu[f"{name}_HU"] - mean) ** 2, weights=hu[f"{name}_weight"]))
    assert (PRIORS[name].hu_mean, PRIORS[name].hu_sd) == (
        pytest.approx(mean, abs=1),
        pytest.approx(deviation, abs=1),
    )
    volume = pd.read_csv(CALIBRATION / "BHSD_volume_distributions.csv")
    share = np.cumsum(volume[f"{name}_weight"]) / volume[f"{name}_weight"].sum()
    median = volume[f"{name}_volume"][np.searchsorted(share, 0.5)]
    assert PRIORS[name].volume_ml[3] == pytest.approx(median, rel=0.15)
