import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from ich_study.datasets import open_dataset
from ich_study.errors import ParameterError
from ich_study.phantom import cohort
from ich_study.schema import SUBTYPES

ROOT = Path(__file__).parents[2]
PATIENTS = {"rsna": 3, "bhsd": 1}


def write(root, **more):
    return cohort.write_cohort(root, PATIENTS, seed=5, matrix=64, shared_with_rsna=1, **more)


@pytest.fixture
def quick(monkeypatch):
    """A stand-in for the simulation, which has tests of its own: slices of noise with one
    lesion."""
    from ich_study.phantom.scan import PhantomScan

    def simulate(spec):
        rng = np.random.default_rng(spec.seed)
        mask = np.zeros((4, 64, 64), np.uint8)
        mask[1, 20:30, 20:30] = 1 if spec.subtypes else 0
        return PhantomScan(
            rng.integers(-50, 90, mask.shape).astype(np.int16),
            mask,
            np.arange(4) * 5.0,
            0.5,
            5.0,
            0.0,
            spec.seed,
        )

    monkeypatch.setattr(cohort, "simulate", simulate)
    return simulate


def test_the_readers_find_the_patients_and_bhsd_shares_one_with_rsna(quick, tmp_path):
    folders = write(tmp_path)
    patients = {
        name: {ref.patient_id for ref in open_dataset(name, folder).scans()}
        for name, folder in folders.items()
    }
    assert len(patients["rsna"]) == 3
    assert patients["bhsd"] <= patients["rsna"]


def test_a_finished_cohort_is_left_alone_and_another_seed_replaces_it(quick, tmp_path):
    first = write(tmp_path)["rsna"]
    (first / "kept").touch()
    write(tmp_path)
    assert (first / "kept").exists()
    cohort.write_cohort(tmp_path, PATIENTS, seed=6, matrix=64, shared_with_rsna=1)
    assert not (first / "kept").exists()


def test_a_cohort_that_a_kill_left_half_written_is_written_again(quick, tmp_path):
    folder = write(tmp_path)["bhsd"]
    (folder / "phantom.json").unlink()
    (folder / "half").touch()
    write(tmp_path)
    assert not (folder / "half").exists()
    assert json.loads((folder / "phantom.json").read_text())["synthetic"] is True


def test_a_users_own_folder_is_never_cleared(quick, tmp_path):
    (tmp_path / "rsna").mkdir()
    (tmp_path / "rsna" / "mine.dcm").touch()
    with pytest.raises(ParameterError, match="was not written by the phantom"):
        write(tmp_path)
    assert (tmp_path / "rsna" / "mine.dcm").exists()


@pytest.mark.parametrize(
    ("patients", "shared", "message"),
    [({"kaggle": 1}, 0, "kaggle"), ({"rsna": 1, "bhsd": 1}, 2, "2 shared")],
)
def test_impossible_cohorts_say_why(patients, shared, message):
    with pytest.raises(ParameterError, match=message):
        cohort.cohort_specs(patients, 1, 64, shared)


def test_a_given_share_of_scans_has_hemorrhage_to_the_scan():
    specs = cohort.cohort_specs({"rsna": 10, "bhsd": 2}, 3, 64, 0, None, 0.6, "demo")
    positive = {name: sum(bool(spec.subtypes) for spec in of_one) for name, of_one in specs.items()}
    assert positive == {"rsna": 6, "bhsd": 1}
    assert {spec.lesions for spec in specs["rsna"]} == {"demo"}


def test_patients_differ_between_data_sets_and_numbers():
    seeds = {cohort.patient_seed(1, name, i) for name in cohort.WRITERS for i in range(50)}
    assert len(seeds) == 50 * len(cohort.WRITERS)


def test_the_test_set_of_lse_unet_holds_four_patients_of_every_subtype():
    """A bootstrap draws no patient of a class with k patients in about exp(-k) of its replicates,
    and more than 5 % of them leave a claim undecided."""
    plan = yaml.safe_load((ROOT / "params/phantom/00_data.yaml").read_text(encoding="utf-8"))
    specs = cohort.cohort_specs(
        plan["phantom_patients"],
        plan["phantom_seed"],
        plan["phantom_matrix"],
        plan["phantom_shared_with_rsna"],
        lesions=plan["phantom_lesions"],
    )
    counts = {name: sum(name in spec.subtypes for spec in specs["bhsd"]) for name in SUBTYPES}
    assert min(counts.values()) >= 4, counts
