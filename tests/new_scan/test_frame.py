"""Of a wide field methods are given the part around the brain, and what they say goes back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ich_study.evaluate.scan_methods import OneScan
from ich_study.new_scan import frame as framing
from ich_study.new_scan.apply import apply_method
from ich_study.new_scan.batch import Studied, Wanted, key_of
from ich_study.new_scan.frame import SIDE_MM, WIDEST_MM, frame
from ich_study.new_scan.read import read_dicom
from ich_study.new_scan.write import report
from tests.new_scan.heads import head, write_series
from tests.new_scan.methods import bright

AIR = -1000
ABOVE, LEFT = 50, 20
"""Pixels of air that the wide field has above and left of the drawn head's own field."""


def padded(hu, below=30, right=60):
    return np.pad(hu, ((0, 0), (ABOVE, below), (LEFT, right)), constant_values=AIR)


@pytest.fixture
def wide(tmp_path):
    """144 x 144 pixels, 432 x 403 mm; the head lies off its middle."""
    return read_dicom(tuple(write_series(tmp_path, padded(head()[0]))), "anon")


def test_a_usual_field_is_given_as_it_is(tmp_path):
    scan = read_dicom(tuple(write_series(tmp_path, head()[0])), "anon")  # 192 x 179 mm
    assert scan.frame.scan is scan.source and not scan.frame.cut
    assert scan.all_notes == list(scan.notes)
    maps = np.ones((2, *scan.hu.shape[1:]), np.float32)
    assert scan.frame.placed(maps) is maps


def test_a_wide_field_is_cut_around_the_brain_wherever_the_head_lies(wide):
    rows, columns = wide.frame.rows, wide.frame.columns
    assert (rows.stop - rows.start) * 3.0 == pytest.approx(SIDE_MM, abs=3.0)
    assert (columns.stop - columns.start) * 2.8 == pytest.approx(SIDE_MM, abs=2.8)
    # the middle of the head, of 64 pixels, within a pixel
    assert (rows.start + rows.stop - 1) / 2 == pytest.approx(ABOVE + 31.5, abs=1)
    assert (columns.start + columns.stop - 1) / 2 == pytest.approx(LEFT + 31.5, abs=1)
    assert np.array_equal(wide.frame.scan.hu, wide.hu[:, rows, columns])
    assert "432 x 403 mm" in wide.frame.note and "240 x 241 mm" in wide.frame.note


def test_only_the_side_that_is_wide_is_cut():
    hu = np.full((1, 100, 100), AIR, np.int16)
    found = frame(OneScan("x", hu, (4.0, 2.0)))
    assert found.scan.hu.shape == (1, 60, 100) and found.rows == slice(20, 80)
    at_limit = OneScan("x", hu, (WIDEST_MM / 100, WIDEST_MM / 100))
    assert not frame(at_limit).cut


def test_a_head_at_the_edge_leaves_the_frame_inside_the_field(tmp_path):
    hu = np.pad(head()[0], ((0, 0), (0, 80), (80, 0)), constant_values=AIR)
    scan = read_dicom(tuple(write_series(tmp_path, hu)), "anon")
    assert scan.frame.rows.start == 0 and scan.frame.columns.stop == hu.shape[2]


def test_what_a_method_says_of_a_wide_field_lies_where_the_lesion_is(wide):
    lesion = np.pad(head()[1], ((0, 0), (ABOVE, 30), (LEFT, 60)))
    method = bright(size=80)
    finding = apply_method("bright", method, wide)
    found = finding.mask > 0
    assert 2 * (found & lesion).sum() / (found.sum() + lesion.sum()) > 0.9
    where = finding.points[["slice_index", "row", "column"]].to_numpy().round().astype(int)
    assert len(where) and lesion[tuple(where.T)].all()
    # outside the frame: each map's lowest value, and no mark
    outside = np.ones(wide.hu.shape[1:], bool)
    outside[wide.frame.rows, wide.frame.columns] = False
    lowest = finding.heat[0].min((1, 2))
    assert (finding.heat[0][:, outside] == lowest[:, None]).all() and not found[:, outside].any()


def test_points_of_a_method_are_counted_in_the_whole_field(wide):
    method = bright(size=80)

    def say(scan):
        said = method.say(scan)
        middle = [np.array([[39.5, 39.5]])] * len(scan.hu)  # of the network's grid
        return replace(said, points=middle)

    finding = apply_method("points", replace(method, say=say), wide)
    middle = finding.points[["row", "column"]].to_numpy()
    assert len(middle) == len(wide.hu)
    assert middle == pytest.approx(np.tile([ABOVE + 31.5, LEFT + 31.5], (len(middle), 1)), abs=1)


def test_a_report_of_the_whole_field_is_not_kept_for_the_cut_one(tmp_path, monkeypatch):
    def key():
        scan = read_dicom(tuple(sorted(tmp_path.glob("*.dcm"))), "anon")
        return key_of(Studied(scan, pd.DataFrame(), {"bright": bright()}, Wanted()))

    write_series(tmp_path, padded(head()[0]))
    cut = key()
    assert key() == cut
    monkeypatch.setattr(framing, "WIDEST_MM", 1000.0)
    assert key() != cut


def test_the_report_says_what_was_cut(wide):
    content = report(wide, pd.DataFrame(), [], {}, "key")
    assert content["scan"]["notes"][-1] == wide.frame.note
