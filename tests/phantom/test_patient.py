"""A patient as a whole: reproducible, consistent, checked."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from ich_study.errors import ParameterError
from ich_study.phantom import patient
from ich_study.phantom.acquisition import draw_scanner
from ich_study.phantom.patient import PatientSpec, draw_spec, simulate

SMALL = {"matrix": 96, "thickness_mm": 8.0}


def test_the_same_seed_gives_the_same_bytes():
    spec = PatientSpec(11, ("IPH", "IVH", "SAH", "SDH", "EDH"), **SMALL)
    np.random.seed(0)  # noqa: NPY002 - the global generator must not matter
    first = simulate(spec)
    np.random.seed(1)  # noqa: NPY002
    second = simulate(spec)
    assert first.hu.tobytes() == second.hu.tobytes()
    assert first.mask.tobytes() == second.mask.tobytes()
    assert first.hu.tobytes() != simulate(PatientSpec(12, spec.subtypes, **SMALL)).hu.tobytes()


def test_a_patient_takes_one_thread_and_gives_the_others_back(monkeypatch):
    threads = []

    def seen(*arguments):
        threads.append({library["num_threads"] for library in threadpool_info()})
        return draw_scanner(*arguments)

    monkeypatch.setattr(patient, "draw_scanner", seen)
    with threadpool_limits(2):
        simulate(PatientSpec(3, (), matrix=64, slices=3))
        assert 2 in {library["num_threads"] for library in threadpool_info()}
    assert threads == [{1}]


def test_shapes_types_and_ranges():
    scan = simulate(PatientSpec(3, ("IPH",), **SMALL))
    assert scan.hu.dtype == np.int16 and scan.mask.dtype == np.uint8
    assert scan.hu.shape == scan.mask.shape == (len(scan.z_mm), 96, 96)
    assert (np.diff(scan.z_mm) > 0).all()
    assert scan.slice_labels()["any"].any()
    assert 150 < scan.spacing_mm * 96 < 300


def test_no_hemorrhage_no_mask():
    assert not simulate(PatientSpec(4, (), **SMALL)).mask.any()


def test_number_of_slices_and_tilt_are_kept():
    scan = simulate(PatientSpec(5, (), matrix=96, slices=9, tilt_degrees=12.0, fov_mm=230.0))
    assert scan.hu.shape[0] == 9
    assert scan.tilt_degrees == 12.0
    assert scan.spacing_mm == pytest.approx(230 / 96)


def test_orientation_face_in_front_and_vertex_on_top():
    scan = simulate(PatientSpec(6, (), matrix=96, tilt_degrees=0.0))
    bone = (scan.hu > 300).sum((1, 2))
    assert bone[: len(bone) // 3].mean() > bone[-4:].mean()
    eyes = scan.hu[len(scan.hu) // 6 : len(scan.hu) // 2]
    air_in_head = ((eyes < -400) & (np.abs(np.arange(96) - 48) < 14)[None, None, :])[:, 20:76].mean(
        (0, 2)
    )
    assert air_in_head[:25].mean() > air_in_head[30:].mean()


@pytest.mark.parametrize(
    "wrong",
    [
        {"subtypes": ("ICH",)},
        {"matrix": 10},
        {"thickness_mm": 0},
        {"slices": 0},
        {"age": 3},
        {"fov_mm": 5},
        {"lesions": "large"},
    ],
)
def test_impossible_specifications_are_refused(wrong):
    with pytest.raises(ParameterError):
        PatientSpec(**{"seed": 1, **wrong})


def test_drawn_specs_follow_the_positive_fraction_and_their_seed():
    specs = [draw_spec(seed, positive_fraction=0.4) for seed in range(400)]
    assert 0.33 < np.mean([bool(spec.subtypes) for spec in specs]) < 0.47
    assert draw_spec(7) == draw_spec(7)
    assert (
        draw_spec(7, positive_fraction=1.0).subtypes
        and not draw_spec(7, positive_fraction=0.0).subtypes
    )
