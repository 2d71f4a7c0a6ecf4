"""The hash of a scan's content changes with each part of it, and with nothing else."""

import dataclasses

import numpy as np
import pytest

from ich_study.store.record import (
    damage,
    dataset_hash,
    file_name,
    image_hashes,
    read_record,
    write_scan,
)
from tests.store.fake_reader import make_scan

CONTENT = {
    "index": {"scan_id": ["s"], "any": [True]},
    "boxes": {"x": [3.0], "width": [5.0]},
    "image_hashes": ["a", "b"],
    "mask_hash": "m",
}


@pytest.mark.parametrize(
    "change",
    [
        {"index": {"scan_id": ["s"], "any": [None]}},
        {"boxes": {"x": [3.0], "width": [6.0]}},
        {"image_hashes": ["b", "a"]},
        {"mask_hash": None},
    ],
)
def test_each_part_has_a_say_in_the_content_hash(change, tmp_path):
    record = dataclasses.replace(write_scan(tmp_path, make_scan(1), "source", "hu"), **CONTENT)
    assert dataclasses.replace(record).content_hash() == record.content_hash()
    assert dataclasses.replace(record, **change).content_hash() != record.content_hash()


def test_a_record_is_hashed_by_its_content_and_not_by_where_it_came_from(tmp_path):
    record = write_scan(tmp_path, make_scan(1), "source", "hu")
    moved = dataclasses.replace(record, fingerprint="other", notes=["other"], sources={})
    assert moved.content_hash() == record.content_hash()
    boxed = dataclasses.replace(record, boxes={**record.boxes, "x": [13.0]})
    assert boxed.content_hash() != record.content_hash()


def test_a_data_set_is_hashed_by_its_scans_whatever_their_order():
    both = {"s1": "a", "s2": "b"}
    assert dataset_hash("d", "hu", both) == dataset_hash("d", "hu", {"s2": "b", "s1": "a"})
    assert dataset_hash("d", "hu", both) != dataset_hash("d", "hu", {"s1": "b", "s2": "a"})
    assert dataset_hash("d", "hu", both) != dataset_hash("d", "8-bit", both)


def test_a_slice_is_hashed_by_its_pixels():
    hu = make_scan(0).hu
    changed = hu.copy()
    changed[4, 0, 0] += 1
    first, second = image_hashes(hu), image_hashes(changed)
    assert [i for i in range(len(hu)) if first[i] != second[i]] == [4]


def test_what_was_written_is_read_back_and_a_change_on_disk_is_seen(tmp_path):
    volume = make_scan(1)
    record = write_scan(tmp_path, volume, "source", "hu")
    assert read_record(tmp_path, "scan 1") == record and read_record(tmp_path, "scan 2") is None
    assert damage(tmp_path, record) is None
    path = tmp_path / "masks" / f"{file_name('scan 1')}.npy"
    np.save(path, np.zeros_like(volume.mask))
    assert damage(tmp_path, record) == f"masks/{path.name} does not match its hash"
