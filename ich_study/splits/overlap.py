"""Guard across data sets: patients and images that stand in two of them.

Every labelled BHSD volume is of an RSNA 2019 patient: a model trained on RSNA and
tested on BHSD has seen its test patients unless they leave the training part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Protocol

import pandas as pd

from ich_study.datasets.contract import folded_id
from ich_study.errors import SplitError
from ich_study.hashing import sha256_bytes
from ich_study.splits.split import EXCLUDED, named

SHARED_IDS: tuple[tuple[str, ...], ...] = (("rsna", "bhsd"),)
"""Groups of data sets that name a patient alike. Elsewhere an equal id, such as "001", says
nothing."""

OVERLAP_COLUMNS: tuple[str, ...] = (
    "patient_id",
    "dataset_a",
    "dataset_b",
    "reason",
    "patient_id_b",
    "images",
)


class Scans(Protocol):
    """What the guard reads of a store, which trainings must not depend on."""

    index: pd.DataFrame
    images: pd.DataFrame


def find_overlap(stores: Iterable[Scans]) -> pd.DataFrame:
    """Patients that stand in two data sets, a row per pair and reason.

    Columns: `patient_id` in `dataset_a`, `patient_id_b` in `dataset_b`, `reason` ("same patient
    id", compared folded and only within a group of `SHARED_IDS`, or "identical image", compared
    everywhere) and `images`, the number of identical images (0 for ids). Constant images are not
    compared.
    """
    found = []
    for a, b in combinations(stores, 2):
        name_a, name_b = str(a.index["dataset"].iloc[0]), str(b.index["dataset"].iloc[0])
        if any(name_a in group and name_b in group for group in SHARED_IDS):
            folded = (
                store.index.assign(key=store.index["patient_id"].map(folded_id)) for store in (a, b)
            )
            found += [
                (one, name_a, name_b, "same patient id", other, 0)
                for one, other, _ in _shared(*folded)
            ]
        shown = (
            store.images[~store.images["constant"]].rename(columns={"image_hash": "key"})
            for store in (a, b)
        )
        found += [
            (one, name_a, name_b, "identical image", other, count)
            for one, other, count in _shared(*shown)
        ]
    return pd.DataFrame(found, columns=list(OVERLAP_COLUMNS))


def _shared(a: pd.DataFrame, b: pd.DataFrame) -> list[tuple[str, str, int]]:
    """Pairs of patients who have a `key` in both tables, and how many."""
    left, right = (table[["patient_id", "key"]].drop_duplicates() for table in (a, b))
    pairs = left.merge(right, on="key").groupby(["patient_id_x", "patient_id_y"], sort=True).size()
    return [(one, other, int(count)) for (one, other), count in pairs.items()]


def _mark(patient: str) -> str:
    return sha256_bytes(folded_id(patient).encode())[:16]


def patient_marks(rows: pd.DataFrame) -> dict[str, list[str]]:
    """Data set -> a hash of each patient of some rows: how a checkpoint says whom it saw without
    naming anyone. Spellings of one id have one hash."""
    marks: dict[str, list[str]] = {}
    for dataset, patients in rows.groupby("dataset")["patient_id"]:
        marks[str(dataset)] = sorted({_mark(str(each)) for each in patients.unique()})
    return marks


def seen_patients(marks: Mapping[str, Sequence[str]], rows: pd.DataFrame) -> list[str]:
    """Patients of some rows that are among `patient_marks`: of the same data set, or of one that
    names patients alike (`SHARED_IDS`)."""
    seen = []
    pairs = rows[["dataset", "patient_id"]].drop_duplicates()
    for dataset, patient in pairs.itertuples(index=False):
        names = {dataset}.union(*(group for group in SHARED_IDS if dataset in group))
        if any(_mark(str(patient)) in marks.get(name, ()) for name in names):
            seen.append(str(patient))
    return sorted(seen)


def exclude_overlap(
    split: pd.DataFrame,
    overlap: pd.DataFrame,
    keep_dataset: str,
) -> pd.DataFrame:
    """The split with the patients of `keep_dataset` taken out of the training of other data sets.

    keep_dataset: the data set that is tested on; its own rows in the split stay as they are.
    Validation is cleaned too, because it chooses epochs and thresholds. The patients get the part
    "excluded", so the split still names them; see `excluded_patients`.
    """
    a, b = (
        overlap[overlap["dataset_b"] == keep_dataset],
        overlap[overlap["dataset_a"] == keep_dataset],
    )
    shared = {*zip(a["dataset_a"], a["patient_id"]), *zip(b["dataset_b"], b["patient_id_b"])}
    hit = pd.Series(
        [key in shared for key in zip(split["dataset"], split["patient_id"])],
        index=split.index,
        dtype=bool,
    )
    cleaned = split.copy()
    cleaned.loc[hit & split["part"].isin(["train", "validation"]), "part"] = EXCLUDED
    return cleaned


def assert_disjoint(train_rows: pd.DataFrame, test_rows: pd.DataFrame) -> None:
    """Raise SplitError naming the patients that stand in both sets of index rows.

    Ids are compared, folded, within a data set and within a group of `SHARED_IDS`.
    """
    space = {name: group[0] for group in SHARED_IDS for name in group}

    def people(rows: pd.DataFrame) -> dict[tuple[str, str], tuple[str, str]]:
        """Folded id to the id as it is spelled, each with the group's first data set."""
        return {
            (space.get(name, name), folded_id(patient)): (space.get(name, name), patient)
            for name, patient in zip(rows["dataset"], rows["patient_id"])
        }

    trained, tested = people(train_rows), people(test_rows)
    if both := [spelled for folded, spelled in trained.items() if folded in tested]:
        raise SplitError(
            f"{len(both)} patients stand in the training and in the test rows: {named(both)}. "
            "Take them out of the training part with splits.overlap.exclude_overlap."
        )
