import pandas as pd

from ich_study.integrity.report import TABLE_COLUMNS
from ich_study.integrity.stores import check_stores


class Checked:
    def __init__(self, dataset, findings, hashes):
        self.findings = pd.DataFrame(findings, columns=list(TABLE_COLUMNS))
        self.images = pd.DataFrame(
            [
                {
                    "dataset": dataset,
                    "patient_id": f"p{i}",
                    "scan_id": f"s{i}",
                    "slice_index": 0,
                    "image_hash": value,
                    "constant": False,
                }
                for i, value in enumerate(hashes)
            ]
        )


def test_one_table_over_all_stores_worst_first():
    stores = {
        "a": Checked("a", [("note", "reader-note", "a", "s0", pd.NA, "tilted")], ["x", "y"]),
        "b": Checked("b", [], ["same", "same"]),
    }
    table = check_stores(stores)
    assert table["severity"].tolist() == ["error", "note"]
    assert table["check"].tolist() == ["patient-under-two-names", "reader-note"]
    assert table["dataset"].tolist() == ["b", "a"]
