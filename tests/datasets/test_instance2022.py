import numpy as np
import pytest

from ich_study.datasets.instance2022 import Instance2022Reader
from ich_study.errors import DataError
from ich_study.phantom.write_instance2022 import write_instance2022
from tests.phantom.fake_scans import fake_scan


@pytest.fixture
def written(tmp_path):
    scans = [fake_scan(3), fake_scan(4, positive=False)]
    return tmp_path, scans, write_instance2022(tmp_path, iter(scans))


def test_round_trip(written):
    root, scans, ids = written
    reader = Instance2022Reader(root)
    refs = reader.scans()
    assert [{"patient_id": ref.patient_id, "scan_id": ref.scan_id} for ref in refs] == ids
    for ref, scan in zip(refs, scans):
        volume = reader.load(ref)
        np.testing.assert_array_equal(volume.hu, scan.hu)
        np.testing.assert_array_equal(volume.mask, np.where(scan.mask > 0, 6, 0))
        truth = scan.slice_labels()
        assert volume.labels["any"].tolist() == truth["any"].tolist()
        assert volume.labels["SDH"].isna().tolist() == truth["any"].tolist()
        assert (volume.labels["SDH"].dropna() == False).all()  # noqa: E712
        silent = [note for note in volume.notes if note.startswith("empty-mask: ")]
        assert len(silent) == (not truth["any"].any())


def test_train_is_another_name_of_train_2(written):
    root, *_ = written
    (root / "train_2").rename(root / "train")
    assert len(Instance2022Reader(root).scans()) == 2
    (root / "train").rename(root / "other")
    with pytest.raises(DataError, match=r"'train_2' or 'train'.*other"):
        Instance2022Reader(root).scans()


def test_a_part_without_masks_needs_to_be_asked_for(written):
    root, *_ = written
    for path in (root / "train_2" / "label").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="have no mask"):
        Instance2022Reader(root).scans()
    reader = Instance2022Reader(root, require_masks=False)
    volume = reader.load(reader.scans()[0])
    assert volume.mask is None
    assert volume.labels.isna().all(axis=None)
