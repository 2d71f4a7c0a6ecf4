import pandas as pd
import pytest

from ich_study.errors import StudyError
from ich_study.schema import BOX_COLUMNS, MASK_CODES, RESULT_COLUMNS, SUBTYPES, result_table, typed


def test_subtype_order_and_mask_codes():
    assert SUBTYPES == ("IPH", "IVH", "SAH", "SDH", "EDH")
    assert MASK_CODES == {"IPH": 1, "IVH": 2, "SAH": 3, "SDH": 4, "EDH": 5}


def test_result_table_fills_missing_columns_and_keeps_order():
    table = result_table([{"metric": "auroc", "value": 0.5, "unit": "slice"}])
    assert tuple(table.columns) == RESULT_COLUMNS
    assert table.loc[0, "method"] is None or pd.isna(table.loc[0, "method"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"metric": "dice", "value": 1.0, "klass": "IPH"}, "klass"),
        ({"metric": "dice"}, "value"),
        ({"metric": "dice", "value": 1.0, "unit": "voxel"}, "voxel"),
        ({"metric": "dice", "value": 1.0, "threshold_source": "test"}, "threshold_source"),
    ],
)
def test_result_table_refuses_what_readers_could_not_interpret(row, message):
    with pytest.raises(StudyError, match=message):
        result_table([row])


def test_typed_names_missing_and_unknown_columns():
    with pytest.raises(
        StudyError, match=r"missing columns \['scan_id'.*unknown columns \['colour'\]"
    ):
        typed(pd.DataFrame({"colour": [1]}), BOX_COLUMNS, "boxes")
