import numpy as np
import pytest

from ich_study.errors import DataError
from ich_study.store.joined import JoinedStores


class Stored:
    """What the join reads of a store."""

    def __init__(self, dataset, *scan_ids):
        self.dataset, self.scan_ids, self.content_hash = dataset, list(scan_ids), dataset * 8

    def volume(self, scan_id):
        return np.full((2, 4, 4), len(self.dataset + scan_id), np.int16)


def test_a_scan_comes_from_the_store_that_has_it():
    joined = JoinedStores([Stored("real", "0001"), Stored("phantom", "ID_1", "ID_22")])
    assert [joined.volume(name)[0, 0, 0] for name in ("0001", "ID_1", "ID_22")] == [8, 11, 12]
    with pytest.raises(DataError, match="no scan '0002'"):
        joined.volume("0002")


def test_the_hash_is_of_all_stores():
    one, two, three = Stored("a", "1"), Stored("b", "2"), Stored("c", "2")
    hashes = {JoinedStores(stores).content_hash for stores in ([one], [one, two], [one, three])}
    assert len(hashes) == 3


def test_two_stores_that_name_a_scan_alike_are_refused():
    with pytest.raises(DataError, match="bhsd and cq500 both have a scan '7'"):
        JoinedStores([Stored("bhsd", "7"), Stored("cq500", "7")])
