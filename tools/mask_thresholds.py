"""Heat thresholds of the weights that travel, from masks of heads that none of them learned from:
`python -m tools.mask_thresholds RUN_OF_00 DATASET NAME...`

NAME is one of `new_scan.apply.shipped()`, a network with heat of one class. Of every heat
threshold the one with the largest Dice is taken, pixels pooled over all slices. Which slices are
marked at all stays with the gate on the slice's probability, which labels chose: outlines change,
calls do not. The file gets the threshold and its source in its metadata, the card its two lines.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from ich_study.atomic import write_text
from ich_study.errors import StudyError, WeightsError
from ich_study.evaluate.scan_methods import RECIPE_KEY, OneScan, ScanMethod
from ich_study.evaluate.thresholds import Threshold, counts_over_grid, mask_threshold
from ich_study.evaluate.unseen import assert_unseen
from ich_study.manifest import check_run
from ich_study.metrics.overlap import Counts
from ich_study.models.weights import read_metadata, read_tensors, save_tensors
from ich_study.new_scan.apply import SHIPPED, open_methods
from ich_study.paths import resolve
from ich_study.store.read import Store, open_stores
from ich_study.study import synthetic_datasets

GRID = np.arange(1, 256) / 255
"""Heat of these networks lies in [0, 1]."""
UNMARKED = -1.0
ROUNDING = 1e-4
THRESHOLD_LINE = re.compile(r"- \*\*Thresholds\*\*: .*?(?=\n- )", re.DOTALL)
HASH = re.compile(r"(?<=SHA-256 `)[0-9a-f]{64}(?=`\.\n\n## Held-out)")
"""What of a card states the thresholds, and the hash of its file."""


def best_threshold(method: ScanMethod, store: Store) -> Threshold:
    """The heat threshold with the largest Dice on all slices of a store with masks, behind the
    method's own gate and inside the brain. Raises WeightsError for heat of several classes or
    beyond [0, 1]."""
    recipe = method.recipe
    if len(recipe.classes) != 1:
        raise WeightsError(f"{recipe.name} has heat of {recipe.classes}; expected one class")
    counted = []
    for name, rows in tqdm(store.index.groupby("scan_id", sort=False), unit="scan", leave=False):
        pixel_mm = tuple(rows[["spacing_y_mm", "spacing_x_mm"]].iloc[0].astype(float))
        scan = OneScan(str(name), np.array(store.volume(str(name))), pixel_mm)
        said = method.say(scan)
        maps = torch.from_numpy(said.heat.read(np.arange(len(scan.hu))))[:, 0]
        heat = method.preprocessing.native(maps, *scan.hu.shape[1:]).numpy()
        if heat.min() < -ROUNDING or heat.max() > 1 + ROUNDING:
            raise WeightsError(
                f"heat of {recipe.name} lies in {heat.min():g} to {heat.max():g}; expected 0 to 1"
            )
        called = said.probability[:, 0] >= recipe.gates[0]
        heat[~(scan.brain & called[:, None, None])] = UNMARKED
        counted.append(counts_over_grid(heat, np.asarray(store.mask(str(name))) > 0, GRID))
    fields = ("tp", "fp", "fn")
    pooled = [np.concatenate([getattr(each, field) for each in counted]) for field in fields]
    return mask_threshold(Counts(*pooled), GRID, "masks-validation")


def take(weights: Path, threshold: Threshold, masks: str) -> None:
    """Write a threshold into a shipped file and its card; WeightsError, with neither changed, for a
    card without the two lines. masks: whose they are, for the card."""
    described = read_metadata(weights)
    recipe = {**described[RECIPE_KEY], "thresholds": [threshold.value], "source": threshold.source}
    card = weights.with_suffix(".md")
    text = card.read_text(encoding="utf-8")
    for line in (THRESHOLD_LINE, HASH):
        if len(line.findall(text)) != 1:
            raise WeightsError(f"{card} has no line, or more than one, like {line.pattern!r}")
    heat = f"heat {recipe['classes'][0]} {threshold.value:.4g}; from `{threshold.source}`: {masks}"
    slices = f"slices {recipe['classes'][0]} {recipe['gates'][0]:.4g}; from `labels`"
    sha256 = save_tensors(weights, read_tensors(weights), {**described, RECIPE_KEY: recipe})
    text = THRESHOLD_LINE.sub(f"- **Thresholds**: {heat};\n  {slices}.", text)
    write_text(card, HASH.sub(sha256, text))


def rethreshold(data: Path, dataset: str, name: str) -> Threshold:
    """The best threshold of a shipped network on the masks of a synthetic data set of a run of
    00_data, taken into its file and card; SplitError where it learned from a patient of it."""
    check_run(data, "00_data")
    if dataset not in synthetic_datasets(data):
        raise WeightsError(f"{dataset} of {data} is no phantom, as a card would say; name one")
    store = open_stores(data / "store", [dataset])[dataset]
    weights = SHIPPED / f"{name}.safetensors"
    assert_unseen(weights, store.index)
    (method,) = open_methods([name], torch.device("cpu")).values()
    threshold = best_threshold(method, store)
    take(weights, threshold, whose(store.index, dataset, store.content_hash))
    return threshold


def whose(index: pd.DataFrame, dataset: str, sha256: str) -> str:
    """Whose masks they are, for a card."""
    return (
        f"masks of {index['patient_id'].nunique()} other\n  synthetic heads in the layout of"
        f" `{dataset}`, SHA-256 `{sha256}`"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 done, 1 refused."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="folder of a run of 00_data")
    parser.add_argument("dataset", help="one of its data sets, with masks")
    parser.add_argument("names", nargs="+", help="shipped weights")
    asked = parser.parse_args(arguments)
    try:
        for name in asked.names:
            found = rethreshold(resolve(asked.data), asked.dataset, name)
            print(f"{name}: {found.value:.4f}, Dice {found.objective:.3f}")
    except StudyError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
