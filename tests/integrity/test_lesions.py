import numpy as np
import pandas as pd

from ich_study.integrity.lesions import lesion_statistics


class OneScan:
    def __init__(self, z_mm):
        count = len(z_mm)
        self.index = pd.DataFrame(
            {
                "scan_id": "s",
                "patient_id": "p",
                "slice_index": range(count),
                "z_mm": z_mm,
                "shift_x_mm": 0.0,
                "shift_y_mm": 0.0,
                "spacing_x_mm": 0.5,
                "spacing_y_mm": 0.5,
                "thickness_mm": 5.0,
                "has_mask": True,
            }
        )
        self.hu = np.full((count, 10, 10), 30, np.int16)
        self.codes = np.zeros((count, 10, 10), np.uint8)

    def volume(self, scan_id):
        return self.hu

    def mask(self, scan_id):
        return self.codes


def test_volume_and_attenuation_of_a_known_lesion():
    scan = OneScan([0.0, 4.0, 8.0])
    scan.codes[1:, :4, :5] = 4
    scan.hu[1:, :4, :5] = 60
    row = lesion_statistics(scan).iloc[0]
    assert row["class"] == "SDH" and row["slices"] == 2
    assert row["volume_ml"] == 40 * 0.5 * 0.5 * 4.0 / 1000
    assert row["mean_hu"] == row["median_hu"] == 60


def test_a_pixel_counts_by_the_depth_of_its_slice():
    scan = OneScan([0.0, 2.0, 4.0, 9.0])
    scan.codes[1, :4, :5] = scan.codes[3, :2, :5] = 1
    row = lesion_statistics(scan).iloc[0]
    assert row["volume_ml"] == (20 * 2.0 + 10 * 5.0) * 0.5 * 0.5 / 1000


def test_scans_without_masks_give_an_empty_table():
    scan = OneScan([0.0])
    scan.index["has_mask"] = False
    assert lesion_statistics(scan).empty
