"""The tidy table of notebook 03: volumes, slice classifiers, maps and paired differences of all
folds together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import pandas as pd

from ich_study.evaluate import classification as evaluation, comparisons
from ich_study.methods.resnet_lstm.arms import MAIN, PAIRS, PLAIN
from ich_study.methods.resnet_lstm.report import paired_rows, result_rows
from ich_study.methods.resnet_lstm.truth import BOX_PREFIX, map_results
from ich_study.schema import RESULT_COLUMNS, result_table

CLASSIFIER_PAIRS: tuple[tuple[str, str], ...] = (
    ("resnet_lstm", "resnet"),
    ("resnet_lstm_refitted", "resnet"),
)


def volume_results(
    volumes: pd.DataFrame,
    common: Mapping[str, Any],
    variant: str,
    truth: str,
    replicates: int,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Result rows of all methods per volume and of their paired differences, and the differences as
    a table.

    truth: "masks" or "boxes"; against boxes every metric's name begins with `box_`.
    """
    rows = result_rows(volumes, common, replicates, seed)
    printed = volumes[volumes["variant"] == variant]
    table, paired = paired_rows(
        printed, PAIRS, {**common, "variant": variant}, replicates=2 * replicates, seed=seed
    )
    plain = volumes[volumes["variant"] == PLAIN].assign(method=PLAIN)
    if len(plain):
        both = pd.concat([printed[printed["method"] == MAIN], plain])
        enhanced, more = paired_rows(
            both,
            [(MAIN, PLAIN)],
            {**common, "variant": variant},
            replicates=2 * replicates,
            seed=seed,
        )
        table = pd.concat([table, enhanced], ignore_index=True)
        # one method with and without: the variant tells the two apart, as in the claims
        paired += [{**row, "method": f"{MAIN} - {MAIN}"} for row in more]
    frame = result_table([*rows, *paired])
    if truth == "boxes":
        frame["metric"], table["metric"] = (
            BOX_PREFIX + frame["metric"],
            BOX_PREFIX + table["metric"],
        )
    return frame, table


def classifier_results(
    predictions: Mapping[str, pd.DataFrame],
    dataset: str,
    common: Mapping[str, Any],
    replicates: int,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Slice measures of the classifiers on the test parts of all folds, and the AUROC's paired
    differences.

    predictions: method -> `slice_predictions.PREDICTION_COLUMNS`, all folds.
    """
    tables = [
        evaluation.classification_results(
            table, {}, study=common["study"], method=method, replicates=replicates, seed=seed
        )
        for method, table in predictions.items()
    ]
    parts = {method: table.assign(part=dataset) for method, table in predictions.items()}
    differences = comparisons.auroc_differences(
        parts, CLASSIFIER_PAIRS, dataset, "any", 2 * replicates, seed
    )
    rows = comparisons.difference_rows(differences, common["study"], common["seed"])
    return joined([*(table.assign(seed=common["seed"]) for table in tables), rows]), differences


def localisation_results(
    parts: Sequence[Mapping[str, Any]],
    common: Mapping[str, Any],
    variant: str,
    truth: str,
    replicates: int,
    seed: int,
) -> pd.DataFrame:
    """Pointing game and mass inside over the slices with truth of all folds. parts:
    `resnet_lstm_truth.map_rows` of every fold."""

    def key(part: Mapping[str, Any]) -> tuple[str, str]:
        return part["method"], part["metric"]

    rows = [
        row
        for _, group in groupby(sorted(parts, key=key), key)
        for row in map_results(list(group), {**common, "variant": variant}, replicates, seed)
    ]
    frame = result_table([{**row, "seed": common["seed"]} for row in rows])
    return frame.assign(metric=BOX_PREFIX + frame["metric"]) if truth == "boxes" else frame


def joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Result tables one below the other, with the columns of the contract."""
    filled = [table.dropna(axis="columns", how="all") for table in tables]
    return pd.concat(filled, ignore_index=True).reindex(columns=list(RESULT_COLUMNS))
