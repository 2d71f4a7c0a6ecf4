"""Errors for a person: what can be caught as one kind, and messages that can always be printed."""

import os

import pytest

from ich_study import errors

KINDS = ("ParameterError", "DataError", "SplitError", "WeightsError", "MapError")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_caught_as_the_studys_own_and_as_no_other_kind(kind):
    raised = getattr(errors, kind)("expected 2 files, found 1")
    assert isinstance(raised, errors.StudyError) and str(raised) == "expected 2 files, found 1"
    others = tuple(getattr(errors, other) for other in KINDS if other != kind)
    assert not isinstance(raised, others)


def test_bytes_of_a_file_name_that_are_no_text_are_written_out():
    """A name in Latin-1 comes from the file system with a surrogate in it, which nothing prints."""
    name = os.fsdecode(b"Bl\xfcten.dcm")
    message = str(errors.DataError(f"{name} is no DICOM file; größer als 3 µm"))
    assert message.encode("utf-8").decode() == message
    assert message == "Bl\\udcfcten.dcm is no DICOM file; größer als 3 µm"
