"""Splits by patient, stratified by subtype, written once and hashed.

A split is a table with a row per patient: `dataset, patient_id, part`; folds carry `fold` in place
of `part`, the fold in which the patient is tested. The slice-level split of HGI-SAM's code has a
row per slice and says so in its column `unit`.

Settings of the papers: LSE-UNet `drawn_scans` with its numbers of scans (Section 4); MIL
`make_split` with train 0.97, validation 0.03 (printed_and_authors, 004.12); HGI-SAM `make_folds`
with k 5 and `slice_level_split` with 0.1 (its code on RSNA, 003.15); ResNet-LSTM 70-10-20 in
"3 folds" (002.9): `make_folds` with k 5, `fold_split` of folds 0, 1 and 2 with validation 0.1.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ich_study.atomic import write_csv, write_json
from ich_study.errors import ParameterError, SplitError, first_of
from ich_study.hashing import sha256_lines
from ich_study.manifest import repeat_command
from ich_study.schema import LABELS, SUBTYPES

PATIENT: list[str] = ["dataset", "patient_id"]
SLICE: list[str] = [*PATIENT, "scan_id", "slice_index"]
EXCLUDED = "excluded"
"""Part of the patients that the guard across data sets took out."""
UNUSED = "unused"
"""Part of the patients that a split leaves alone."""
SHOWN = 10
RESTORE = "Restore it, or delete it with everything that was trained on it and run 00_data again."


def named(patients: Iterable[tuple[str, str]]) -> str:
    """The first of (dataset, patient_id) pairs, for an error message."""
    rows = sorted({f"{dataset} {patient}" for dataset, patient in patients})
    return first_of(rows, SHOWN)


def patient_labels(index: pd.DataFrame) -> pd.DataFrame:
    """Per patient, sorted by (dataset, patient_id): bool columns of the subtypes and `any` (a slice
    is positive), `negative` (slices known, none positive)."""
    known = index.groupby(PATIENT, sort=True)[list(LABELS)]
    positive = known.max().fillna(False).astype(bool)[[*SUBTYPES, "any"]]
    positive["any"] = positive.any(axis=1)
    return positive.assign(negative=(known.count() > 0).any(axis=1) & ~positive["any"])


def _quotas(patients: int, fractions: Mapping[str, float]) -> np.ndarray:
    """Patients of each part: largest remainders, and no part empty."""
    exact = np.array([fractions[part] for part in fractions]) * patients
    quota = np.floor(exact + 1e-9).astype(int)
    quota[np.argsort(quota - exact, kind="stable")[: patients - quota.sum()]] += 1
    while (quota == 0).any():
        quota[np.argmax(quota)] -= 1
        quota[np.argmin(quota)] += 1
    return quota


def _assign(labels: np.ndarray, quota: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Part number of each patient; part sizes are exactly `quota`.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, ECML PKDD 2011): patients of the
    rarest label first. Where theirs goes to the part that lacks most of that label, ours goes to
    the one that lacks most of all the patient's labels, each relative to what the part is due:
    otherwise `any` drifts, as it is never the rarest. labels: bool (patients, labels).
    """
    part_of = np.full(len(labels), -1)
    lacking = np.ones((labels.shape[1], len(quota)))
    due = np.outer(np.maximum(labels.sum(0), 1), quota / quota.sum())
    room = quota.astype(float)
    order = rng.permutation(len(labels))
    while (open_labels := labels[part_of < 0].sum(0)).any():
        rarest = int(np.argmin(np.where(open_labels > 0, open_labels, len(labels) + 1)))
        for patient in order[labels[order, rarest] & (part_of[order] < 0)]:
            wish = np.where(room > 0, lacking[labels[patient]].sum(0), -np.inf)
            part = int(np.lexsort((rng.random(len(quota)), -room, -wish))[0])
            part_of[patient] = part
            room[part] -= 1
            lacking[labels[patient], part] -= 1 / due[labels[patient], part]
    rest = order[part_of[order] < 0]
    part_of[rest] = np.repeat(np.arange(len(quota)), room.astype(int))
    return part_of


def _check_fractions(fractions: Mapping[str, float]) -> None:
    if (
        len(fractions) < 2
        or not all(0 < value < 1 for value in fractions.values())
        or abs(sum(fractions.values()) - 1) > 1e-6
    ):
        raise ParameterError(
            f"fractions {dict(fractions)}: expected two parts or more, each between 0 and 1,"
            " together 1"
        )


def make_split(index: pd.DataFrame, fractions: Mapping[str, float], seed: int) -> pd.DataFrame:
    """A split by patient, stratified by subtype within each data set: `dataset, patient_id, part`.

    index: rows of the slice index. fractions: share of the patients of each part, e.g. {"train":
    0.7, "validation": 0.1, "test": 0.2}; no part is left empty. The result depends on the patients,
    their labels and the seed, not on the order of rows. Raises ParameterError for wrong fractions,
    SplitError where a data set has fewer patients than there are parts.
    """
    _check_fractions(fractions)
    split = []
    for dataset, labels in patient_labels(index).groupby(level="dataset", sort=True):
        if len(labels) < len(fractions):
            raise SplitError(
                f"{dataset} has {len(labels)} patients; {len(fractions)} parts"
                f" ({', '.join(fractions)}) need at least as many"
            )
        rng = np.random.default_rng([seed, zlib.crc32(str(dataset).encode())])
        part_of = _assign(labels.to_numpy(dtype=bool), _quotas(len(labels), fractions), rng)
        split.append(
            labels.index.to_frame(index=False).assign(part=np.array(list(fractions))[part_of])
        )
    if not split:
        raise SplitError("the index has no rows to split")
    return pd.concat(split, ignore_index=True).astype("string")


def make_folds(index: pd.DataFrame, k: int, seed: int) -> pd.DataFrame:
    """`k` folds by patient, stratified by subtype: `dataset, patient_id, fold` (0 to k - 1).

    Raises ParameterError for k below 2, SplitError for fewer patients than folds.
    """
    if k < 2:
        raise ParameterError(f"k is {k}; expected two folds or more")
    split = make_split(index, {str(fold): 1 / k for fold in range(k)}, seed)
    return split.rename(columns={"part": "fold"}).astype({"fold": "int64"})


def fold_split(
    index: pd.DataFrame,
    folds: pd.DataFrame,
    fold: int,
    validation_fraction: float = 0.0,
    seed: int = 0,
) -> pd.DataFrame:
    """The split of one fold: its patients are `test`, the others `train` and, where
    `validation_fraction` (of all patients) is above 0, `validation`, stratified.

    index: rows of the patients in `folds`. Raises ParameterError for a fold that does not exist or
    a fraction that leaves no training part.
    """
    share = float((folds["fold"] != fold).mean())
    if share == 1 or not 0 <= validation_fraction < share:
        there = sorted(folds["fold"].unique())
        raise ParameterError(
            f"fold {fold}, validation {validation_fraction}: expected a fold out of {there} and"
            f" less than {share:.2f}"
        )
    tested = folds["fold"] == fold
    split = folds[PATIENT].assign(part=np.where(tested, "test", "train")).astype("string")
    if validation_fraction > 0:
        inner = {
            "train": 1 - validation_fraction / share,
            "validation": validation_fraction / share,
        }
        split = pd.concat([split[tested], make_split(rows_of(index, split, "train"), inner, seed)])
    return split.sort_values(PATIENT, ignore_index=True)


def drawn_scans(index: pd.DataFrame, scans: Mapping[str, int], seed: int) -> pd.DataFrame:
    """Patients drawn at random until each part has its number of scans; the others are `unused`.

    LSE-UNet draws 2,734 scans to train and 89 to validate out of RSNA's 20,000 (Section 4), not
    stratified. A patient's scans stay together, so one with more than a part still lacks waits for
    the next part. Columns `dataset, patient_id, part`. Raises ParameterError for numbers below 1,
    SplitError where the patients at hand do not fill a part exactly.
    """
    if len(scans) < 2 or any(wanted < 1 for wanted in scans.values()):
        raise ParameterError(f"scans {dict(scans)}: expected two parts or more, each at least 1")
    there = index.groupby(PATIENT, sort=True)["scan_id"].nunique()
    drawn = there.iloc[np.random.default_rng(seed).permutation(len(there))]
    part_of = pd.Series(UNUSED, index=drawn.index)
    for part, lacking in scans.items():
        for patient, number in drawn[part_of == UNUSED].items():
            if number <= lacking:
                part_of[patient] = part
                lacking -= number
            if lacking == 0:
                break
        if lacking:
            raise SplitError(
                f"part {part!r} wants {scans[part]} scans, and {lacking} of them cannot be filled:"
                f" there are {there.sum()} scans of {len(there)} patients for {dict(scans)}"
            )
    return part_of.sort_index().rename("part").reset_index().astype("string")


def slice_level_split(index: pd.DataFrame, validation_fraction: float, seed: int) -> pd.DataFrame:
    """The split of HGI-SAM's code on RSNA: slices, not patients, so patients stand in both parts.

    Stratified by the six labels as scikit-learn's `train_test_split` does it there
    (printed_and_authors, 003.15; the code sets no seed). Raises SplitError for too few slices.
    Columns `dataset, patient_id, scan_id, slice_index, part` (train or validation) and `unit` =
    "slice".
    Slices whose labels occur once share one stratum.
    """
    from sklearn.model_selection import train_test_split  # slow to import

    rows = index.sort_values(SLICE, ignore_index=True)
    strata = rows[list(LABELS)].astype("Int8").astype("string").fillna("?").agg("".join, axis=1)
    counts = strata.map(strata.value_counts())
    strata = strata.mask(counts < 2, "rare" if (counts < 2).sum() > 1 else strata.mode()[0])
    try:
        _, held = train_test_split(
            np.arange(len(rows)), test_size=validation_fraction, stratify=strata, random_state=seed
        )
    except ValueError as error:
        raise SplitError(
            f"cannot split {len(rows)} slices {1 - validation_fraction:g} to"
            f" {validation_fraction:g} by their labels: {error}"
        ) from error
    split = rows[SLICE].assign(part="train", unit="slice")
    split.loc[held, "part"] = "validation"
    return split


def leaking_patients(split: pd.DataFrame) -> pd.DataFrame:
    """Patients (dataset, patient_id) that stand in more than one part, or twice in one row unit."""
    place = "part" if "part" in split else "fold"
    parts = split.groupby(PATIENT)[place].nunique()
    twice = split[split.duplicated([name for name in SLICE if name in split])][PATIENT]
    return pd.concat([parts[parts > 1].index.to_frame(index=False), twice]).drop_duplicates(
        ignore_index=True
    )


def assert_no_leak(split: pd.DataFrame) -> None:
    """Raise SplitError naming the patients that stand in two parts, or twice, in a split."""
    leaks = leaking_patients(split)
    if len(leaks):
        raise SplitError(
            f"{len(leaks)} patients stand in more than one part of the split or twice:"
            f" {named(leaks.to_numpy())}"
        )


def rows_of(index: pd.DataFrame, split: pd.DataFrame, part: str) -> pd.DataFrame:
    """Index rows of one part, in the index's order.

    Data sets of the index that the split does not speak of are left out. Raises SplitError naming
    patients of the split that the index lacks, or the other way round, and for an unknown part.
    """
    keys = [name for name in SLICE if name in split]
    if part not in set(split["part"]):
        raise SplitError(f"the split has no part {part!r}; it has {sorted(split['part'].unique())}")
    rows = index[index["dataset"].isin(split["dataset"].unique())]
    have, want = (
        pd.MultiIndex.from_frame(rows[PATIENT].drop_duplicates()),
        pd.MultiIndex.from_frame(split[PATIENT].drop_duplicates()),
    )
    for absent, of, there in (
        (want.difference(have), "split", "index"),
        (have.difference(want), "index", "split"),
    ):
        if len(absent):
            raise SplitError(
                f"{len(absent)} patients of the {of} are not in the {there}: {named(absent)}"
            )
    chosen = pd.MultiIndex.from_frame(split.loc[split["part"] == part, keys])
    return rows[pd.MultiIndex.from_frame(rows[keys]).isin(chosen)].reset_index(drop=True)


def _canonical(split: pd.DataFrame) -> pd.DataFrame:
    columns = [name for name in (*SLICE, "fold", "part", "unit") if name in split]
    if (
        not set(PATIENT) <= set(columns)
        or not {"part", "fold"} & set(columns)
        or set(columns) != set(split)
    ):
        raise SplitError(
            f"not a split: columns {list(split)}; expected dataset, patient_id and part or fold"
        )
    whole = {name: "int64" for name in ("slice_index", "fold") if name in columns}
    typed = split[columns].astype({name: whole.get(name, "string") for name in columns})
    return typed.sort_values(columns, ignore_index=True)


def split_hash(split: pd.DataFrame) -> str:
    """SHA-256 of a split's content, whatever the order of its rows and columns."""
    canonical = _canonical(split)
    return sha256_lines(
        [
            json.dumps(list(canonical)),
            *(json.dumps(list(row)) for row in canonical.astype(object).itertuples(index=False)),
        ]
    )


def _sidecar(path: Path) -> Path:
    return path.with_suffix(".json")


def write_split(path: Path, split: pd.DataFrame) -> str:
    """The split as CSV, once, with its hash and counts in a JSON file beside it; gives the hash.

    Writing the same content again does nothing. Raises SplitError where the file holds another
    split, or where a patient stands in two parts of a split by patient.
    """
    canonical, content = _canonical(split), split_hash(split)
    if "unit" not in canonical:
        assert_no_leak(canonical)
    if path.exists():
        existing = split_hash(_read_csv(path))
        if existing != content:
            raise SplitError(
                f"{path} holds another split (hash {existing[:12]}, new {content[:12]}); splits are"
                " written once. To change one, delete it and everything that was trained on it, or"
                " choose another name."
            )
    else:
        write_csv(path, canonical)
    place = "part" if "part" in canonical else "fold"
    counts = {
        str(name): int(rows) for name, rows in canonical[place].value_counts(sort=False).items()
    }
    write_json(
        _sidecar(path),
        {"hash": content, "unit": "slice" if "unit" in canonical else "patient", "rows": counts},
    )
    return content


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        return _canonical(pd.read_csv(path, dtype="string", keep_default_na=False))
    except (ValueError, OSError, SplitError) as error:
        raise SplitError(f"{path} is no split ({error}). {RESTORE}") from error


def _recorded_hash(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["hash"])
    except (ValueError, OSError, TypeError, KeyError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise SplitError(
            f"{path} does not hold the hash of a split ({reason}). {RESTORE}"
        ) from error


def read_split(path: Path) -> pd.DataFrame:
    """A split that `write_split` wrote.

    Raises SplitError where it is missing, differs from the hash beside it, or lets a patient stand
    in two parts.
    """
    if not path.is_file() or not _sidecar(path).is_file():
        raise SplitError(
            f"no split at {path} with {_sidecar(path).name} beside it; 00_data writes it:"
            f" {repeat_command(path.parents[1], '00_data')}"
        )
    split = _read_csv(path)
    content, recorded = split_hash(split), _recorded_hash(_sidecar(path))
    if recorded != content:
        raise SplitError(
            f"{path} has hash {content[:12]}, {recorded[:12]} says {_sidecar(path).name}: it"
            f" changed since it was written. {RESTORE}"
        )
    if "unit" not in split:
        assert_no_leak(split)
    return split
