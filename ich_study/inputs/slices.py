"""Slices of the store as training batches.

A batch is read and resized as int16 HU by the loader's workers (or taken from a cache in memory)
and windowed, augmented and normalised on the model's device, where it is cheap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ich_study.ct.stacks import neighbours
from ich_study.errors import DataError
from ich_study.inputs.augment import Augmentation
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.inputs.samplers import RowBatches, TrainingBatches, in_order
from ich_study.inputs.seeds import seeded_generator

ROW_KEYS = ["dataset", "patient_id", "scan_id", "slice_index"]
Batch = tuple[Tensor, Tensor]


class SliceSource(Protocol):
    """What training needs of the store."""

    @property
    def content_hash(self) -> str:
        """Hash of everything stored."""

    def volume(self, scan_id: str) -> np.ndarray:
        """int16 HU (slices, rows, columns) of a scan, memory-mapped."""


class SliceDataset(Dataset[Batch]):
    """Rows of the slice index as (int16 HU (depth, size, size), labels (classes,)) pairs.

    Labels are 0, 1, or NaN where unknown. `__getitems__` reads a whole batch at once.
    `cache_in_memory` reads and resizes every slice once, here, and keeps 2 size^2 bytes of each.
    Raises DataError when a row's slice is not in its scan or `rows` is empty.
    """

    def __init__(
        self,
        source: SliceSource,
        rows: pd.DataFrame,
        classes: Sequence[str],
        preprocessing: Preprocessing,
        cache_in_memory: bool = False,
    ) -> None:
        if rows.empty:
            raise DataError("no slices to read: the part of the split is empty")
        self.source, self.preprocessing = source, preprocessing
        self.rows = rows[ROW_KEYS].reset_index(drop=True)
        self.labels = label_tensor(rows, classes)
        self._scan_ids = rows["scan_id"].astype(str).tolist()
        self._slice_indices = [int(index) for index in rows["slice_index"]]
        self._slices_of: dict[str, int] = {}
        self._cached, self._places = (
            torch.empty(0, dtype=torch.int16),
            torch.empty(0, dtype=torch.int64),
        )
        if cache_in_memory:
            self._cached, self._places = self._read_once(range(len(self)), progress=True)

    def __len__(self) -> int:
        return len(self._scan_ids)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Stacks (B, depth, size, size) and labels (B, classes) of many rows."""
        chosen = list(indices)
        if len(self._places):
            return self._cached[self._places[chosen]], self.labels[chosen]
        slices, places = self._read_once(chosen)
        return slices[places], self.labels[chosen]

    def _members(self, index: int) -> tuple[str, list[int]]:
        scan_id, slice_index = self._scan_ids[index], self._slice_indices[index]
        if scan_id not in self._slices_of:
            self._slices_of[scan_id] = len(self.source.volume(scan_id))
        slices = self._slices_of[scan_id]
        if not 0 <= slice_index < slices:
            raise DataError(
                f"scan {scan_id} has {slices} slices, but the index names slice {slice_index}"
            )
        return scan_id, neighbours(slice_index, slices, self.preprocessing.stack_depth)

    def _read_once(self, rows: Iterable[int], progress: bool = False) -> tuple[Tensor, Tensor]:
        """The slices of several rows' stacks, read and resized once though neighbouring stacks
        share them, and each stack's places there."""
        stacks = [self._members(row) for row in rows]
        wanted: dict[str, set[int]] = {}
        for scan_id, members in stacks:
            wanted.setdefault(scan_id, set()).update(members)
        size = self.preprocessing.size
        slices = torch.empty((sum(map(len, wanted.values())), size, size), dtype=torch.int16)
        places: dict[tuple[str, int], int] = {}
        bar = tqdm(
            wanted.items(),
            desc="reading scans into memory",
            unit="scan",
            mininterval=5,
            leave=False,
            disable=not progress,
        )
        for scan_id, found in bar:
            ordered, start = sorted(found), len(places)
            hu = torch.from_numpy(np.array(self.source.volume(scan_id)[ordered]))
            slices[start : start + len(ordered)] = self.preprocessing.resized(hu)
            places.update(
                {(scan_id, member): start + place for place, member in enumerate(ordered)}
            )
        return slices, torch.tensor(
            [[places[scan_id, member] for member in members] for scan_id, members in stacks]
        )


def label_tensor(rows: pd.DataFrame, classes: Sequence[str]) -> Tensor:
    """Nullable boolean labels as float32 (rows, classes): 0, 1, and NaN for unknown."""
    columns = [
        rows[label].astype("boolean").to_numpy(dtype=np.float32, na_value=np.nan)
        for label in classes
    ]
    return torch.from_numpy(np.stack(columns, axis=1))


class SliceLoader:
    """Batches (input (B, C, H, W), labels (B, classes)) on the model's device.

    The order comes from `batches`, a batch sampler with `set_epoch`; augmentation draws from
    (seed, epoch, rank, batch), so an epoch is the same whether or not the ones before it ran in
    this process. `dataset`, `to` and `__len__` are what fastai's DataLoaders expect.
    """

    def __init__(
        self,
        dataset: SliceDataset,
        batches: TrainingBatches | RowBatches,
        device: torch.device,
        *,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        rank: int = 0,
        num_workers: int = 0,
        channels_last: bool = False,
    ) -> None:
        self.dataset, self.batches, self.device = dataset, batches, device
        self._augmentation, self._seed, self._rank = augmentation, seed, rank
        self._memory_format = torch.channels_last if channels_last else torch.contiguous_format
        # its own generator: an iterator's seed must not advance the stream that dropout draws from
        self._loader = DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=_as_is,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=device.type == "cuda",
            prefetch_factor=4 if num_workers else None,
            generator=torch.Generator(),
        )

    def close(self) -> None:
        """Ends the workers. Left to the garbage collector, they would be waited for, five seconds
        each."""
        del self._loader

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        for number, (hu, labels) in enumerate(self._loader):
            yield self.transformed(hu, number), labels.to(self.device, non_blocking=True)

    def to(self, device: torch.device) -> SliceLoader:
        """Batches go to `device` from now on."""
        self.device = torch.device(device)
        return self

    def transformed(self, hu: Tensor, number: int) -> Tensor:
        """int16 HU (B, depth, H, W) of batch `number` to the network's input on the device."""
        preprocessing = self.dataset.preprocessing
        hu = hu.to(self.device, non_blocking=True)
        if self._augmentation is None:
            return preprocessing.inputs(hu).contiguous(memory_format=self._memory_format)
        generator = seeded_generator(
            self._seed, getattr(self.batches, "epoch", 0), self._rank, number
        )
        hu = self._augmentation.pictures(hu, generator)
        if self._augmentation.on_hu:
            channels = preprocessing.channels(self._augmentation(hu.float(), generator))
        else:
            channels = self._augmentation(preprocessing.channels(hu), generator)
        return preprocessing.normalised(channels).contiguous(memory_format=self._memory_format)


def _as_is(batch: Batch) -> Batch:
    return batch


def network_view(
    source: SliceSource, rows: pd.DataFrame, preprocessing: Preprocessing, device: torch.device
) -> tuple[Tensor, Tensor]:
    """What a network sees of a few slices, without augmentation: windowed channels in [0, 1], and
    the same normalised, its input; both (B, C, size, size) on `device`."""
    hu, _ = SliceDataset(source, rows, ("any",), preprocessing).__getitems__(range(len(rows)))
    channels = preprocessing.channels(hu.to(device))
    return channels, preprocessing.normalised(channels)


def ordered_inputs(
    source: SliceSource,
    rows: pd.DataFrame,
    preprocessing: Preprocessing,
    batch_size: int,
    device: torch.device,
    *,
    what: str = "",
    num_workers: int = 0,
    channels_last: bool = False,
) -> Iterator[Tensor]:
    """Network inputs (B, C, H, W) of `rows` in their order, without augmentation, on `device`.
    what: names the progress bar; there is none without."""
    dataset = SliceDataset(source, rows, ("any",), preprocessing)
    batches = in_order(len(dataset), batch_size)
    workers = {"num_workers": num_workers, "channels_last": channels_last}
    loader = SliceLoader(dataset, batches, device, **workers)
    bar = {"unit": "batch", "mininterval": 5, "leave": False, "disable": not what}
    try:
        for inputs, _ in tqdm(loader, what, **bar):
            yield inputs
    finally:
        loader.close()
