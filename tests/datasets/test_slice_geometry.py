"""Slices of a series in order and orientation, each case with its answer worked out by hand."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ich_study.datasets.dicom_headers import SliceHeader
from ich_study.datasets.slice_geometry import (
    InPlane,
    along_normal,
    group_series,
    missing_gaps,
    stack_slices,
)
from ich_study.errors import DataError, ParameterError

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def header(z=0.0, name="a.dcm", **changes):
    known = {
        "path": Path(name),
        "patient_id": "p",
        "study_uid": "t",
        "series_uid": "s",
        "position_mm": (-10.0, -10.0, z),
        "orientation": AXIAL,
        "spacing_mm": (0.5, 0.5),
        "thickness_mm": 5.0,
        "rows": 4,
        "acquisition": "",
        "kernel": "",
        "image_type": "",
        "instance": "",
        "columns": 6,
    }
    wanted = {field.name for field in dataclasses.fields(SliceHeader)}
    filled = dict.fromkeys(wanted - set(known))
    return SliceHeader(**{**filled, **known, **changes})


def test_slices_are_ordered_from_inferior_to_superior_whatever_their_names():
    stack = stack_slices([header(z, f"{10 - z:g}.dcm") for z in (10.0, 0.0, 5.0)])
    assert stack.z_mm.tolist() == [0.0, 5.0, 10.0]
    assert [item.position_mm[2] for item in stack.headers] == [0.0, 5.0, 10.0]


def test_a_stored_slice_is_turned_until_anterior_is_up_and_the_right_is_left():
    stored = np.arange(6).reshape(2, 3)
    assert InPlane().image(stored).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert InPlane(flip_rows=True).image(stored).tolist() == [[3, 4, 5], [0, 1, 2]]
    assert InPlane(flip_columns=True).image(stored).tolist() == [[2, 1, 0], [5, 4, 3]]
    assert InPlane(transpose=True).image(stored).tolist() == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize(
    "turn", [InPlane(), InPlane(True), InPlane(False, True, False), InPlane(True, True, True)]
)
def test_a_box_moves_with_its_slice(turn):
    stored = np.zeros((6, 9))
    stored[1:3, 4:8] = 1
    shown = turn.image(stored)
    x, y, width, height = turn.box(4, 1, 4, 2, shown.shape)
    assert shown[y : y + height, x : x + width].sum() == stored.sum() == 8


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (AXIAL, InPlane()),
        ((-1.0, 0.0, 0.0, 0.0, 1.0, 0.0), InPlane(flip_columns=True)),
        ((1.0, 0.0, 0.0, 0.0, -1.0, 0.0), InPlane(flip_rows=True)),
        ((0.0, 1.0, 0.0, 1.0, 0.0, 0.0), InPlane(transpose=True)),
    ],
)
def test_the_turn_follows_from_the_header(orientation, turn):
    assert stack_slices([header(orientation=orientation)]).in_plane == turn


def test_a_repeated_position_keeps_the_first_file_by_name():
    stack = stack_slices([header(0.0, "b.dcm"), header(0.0, "a.dcm"), header(5.0, "c.dcm")])
    assert [item.path.name for item in stack.headers] == ["a.dcm", "c.dcm"]
    assert [item.path.name for item in stack.repeated] == ["b.dcm"]


def test_slices_of_another_geometry_are_refused_or_left_out():
    mixed = [header(0.0), header(5.0), header(10.0, "z.dcm", rows=8)]
    with pytest.raises(DataError, match=r"2 of 4 x 6, .*; 1 of 8 x 6"):
        stack_slices(mixed)
    assert [item.path.name for item in stack_slices(mixed, "largest").unlike[0]] == ["z.dcm"]
    with pytest.raises(ParameterError, match="expected one of error, largest"):
        stack_slices(mixed, "all")
    with pytest.raises(DataError, match="not that of an axial slice"):
        stack_slices([header(orientation=(1.0, 0.0, 0.0, 0.0, 0.0, -1.0))])


def series(positions, start=0, **changes):
    """A header per position; files are named in their order."""
    return [
        header(z, f"{number:04d}.dcm", **changes) for number, z in enumerate(positions, start=start)
    ]


FIVES = np.arange(14) * 5.0
PLAIN = {"acquisition": "2", "kernel": "H30s", "image_type": "ORIGINAL", "thickness_mm": 5.0}


@pytest.mark.parametrize(
    ("changes", "positions"),
    [
        ({"acquisition": "10"}, FIVES),
        ({"kernel": "H60s"}, FIVES),
        ({"image_type": "DERIVED"}, FIVES),
        ({"thickness_mm": 1.25}, np.arange(40) * 1.25),
        ({"acquisition": "10"}, FIVES + 2.0),
    ],
    ids=["phase", "kernel", "image type", "thickness", "shifted"],
)
def test_acquisitions_side_by_side_are_separate_stacks(changes, positions):
    first = series(FIVES, **PLAIN)
    second = series(positions, start=100, **{**PLAIN, **changes})
    with pytest.raises(DataError, match=r"holds 2 stacks of slices: .*mixed='largest'") as error:
        stack_slices(first + second)
    (name, value), *_ = changes.items()
    assert f"{name} {value}" in str(error.value)
    kept = stack_slices(second + first, "largest")
    larger, smaller = (second, first) if len(second) > len(first) else (first, second)
    assert kept.headers == tuple(larger) and kept.unlike == (tuple(smaller),)
    assert [note.partition(":")[0] for note in kept.notes()] == ["several-stacks"]
    assert f"the largest of 2 stacks kept, {len(larger)} of 4 x 6" in kept.notes()[0]


def test_what_goes_on_where_the_other_ends_is_one_stack():
    """The GE head of the real scans: each turn of the gantry is an acquisition, and the thin base
    is of another image type."""
    base = [series([4.0 * i], i, acquisition=f"{i + 1}", image_type="ADD") for i in range(9)]
    top = [
        series([40 + 14.0 * i, 47 + 14.0 * i], 20 + 2 * i, acquisition=f"{i + 10}")
        for i in range(4)
    ]
    stack = stack_slices([item for part in top + base for item in part])
    assert stack.z_mm.tolist() == [*np.arange(9) * 4.0, *(40 + 7.0 * np.arange(8))]
    assert "several-stacks: parts of image_type ADD, none go on where" in stack.notes()[0]
    again = [series([4.0 * i], 100 + i, acquisition=f"{i + 30}") for i in range(9)]
    with pytest.raises(DataError, match="holds 2 stacks"):
        stack_slices([item for part in top + base + again for item in part])
    kept = stack_slices([item for part in again + base + top for item in part], "largest")
    assert len(kept.headers) == 17 and [len(stack) for stack in kept.unlike] == [9]


def test_gaps_that_take_turns_are_two_acquisitions():
    with pytest.raises(DataError, match=r"gaps of 2.00 and 5.00 mm take turns"):
        stack_slices(series([*FIVES[:8], *(FIVES[3:8] + 2)]))
    for even in (FIVES, np.sort([*FIVES, *(FIVES + 2.5)]), [0.0, 5.0], [0.0, 2, 5, 7, 10]):
        assert len(stack_slices(series(even)).headers) == len(even)


def test_a_second_acquisition_shifted_by_half_a_slice_is_told_by_its_numbers():
    """Its gaps are even, so only the order in which the slices were made tells."""

    def numbered(numbers):
        return [header(2.5 * i, f"{i}.dcm", instance=f"{n}") for i, n in enumerate(numbers)]

    upwards, downwards = np.arange(1, 9), np.arange(16, 8, -1)
    for second in (downwards, downwards[::-1]):
        turns = np.stack([upwards, second], 1).ravel()
        with pytest.raises(DataError, match=r"low and of high InstanceNumber take turns"):
            stack_slices(numbered(turns))
        with pytest.raises(DataError, match=r"take turns.*separate the two into folders"):
            stack_slices(numbered([*range(30, 40), *turns[:6]]))
        unknown = [*numbered(turns[:-1]), header(2.5 * 15, "15.dcm")]
        assert len(stack_slices(unknown).headers) == 16
        assert "several-stacks: 15 of 15 gaps are much narrower" in stack_slices(unknown).notes()[0]
    retaken = stack_slices(series([*FIVES, 36.0])).notes()
    assert "several-stacks: 1 of 14 gaps are much narrower" in retaken[1]
    # forwards, backwards, and by turns of a gantry of two and of four rows
    rows = np.arange(1, 17)
    for numbers in (rows, rows[::-1], rows.reshape(-1, 2)[:, ::-1], rows.reshape(-1, 4)[:, ::-1]):
        assert len(stack_slices(numbered(np.ravel(numbers))).headers) == 16


def test_which_slices_show_what_another_shows():
    stack = stack_slices(series(np.arange(9) * 1.25, thickness_mm=1.25))
    assert stack.covered(header(5.0, thickness_mm=5.0)) == [2, 3, 4, 5, 6]
    assert stack.covered(header(5.0, thickness_mm=np.nan)) == [4]
    assert stack.covered(header(5.5, thickness_mm=np.nan)) == [4]
    assert stack.covered(header(-4.0, thickness_mm=1.25)) == []
    assert stack_slices([header(5.0, thickness_mm=np.nan)]).covered(
        header(5.0, thickness_mm=np.nan)
    ) == [0]


def test_a_gap_is_judged_by_the_gaps_around_it():
    thin_at_the_base = np.array([2.5] * 9 + [5.0] * 3)
    assert missing_gaps(thin_at_the_base).tolist() == []  # twice the median of the whole scan
    assert missing_gaps(np.array([5.0, 5.0, 10.0, 5.0, 5.0])).tolist() == [2]


def test_tilt_has_the_sign_of_the_header_and_orders_along_the_normal():
    tilted = (1.0, 0.0, 0.0, 0.0, np.cos(np.radians(20)), -np.sin(np.radians(20)))
    stack = stack_slices([header(0.0, orientation=tilted), header(5.0, orientation=tilted)])
    assert stack.tilt_degrees == pytest.approx(20) and stack.roll_degrees == 0
    assert np.diff(stack.z_mm) == pytest.approx([5 * np.cos(np.radians(20))])
    # a table that moves along z shifts the slices within their planes, upwards in the picture
    assert stack.shift_mm == pytest.approx(np.array([[0, 0], [0, -5 * np.sin(np.radians(20))]]))
    assert along_normal(header(5.0)) - along_normal(header(0.0)) == 5.0


def test_a_series_belongs_to_one_study_and_one_patient():
    both = [header(5.0, "b.dcm"), header(0.0, "a.dcm"), header(0.0, "c.dcm", series_uid="r")]
    grouped = group_series(both)
    assert {key: [item.path.name for item in items] for key, items in grouped.items()} == {
        ("t", "r"): ["c.dcm"],
        ("t", "s"): ["a.dcm", "b.dcm"],
    }
    with pytest.raises(DataError, match="under another study or patient"):
        group_series([header(0.0), header(5.0, "b.dcm", patient_id="q")])
