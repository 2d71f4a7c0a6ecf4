import json
import os

import pytest

from ich_study import errors
from ich_study.errors import DataError

KINDS = ("ParameterError", "DataError", "SplitError", "WeightsError", "RunError", "MapError")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_caught_as_the_studys_own_and_as_no_other_kind(kind):
    raised = getattr(errors, kind)("expected 2 files, found 1")
    assert isinstance(raised, errors.StudyError) and str(raised) == "expected 2 files, found 1"
    others = tuple(getattr(errors, other) for other in KINDS if other != kind)
    assert not isinstance(raised, others)


def test_a_file_name_that_is_not_utf8_can_be_printed_and_put_into_a_notebook():
    name = os.fsdecode(b"scan\xff.dcm")
    message = str(DataError(f"{name} is damaged"))
    assert message == r"scan\udcff.dcm is damaged"
    assert json.dumps(message, ensure_ascii=False).encode("utf-8")
