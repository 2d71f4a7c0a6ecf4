import pytest

from ich_study.datasets import READERS, open_dataset, reader_class
from ich_study.errors import DataError, ParameterError
from ich_study.phantom.write_instance2022 import write_instance2022
from tests.phantom.fake_scans import fake_scan


def test_every_reader_can_be_imported_and_keeps_its_name():
    assert list(READERS) == [
        "rsna",
        "bhsd",
        "physionet",
        "cq500",
        "instance2022",
        "hemorica",
        "phe_sich",
    ]
    for name in READERS:
        assert reader_class(name).name == name


@pytest.mark.parametrize("name", list(READERS))
def test_a_missing_root_says_what_was_expected_there(name, tmp_path):
    with pytest.raises(DataError, match="absent"):
        open_dataset(name, tmp_path / "absent").scans()


def test_options_are_checked(tmp_path):
    write_instance2022(tmp_path, [fake_scan(1)])
    assert len(open_dataset("instance2022", tmp_path, require_masks=True).scans()) == 1
    with pytest.raises(ParameterError, match="data set is 'instance'; expected one of rsna"):
        open_dataset("instance", tmp_path)
    with pytest.raises(
        ParameterError, match=r"instance2022\.require_mask'; did you mean 'require_masks'"
    ):
        open_dataset("instance2022", tmp_path, require_mask=True)
    with pytest.raises(ParameterError, match=r"instance2022\.require_masks is 'yes'"):
        open_dataset("instance2022", tmp_path, require_masks="yes")
    with pytest.raises(ParameterError, match="export_width"):
        open_dataset("phe_sich", tmp_path, export_width="80")
