"""Splits as parameters: each named split of a study, planned, guarded and written once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ich_study.errors import ParameterError, SplitError
from ich_study.splits import split as splits
from ich_study.splits.overlap import exclude_overlap


def listed_split(index: pd.DataFrame, parts: Mapping[str, list[str]], seed: int) -> pd.DataFrame:
    """A split given patient by patient, such as one that a data set publishes; `seed` has no say.

    Raises ParameterError where a patient of the index is not listed, or the other way round.
    """
    rows = [
        (str(index["dataset"].iloc[0]), patient, part)
        for part, patients in parts.items()
        for patient in patients
    ]
    split = pd.DataFrame(rows, columns=[*splits.PATIENT, "part"], dtype="string")
    differ = sorted(set(split["patient_id"]) ^ set(index["patient_id"]))
    if differ:
        raise ParameterError(
            f"patients listed and patients there differ: {', '.join(differ[:10])} ({len(differ)} in"
            " all)"
        )
    return split


_KINDS: dict[str, tuple[Callable[..., pd.DataFrame], frozenset[str]]] = {
    "parts": (splits.make_split, frozenset({"fractions"})),
    "folds": (splits.make_folds, frozenset({"k"})),
    "listed": (listed_split, frozenset({"parts"})),
    "scans": (splits.drawn_scans, frozenset({"scans"})),
    "slices": (splits.slice_level_split, frozenset({"validation_fraction"})),
}


def plan_split(index: pd.DataFrame, name: str, plan: Mapping[str, Any], seed: int) -> pd.DataFrame:
    """One named split from its plan: `{dataset, kind, ...}`.

    `parts` takes `fractions`, `folds` takes `k`, `listed` takes `parts` (part -> patients), `scans`
    takes `scans` (part -> number of scans), `slices` (the leaking variant of HGI-SAM's code) takes
    `validation_fraction`. Raises ParameterError
    naming what is missing, unknown or not in the index.
    """
    if plan.get("kind") not in _KINDS:
        raise ParameterError(
            f"split {name!r}: kind is {plan.get('kind')!r}; expected one of {sorted(_KINDS)}"
        )
    make, options = _KINDS[plan["kind"]]
    wrong = set(plan) ^ {"dataset", "kind", *options}
    if wrong:
        raise ParameterError(
            f"split {name!r}: {sorted(wrong)} missing or unknown; {plan['kind']} takes dataset and"
            f" {sorted(options)}"
        )
    rows = index[index["dataset"] == plan["dataset"]]
    if rows.empty:
        raise ParameterError(
            f"split {name!r}: no data set {plan['dataset']!r} in the index; there is"
            f" {sorted(index['dataset'].unique())}"
        )
    return make(rows, **{option: plan[option] for option in sorted(options)}, seed=seed)


def write_splits(
    index: pd.DataFrame,
    plans: Mapping[str, Mapping[str, Any]],
    overlap: pd.DataFrame,
    folder: Path,
    seed: int,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Every planned split, without the patients that another data set tests on, written to
    `folder`.

    Returns a table (split, part, patients, slices, positive slices) and the hash of each split.
    """
    summaries, hashes = [], {}
    for name, plan in plans.items():
        split = plan_split(index, name, plan, seed)
        if plan["kind"] in ("parts", "scans"):
            split = without_shared(split, overlap)
        hashes[name] = splits.write_split(folder / f"{name}.csv", split)
        summaries.append(split_summary(index, name, split))
    return pd.concat(summaries, ignore_index=True), hashes


def without_shared(split: pd.DataFrame, overlap: pd.DataFrame) -> pd.DataFrame:
    """A split whose training and validation parts hold no patient of another data set; such
    patients get the part "excluded"."""
    for other in sorted({*overlap["dataset_a"], *overlap["dataset_b"]} - set(split["dataset"])):
        split = exclude_overlap(split, overlap, keep_dataset=other)
    return split


def split_summary(index: pd.DataFrame, name: str, split: pd.DataFrame) -> pd.DataFrame:
    """Patients, slices and positive slices of each part of a split."""
    part = "part" if "part" in split else "fold"
    keys = ["dataset", "patient_id"] + (
        ["scan_id", "slice_index"] if "slice_index" in split else []
    )
    rows = index.merge(split[[*keys, part]], on=keys)
    grouped = rows.groupby(part)
    table = pd.DataFrame(
        {
            "patients": grouped["patient_id"].nunique(),
            "slices": grouped.size(),
            "positive_slices": grouped["any"].sum().astype("Int64"),
        }
    )
    return (
        table.rename_axis("part")
        .reset_index()
        .assign(split=name)[["split", "part", "patients", "slices", "positive_slices"]]
    )


def assert_no_shared_training(split: pd.DataFrame, overlap: pd.DataFrame) -> None:
    """Raises SplitError naming patients of another data set that a split would train or validate
    on."""
    cleaned = without_shared(split, overlap)
    left = split[split["part"] != cleaned["part"]]
    if len(left):
        shared = splits.named(left[splits.PATIENT].to_numpy())
        raise SplitError(
            f"{len(left)} patients of the training part stand in another data set too: {shared}"
        )
