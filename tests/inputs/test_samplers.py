from functools import partial

import numpy as np
import pytest
import torch

from ich_study.errors import DataError
from ich_study.inputs.samplers import (
    TrainingBatches,
    epoch_order as order_of,
    in_order,
    inverse_frequency_weights,
    same_height_weights,
)


def alike(label):
    return torch.zeros(len(label), dtype=torch.int64)


def epoch_order(kind, label, seed, epoch, group=None, height=None):
    """One data set, and all slices at one height, unless said otherwise."""
    group, height = (alike(label) if each is None else each for each in (group, height))
    return order_of(kind, label, seed, epoch, group=group, height=height)


def permutation(rows, epoch):
    return epoch_order("none", torch.zeros(rows), 3, epoch)


LABEL = torch.tensor([1.0] * 20 + [0.0] * 180)


def test_without_a_sampler_every_row_comes_once_in_an_order_of_seed_and_epoch():
    orders = {key: epoch_order("none", LABEL, *key).tolist() for key in ((0, 0), (0, 1), (1, 0))}
    assert all(sorted(order) == list(range(200)) for order in orders.values())
    assert orders[0, 0] == epoch_order("none", LABEL, 0, 0).tolist()
    assert len({tuple(order) for order in orders.values()}) == 3


def test_inverse_frequency_draws_both_labels_alike_with_replacement():
    drawn = torch.cat([epoch_order("inverse_frequency", LABEL, 0, epoch) for epoch in range(50)])
    assert len(drawn) == 10_000
    share = float(LABEL[drawn].mean())
    assert abs(share - 0.5) < 4 * np.sqrt(0.25 / len(drawn))


def test_balanced_draws_twice_the_positives_without_replacement():
    draws = [epoch_order("balanced", LABEL, 0, epoch) for epoch in range(200)]
    assert all(len(set(drawn.tolist())) == len(drawn) == 40 for drawn in draws)
    first = torch.stack([LABEL[drawn[0]] for drawn in draws])
    assert abs(float(first.mean()) - 0.5) < 4 * np.sqrt(0.25 / 200)
    assert 0.2 < float(torch.stack([LABEL[drawn] for drawn in draws]).mean()) < 0.5


def test_weights_are_the_inverse_frequencies():
    weights = inverse_frequency_weights(LABEL, alike(LABEL))
    assert weights[0] == 1 / 20 and weights[-1] == 1 / 180


def test_data_sets_weigh_alike_and_say_nothing_of_the_label():
    # 20 of 200 slices of one data set are positive, 30 of 40 of the other
    label = torch.cat([LABEL, torch.tensor([1.0] * 30 + [0.0] * 10)])
    group = torch.tensor([0] * 200 + [1] * 40)
    drawn = torch.cat(
        [epoch_order("inverse_frequency", label, 0, epoch, group) for epoch in range(50)]
    )
    for number in (0, 1):
        for value in (0, 1):
            share = float(((group[drawn] == number) & (label[drawn] == value)).double().mean())
            assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / len(drawn))
    one = epoch_order("inverse_frequency", LABEL, 0, 3, alike(LABEL))
    assert torch.equal(one, epoch_order("inverse_frequency", LABEL, 0, 3))
    with pytest.raises(DataError, match="positive in 40 of 40"):
        inverse_frequency_weights(torch.cat([LABEL, torch.ones(40)]), group)


def test_same_height_draws_negatives_from_where_the_positives_lie():
    # ten scans of 60 slices; hemorrhage in slices 20 to 29 of every second scan
    number = np.tile(np.arange(60), 10)
    positive = (number >= 20) & (number < 30) & (np.arange(600) // 60 % 2 == 0)
    label, height = torch.from_numpy(positive).double(), torch.from_numpy(number / 59)
    drawn = torch.cat(
        [epoch_order("same_height", label, 0, epoch, height=height) for epoch in range(20)]
    )
    share = float(label[drawn].mean())
    assert abs(share - 0.5) < 4 * np.sqrt(0.25 / len(drawn))
    taken = number[drawn]
    # 20 to 29 are two parts of twelve; those of inverse_frequency come from everywhere
    assert set(taken[~positive[drawn]]) == set(range(20, 30))
    other = epoch_order("inverse_frequency", label, 0, 0)
    assert len(set(number[other][~positive[other]])) > 50


def test_mostly_same_height_draws_a_quarter_of_the_negatives_from_anywhere():
    # ten scans of 60 slices; hemorrhage in slices 20 to 29 of every second scan
    number = np.tile(np.arange(60), 10)
    positive = (number >= 20) & (number < 30) & (np.arange(600) // 60 % 2 == 0)
    label, height = torch.from_numpy(positive).double(), torch.from_numpy(number / 59)
    kind = "mostly_same_height"
    drawn = torch.cat([epoch_order(kind, label, 0, k, height=height) for k in range(40)])
    assert abs(float(label[drawn].mean()) - 0.5) < 4 * np.sqrt(0.25 / len(drawn))
    negative = number[drawn][~positive[drawn]]
    beside = float(((negative < 20) | (negative > 29)).mean())
    # of the 550 negative slices 500 lie beside slices 20 to 29
    expected = 0.25 * 500 / 550
    assert abs(beside - expected) < 4 * np.sqrt(expected * (1 - expected) / len(negative))


def test_same_height_is_an_error_where_no_height_has_both_labels():
    label = torch.tensor([1.0, 0.0])
    with pytest.raises(DataError, match="without any negative one"):
        same_height_weights(label, alike(label), torch.tensor([0.5, 0.0]).double())
    # a part of the head without negative slices takes nothing from the others
    label, height = torch.tensor([1.0, 1, 0, 0]), torch.tensor([0.0, 0.5, 0.5, 0.9])
    three = same_height_weights(label, alike(label), height)
    assert three.tolist() == [0.5, 0.5, 1, 0]


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (torch.tensor([1.0, float("nan"), 0.0]), "unknown in 1 of 3"),
        (torch.ones(4), "positive in 4 of 4"),
    ],
)
def test_unusable_labels_are_errors(label, words):
    with pytest.raises(DataError, match=words):
        inverse_frequency_weights(label, alike(label))


def test_batches_drop_a_partial_last_one_and_keep_a_lone_one():
    lengths = {
        (rows, drop): [
            len(batch) for batch in TrainingBatches(partial(permutation, rows), 16, drop_last=drop)
        ]
        for rows in (5, 40)
        for drop in (True, False)
    }
    assert lengths == {
        (5, True): [5],
        (5, False): [5],
        (40, True): [16, 16],
        (40, False): [16, 16, 8],
    }
    assert len(list(TrainingBatches(partial(permutation, 40), 16, limit=1))) == 1


def test_processes_share_the_order_without_overlap_and_step_equally():
    shares = [TrainingBatches(partial(permutation, 101), 16, rank=rank, world=2) for rank in (0, 1)]
    seen = [[row for batch in share for row in batch] for share in shares]
    assert (
        len(shares[0]) == len(shares[1])
        and not set(seen[0]) & set(seen[1])
        and len(seen[0]) == len(seen[1]) == 50
    )


def test_epochs_change_the_order_and_return():
    batches = TrainingBatches(partial(permutation, 64), 16)
    first = list(batches)
    batches.set_epoch(1)
    assert list(batches) != first
    batches.set_epoch(0)
    assert list(batches) == first


def test_validation_keeps_its_order_and_is_shared_by_batch():
    assert in_order(5, 2) == [[0, 1], [2, 3], [4]]
    assert in_order(5, 2, limit=1) == [[0, 1]]
    assert in_order(5, 2, rank=1, world=2) == [[2, 3]]
