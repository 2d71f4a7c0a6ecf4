import json
import os

from ich_study.errors import DataError


def test_a_file_name_that_is_not_utf8_can_be_printed_and_put_into_a_notebook():
    name = os.fsdecode(b"scan\xff.dcm")
    message = str(DataError(f"{name} is damaged"))
    assert message == r"scan\udcff.dcm is damaged"
    assert json.dumps(message, ensure_ascii=False).encode("utf-8")
