"""The synthetic study of notebook 09 is what its docstring says, and written once."""

import numpy as np
import pydicom
import pytest

from ich_study.new_scan import example
from tests.phantom.fake_scans import volumes_ml


def test_a_tilted_series_with_a_hemorrhage_is_written_once(tmp_path, monkeypatch):
    scans, simulate = [], example.simulate
    monkeypatch.setattr(example, "simulate", lambda spec: scans.append(simulate(spec)) or scans[-1])
    folder = example.example_study(tmp_path)
    assert example.example_study(tmp_path) == folder and len(scans) == 1
    files = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.rglob("*.dcm")]
    assert len(files) == len(scans[0].hu) == 31
    normal = np.cross(*np.reshape(files[0].ImageOrientationPatient, (2, 3)))
    assert np.rad2deg(np.arccos(normal[2])) == pytest.approx(12, abs=0.01)
    volumes = {name: volume for name, volume in volumes_ml(scans[0]).items() if volume}
    assert list(volumes) == ["IPH"] and volumes["IPH"] == pytest.approx(25, abs=0.5)
