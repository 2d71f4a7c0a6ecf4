"""Supervised 2-D segmentation of slices with masks: the baselines of HGI-SAM (paper, 4.3.2 and
4.3.3).

Dice plus cross-entropy on two outputs per pixel, AdamW at a constant rate, the same sampling and
augmentation as the classifiers, early stopping on the validation loss.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ich_study.errors import DataError, MapError
from ich_study.hashing import sha256_bytes
from ich_study.inputs.devices import autocast
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.inputs.seeds import seeded_generator
from ich_study.inputs.slices import SliceDataset, SliceSource, ordered_inputs
from ich_study.methods.hgi_sam.segmentation_baselines import SegmentationNetwork
from ich_study.splits.overlap import patient_marks
from ich_study.store.read import Store
from ich_study.training.config import TrainingConfig
from ich_study.training.learner import sampled_batches
from ich_study.training.loop import Run, fit
from ich_study.training.resume import slice_marks
from ich_study.training.task import Batch, BatchLoader, Task, ordered_batches

AUGMENTATION_STREAM = 2


class SliceSegmentation(Task):
    """Slices with their masks on the network's grid; half Dice of hemorrhage over all pixels of the
    batch, half cross-entropy. The paper does not say over what its Dice runs.

    Raises DataError where a part is empty, a scan has no mask, or no training slice holds
    hemorrhage.
    """

    def __init__(
        self,
        config: TrainingConfig,
        source: Store,
        train_rows: pd.DataFrame,
        validation_rows: pd.DataFrame,
    ) -> None:
        self._config, self._train_rows = config, train_rows
        self._preprocessing = preprocessing = config.preprocessing()
        rows = {"training": train_rows, "validation": validation_rows}
        self._slices = {
            part: SliceDataset(source, table, ("any",), preprocessing, config.cache_in_memory)
            for part, table in rows.items()
        }
        self._masks = {
            part: masks_on_grid(source, table, preprocessing) for part, table in rows.items()
        }
        if not self._masks["training"].any():
            raise DataError(
                f"none of the {len(train_rows)} training slices holds hemorrhage on the network's"
                " grid"
            )
        shares = {"lambda_dice": 0.5, "lambda_ce": 0.5, "batch": True}
        from monai.losses import DiceCELoss  # MONAI takes seconds to import

        self.loss = DiceCELoss(False, to_onehot_y=True, softmax=True, **shares)
        self._loss_marks = repr(shares)

    def loaders(self, device: torch.device) -> tuple[BatchLoader, BatchLoader]:
        """Inputs (B, C, S, S) and masks (B, 1, S, S), in training augmented alike."""
        ordered = ordered_batches(len(self._slices["validation"]), self._config.batch_size)
        return (
            BatchLoader(
                sampled_batches(self._train_rows, self._config), partial(self._augmented, device)
            ),
            BatchLoader(ordered, partial(self._plain, device)),
        )

    def weight(self, targets: Tensor) -> float:
        """Slices of the batch."""
        return len(targets)

    def marks(self) -> dict[str, str]:
        """What is seen of the slices, hashes of slices and masks, and the shares of the loss."""
        hashes = {
            f"{part} masks": sha256_bytes(masks.numpy().tobytes())
            for part, masks in self._masks.items()
        }
        seen = self._config.marks()
        return {**seen, **slice_marks(self._slices), **hashes, "shares": self._loss_marks}

    def _augmented(self, device: torch.device, rows: list[int], epoch: int, number: int) -> Batch:
        hu, masks = self._read("training", rows, device)
        generator = seeded_generator(self._config.seed, AUGMENTATION_STREAM, epoch, number)
        augmentation = self._config.augmenter()
        hu = augmentation.pictures(hu, generator)
        channels, masks = augmentation.paired(self._preprocessing.channels(hu), masks, generator)
        return self._preprocessing.normalised(channels), masks[:, None]

    def _plain(self, device: torch.device, rows: list[int], _: int, __: int) -> Batch:
        hu, masks = self._read("validation", rows, device)
        return self._preprocessing.inputs(hu), masks[:, None]

    def _read(self, part: str, rows: list[int], device: torch.device) -> tuple[Tensor, Tensor]:
        hu, _ = self._slices[part].__getitems__(rows)
        return hu.to(device), self._masks[part][rows].to(device)


def masks_on_grid(source: Store, rows: pd.DataFrame, preprocessing: Preprocessing) -> Tensor:
    """Hemorrhage of each row, uint8 0 or 1 (N, S, S); DataError names a scan without mask."""
    found = torch.zeros(len(rows), preprocessing.size, preprocessing.size, dtype=torch.uint8)
    rows = rows.reset_index(drop=True)
    for scan_id, places in rows.groupby("scan_id", sort=False).groups.items():
        if not source.has_mask(scan_id):
            raise DataError(
                f"scan {scan_id} has no mask; a supervised network needs one for every slice it"
                " learns from"
            )
        codes = np.array(source.mask(scan_id)[rows.loc[places, "slice_index"].to_numpy()])
        found[list(places)] = preprocessing.resized_codes(
            torch.from_numpy((codes > 0).astype(np.uint8))
        )
    return found


def train_segmenter(
    network: SegmentationNetwork,
    config: TrainingConfig,
    source: Store,
    train_rows: pd.DataFrame,
    validation_rows: pd.DataFrame,
    folder: Path,
) -> Run:
    """Trains `network` on the masks of `train_rows`; the weights of the best epoch stay in
    `folder`.

    Of `config` data, sampling, augmentation and optimisation count; its classes and its loss do
    not. Resumes after a kill. Raises ParameterError where the size does not fit, DataError as in
    SliceSegmentation.
    """
    network.check_size(config.size)
    task = SliceSegmentation(config, source, train_rows, validation_rows)
    metadata = {
        "preprocessing": config.preprocessing().describe(),
        "patients": patient_marks(pd.concat([train_rows, validation_rows])),
    }
    return fit(network, task, config.loop, folder, metadata)


def hemorrhage_probability(
    model: nn.Module,
    preprocessing: Preprocessing,
    source: SliceSource,
    rows: pd.DataFrame,
    device: torch.device,
    batch_size: int = 16,
    precision: str = "fp32",
) -> np.ndarray:
    """Probability of hemorrhage per pixel of every row, float32 (N, S, S). MapError where it is not
    finite."""
    seen, found = (source, rows, preprocessing, batch_size, device), []
    with torch.inference_mode(), autocast(precision, device):
        for number, inputs in enumerate(ordered_inputs(*seen, what="segmenting")):
            probability = model(inputs).float().softmax(1)[:, 1]
            if not bool(torch.isfinite(probability).all()):
                first = rows.iloc[number * batch_size]
                raise MapError(
                    f"a segmentation is not finite in the batch from {first.scan_id}, slice"
                    f" {first.slice_index}"
                )
            found.append(probability.cpu().numpy())
    return np.concatenate(found)
