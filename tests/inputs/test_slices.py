from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from ich_study.errors import DataError
from ich_study.inputs.augment import named_augmentation
from ich_study.inputs.samplers import TrainingBatches, epoch_order, in_order
from ich_study.inputs.seeds import seeded_generator
from ich_study.inputs.slices import SliceDataset, SliceLoader, label_tensor, network_view
from tests.training.fakes import config, fake_store

STORE = fake_store(4)
CPU = torch.device("cpu")


def dataset(rows=STORE.index, cache=False, **changes):
    settings = config(**changes)
    return SliceDataset(STORE, rows, settings.classes, settings.preprocessing(), cache)


def test_items_are_clipped_hu_of_the_right_slice():
    data = dataset(size=48, windows=("bone",))
    hu, labels = (part[0] for part in data.__getitems__([11]))
    row = STORE.index.iloc[11]
    assert hu.dtype == torch.int16 and hu.shape == (1, 48, 48)
    assert np.array_equal(
        hu[0].numpy(), STORE.volumes[row.scan_id][row.slice_index].clip(-800, 2000)
    )
    assert labels.tolist() == [float(row["any"])]


def test_a_stack_holds_the_neighbours_and_repeats_the_ends():
    data = dataset(size=48, stack_depth=3, windows=("ich",))
    volume = STORE.volumes[STORE.index.scan_id[0]].clip(-40, 90)
    assert np.array_equal(data.__getitems__([0])[0][0].numpy(), volume[[0, 0, 1]])
    assert np.array_equal(data.__getitems__([7])[0][0].numpy(), volume[[6, 7, 7]])


@pytest.mark.parametrize("depth", [1, 3])
def test_the_cache_gives_what_the_store_gives(depth):
    rows = STORE.index.iloc[[3, 9, 10, 30]]
    plain, cached = dataset(rows, stack_depth=depth), dataset(rows, cache=True, stack_depth=depth)
    for one, two in zip(plain.__getitems__([0, 3, 1]), cached.__getitems__([0, 3, 1])):
        assert torch.equal(one, two)


def test_a_batch_reads_each_slice_once_and_is_the_stacks_one_by_one():
    read = []

    class Counting(np.ndarray):
        def __getitem__(self, members):
            read.append(len(members))
            return np.asarray(self)[members]

    class CountingSource:
        content_hash = "counting"

        def volume(self, scan_id):
            return STORE.volumes[scan_id].view(Counting)

    settings = config(stack_depth=3, size=20)
    data = SliceDataset(CountingSource(), STORE.index, settings.classes, settings.preprocessing())
    chosen = [2, 3, 4, 9, 3]
    alone = torch.cat([data.__getitems__([index])[0] for index in chosen])
    read.clear()
    assert torch.equal(data.__getitems__(chosen)[0], alone)
    assert read == [5, 3]


def test_scans_of_different_sizes_share_a_batch():
    mixed = fake_store(1, side=60, dataset="large")
    both = type(STORE)(pd.concat([STORE.index, mixed.index]), STORE.volumes | mixed.volumes, "both")
    settings = config()
    data = SliceDataset(both, both.index, settings.classes, settings.preprocessing())
    assert data.__getitems__([0, len(data) - 1])[0].shape == (2, 1, 32, 32)


def test_unknown_labels_are_nan():
    rows = STORE.index.head(3).assign(IPH=pd.array([True, pd.NA, False], dtype="boolean"))
    assert label_tensor(rows, ["IPH"])[:, 0].tolist()[::2] == [1.0, 0.0]
    assert label_tensor(rows, ["IPH"])[1, 0].isnan()


def test_no_rows_and_slices_outside_the_scan_are_errors():
    with pytest.raises(DataError, match="no slices"):
        dataset(STORE.index.head(0))
    with pytest.raises(DataError, match="8 slices, but the index names slice 8"):
        dataset(STORE.index.head(1).assign(slice_index=8)).__getitems__([0])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_is_the_same_with_and_without_workers_and_leaves_the_global_stream_alone(workers):
    data = dataset()
    alike = {"group": torch.zeros(len(data)), "height": torch.zeros(len(data))}
    order = partial(epoch_order, "none", data.labels[:, 0], 3, **alike)
    batches = TrainingBatches(order, 16, True)
    loader = SliceLoader(
        data, batches, CPU, augmentation=named_augmentation("lse_unet"), num_workers=workers
    )
    batches.set_epoch(4)
    torch.manual_seed(0)
    inputs, labels = map(torch.cat, zip(*loader))
    after = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(1))
    order = [row for batch in batches for row in batch]
    assert torch.equal(labels, data.labels[order])
    assert inputs.shape == (len(order), 3, 32, 32) and inputs.dtype == torch.float32
    expected = named_augmentation("lse_unet")(
        data.preprocessing.channels(data.__getitems__(order[:16])[0]), seeded_generator(0, 4, 0, 0)
    )
    assert torch.equal(inputs[:16], data.preprocessing.normalised(expected))


def test_channels_last_is_a_matter_of_memory_only():
    data = dataset()
    plain, last = (
        next(iter(SliceLoader(data, in_order(8, 8), CPU, channels_last=flag)))[0]
        for flag in (False, True)
    )
    assert torch.equal(plain, last) and last.is_contiguous(memory_format=torch.channels_last)


def test_a_network_sees_its_windows_and_neighbours_without_augmentation():
    preprocessing = config(size=32, windows=("brain",), stack_depth=3).preprocessing((0.5,), (0.5,))
    channels, inputs = network_view(STORE, STORE.index.iloc[[4, 2]], preprocessing, CPU)
    volume = torch.from_numpy(STORE.volume(STORE.index["scan_id"].iloc[0]))
    stacks = torch.stack([preprocessing.resized(volume[n - 1 : n + 2]) for n in (4, 2)])
    assert inputs.shape == (2, 3, 32, 32) and torch.equal(inputs, preprocessing.inputs(stacks))
    assert torch.equal(channels, preprocessing.channels(stacks)) and channels.min() == 0
