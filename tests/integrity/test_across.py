"""Copies across scans: of one patient a warning, of two an error, of constant images nothing."""

import pandas as pd

from ich_study.integrity.across import check_index


def images(**scans):
    """Scans as patient and image names; `=` marks a constant image."""
    rows = [
        ("d", patient, scan, number, name, name.startswith("="))
        for scan, (patient, names) in scans.items()
        for number, name in enumerate(names)
    ]
    columns = ["dataset", "patient_id", "scan_id", "slice_index", "image_hash", "constant"]
    return pd.DataFrame(rows, columns=columns)


def found(**scans):
    table = check_index(images(**scans))
    return table[["severity", "check", "scan_id", "detail"]].to_numpy().tolist()


def test_a_volume_under_two_patients_is_an_error_and_under_one_a_warning():
    assert found(s1=("p1", "abc"), s2=("p2", "abc")) == [
        [
            "error",
            "patient-under-two-names",
            "s1",
            "same volume as scan s2, under patients p1, p2",
        ]
    ]
    assert found(s1=("p1", "abc"), s2=("p1", "abc")) == [
        ["warning", "duplicate-scan", "s1", "same volume as scan s2"]
    ]


def test_a_single_image_in_two_patients_is_an_error_and_in_one_a_warning():
    assert found(s1=("p1", "abc"), s2=("p2", "xbz")) == [
        ["error", "image-in-two-patients", "s1", "same image as s2 slice 1"]
    ]
    assert found(s1=("p1", "aba")) == [
        ["warning", "duplicate-image", "s1", "same image as s1 slice 2"]
    ]


def test_constant_images_and_different_ones_are_no_copies():
    assert found(s1=("p1", ["=0", "a"]), s2=("p2", ["=0", "b"])) == []


def test_two_spellings_of_a_patient_are_one_error_and_two_patients_none():
    assert found(s1=("P 1", "a"), s2=("p1", "b"), s3=("P1", "c"), s4=("P2", "d")) == [
        [
            "error",
            "patient-id-spelling",
            "s1",
            "patients 'P 1', 'P1', 'p1' differ by case or blanks alone",
        ]
    ]
    assert found(s1=("P1", "a"), s2=("P1", "b"), s3=("P11", "c")) == []
