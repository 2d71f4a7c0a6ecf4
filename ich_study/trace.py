"""Which run made a number: `python -m ich_study.trace figures/phantom/07_figures/claims.csv 3`.

TABLE is a table of a finished run, or its published copy; ROW the number of a row, counted from 1
below the header. For each run behind the row it prints where it lies and whether it is sound, the
command that made it, commit, parameters, hashes of data, splits and weights, and the runs it read.
A table of `07_figures` is made of other runs' numbers; those are meant whose study, method, class
and so on are the row's. A row of `seeds.csv` or `seed_rows.csv` (`tools.seeds`) names its run and
seed. Exit codes: 0 answered, 2 no such table, row or record.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ich_study import paths
from ich_study.errors import StudyError
from ich_study.evaluate.results import METRICS_FILE, SEED_ROWS_FILE, TEXT_COLUMNS
from ich_study.manifest import FAILED_NAME, RUN_NAME, read_record, recorded, run_problem
from ich_study.published.beside import load_study_tables
from ich_study.published.lookup import parse_selector

FIGURES = "07_figures"
SEEDS = "seeds"
"""`seeds.csv` of a scale, and the folder beside it with the records of its seeds' runs."""
MATCHED = ("study", "method", "variant", "class", "metric", "layer", "dataset", "seed")
"""Columns of the result table by which a row of `07_figures` finds the numbers it is made of."""
SHOWN = ("command", "started", "git", "parameters", "hashes", "licences")


def run_folders(runs: Path, later: bool = False) -> list[Path]:
    """Folders below `runs` that hold a run of a notebook that `07_figures` reads: a record, or a
    result table that nobody recorded. later: of the other notebooks too, which may be running."""
    folders = {path.parent for name in (RUN_NAME, FAILED_NAME) for path in runs.rglob(name)}
    for path in runs.rglob(METRICS_FILE):
        if not any(path.is_relative_to(folder) for folder in folders):
            folders.add(path.parent)
    return sorted(
        each for each in folders if later or each.relative_to(runs).parts[:1] < (FIGURES,)
    )


def run_table(runs: Path) -> pd.DataFrame:
    """The runs below a folder: `run`, `state` (ok, unrecorded, or what is wrong, a sentence),
    `commit`, and `other_data`, the data sets whose hash is not that of `00_data` there."""
    folders = run_folders(runs)
    reference = _data_hashes(runs / "00_data")
    rows = []
    for folder in folders:
        record = read_record(folder)
        problem = run_problem(folder)
        hashes = _data_hashes(folder)
        other = [name for name, found in hashes.items() if reference.get(name, found) != found]
        state = problem or ("ok" if record else "unrecorded")
        commit = str((record.get("git") or {}).get("commit"))[:10]
        name = folder.relative_to(runs).as_posix()
        rows.append({"run": name, "state": state, "commit": commit, "other_data": ", ".join(other)})
    return pd.DataFrame(rows, columns=["run", "state", "commit", "other_data"])


def check_runs(runs: Path, required: Sequence[str]) -> pd.DataFrame:
    """`run_table`; StudyError naming runs that failed or changed, and notebooks of `required`
    without a run."""
    table = run_table(runs)
    wrong = table[~table["state"].isin(["ok", "unrecorded"])]
    there = {name.split("/")[0] for name in table["run"]}
    there |= {"00_data"} if (runs / "00_data" / "summary.csv").is_file() else set()
    missing = [name for name in required if name not in there]
    said = [*wrong["state"], *(f"{runs / name}: there is no run of it" for name in missing)]
    if said:
        raise StudyError(
            "\n".join([*said, "Run these again (snakemake), remove them, or name other runs_dir"])
        )
    return table


def _data_hashes(folder: Path) -> dict[str, str]:
    hashes = read_record(folder).get("hashes") or recorded(folder)
    found = hashes.get("data")
    return found if isinstance(found, dict) else {}


def numbers_below(runs: Path) -> pd.DataFrame:
    """All result tables below a folder with the column `run`, where each number lies; the columns
    MATCHED as text. StudyError where there is none."""
    numbers = [
        pd.read_csv(path, dtype=TEXT_COLUMNS).assign(run=path.parent.relative_to(runs).as_posix())
        for path in sorted(runs.rglob(METRICS_FILE))
    ]
    if not numbers:
        raise StudyError(f"there is no {METRICS_FILE} below {runs}")
    found = pd.concat(numbers, ignore_index=True)
    return found.astype(dict.fromkeys(MATCHED, "string"))


def runs_of(table: Path, row: pd.Series, numbers: pd.DataFrame | None = None) -> list[Path]:
    """Folders of the runs that made a row of a table; StudyError where no run is known.

    numbers: of `numbers_below`, where many rows are asked for.
    """
    if table.name in (f"{SEEDS}.csv", SEED_ROWS_FILE):
        return [_run_of_seed(table, row)]
    own = next((folder for folder in table.parents if (folder / RUN_NAME).is_file()), None)
    if FIGURES not in table.parts[-2:]:
        if own is None:
            raise StudyError(f"{table}: no {RUN_NAME} in its folder or above; nobody recorded it")
        return [own]
    runs = table.parent.parent
    found = numbers_below(runs) if numbers is None else numbers
    for column, values in _wanted(table, row).items():
        kept = found[found[column].isin(values)]
        found = kept if len(kept) else found
    return [table.parent, *(runs / run for run in sorted(found["run"].unique()))]


def _run_of_seed(table: Path, row: pd.Series) -> Path:
    """The folder with the record of a row's seed: the scale's own run, or one below SEEDS."""
    own, other = table.parent / row["run"], table.parent / SEEDS / str(row["seed"]) / row["run"]
    if (other / RUN_NAME).is_file():
        return other
    if (own / METRICS_FILE).is_file() and row["seed"] in set(pd.read_csv(own / METRICS_FILE).seed):
        return own
    raise StudyError(f"{table}: expected the record of its run in {other}; run tools.seeds again")


def _wanted(table: Path, row: pd.Series) -> dict[str, list[str]]:
    """Column of the result table -> values, of the numbers that a row of `07_figures` is made
    of."""
    wanted = {"study": [study_of(table, row)]}
    for column in MATCHED[1:]:
        if column in row and not pd.isna(row[column]) and row[column] != "":
            wanted[column] = str(row[column]).split(" - ")
    methods = [str(row[side]) for side in ("first", "second") if side in row]  # of a difference
    for side in ("left", "right"):  # of a claim
        text = str(row.get(side, ""))
        methods += parse_selector(text).get("method", ()) if "=" in text else ()
    wanted["method"] = [*wanted.get("method", []), *methods]
    return {column: values for column, values in wanted.items() if values}


def study_of(table: Path, row: pd.Series) -> str:
    """The notebook whose numbers a row of `07_figures` is made of."""
    return str(row["study"] if "study" in row else _studies().get(table.stem, "01_backbones"))


@cache
def _studies() -> dict[str, str]:
    lines = load_study_tables()
    names = lines["paper"] + "_" + lines["table"]
    studies = [parse_selector(text)["study"][0] for text in lines["ours"]]
    return dict(zip(reversed(names), reversed(studies)))


def described(folder: Path) -> Iterator[str]:
    """Lines on one run: what its record says, and the runs it read."""
    record = read_record(folder)
    yield f"run: {folder}"
    yield f"state: {run_problem(folder) or ('ok' if record else 'unrecorded')}"
    shown = {key: record[key] for key in SHOWN if record.get(key)}
    yield yaml.safe_dump(shown, sort_keys=False, allow_unicode=True).rstrip()
    for name, text in runs_read(record):
        source = paths.project_root() / text
        commit = (read_record(source).get("git") or {}).get("commit")
        yield f"read: {text} ({name}), {run_problem(source) or 'ok'}, commit {commit}"


def runs_read(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The parameters of a run that name the folder of another one, and that folder."""
    for name, value in (record.get("parameters") or {}).items():
        for text in value if isinstance(value, list) else [value]:
            source = paths.project_root() / text if isinstance(text, str) and text else None
            if name != "output_dir" and source is not None and (source / RUN_NAME).is_file():
                yield name, text


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ich_study.trace",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", type=Path)
    parser.add_argument("row", type=int)
    chosen = parser.parse_args(arguments)
    try:
        table, row = chosen.table.resolve(), _row(chosen.table, chosen.row)
        lines = ["row: " + json.dumps(row.to_dict(), default=str)]
        for folder in runs_of(table, row):
            lines += ["", *described(folder)]
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


def _row(path: Path, number: int) -> pd.Series:
    try:
        reader = pd.read_parquet if path.suffix == ".parquet" else pd.read_csv
        table = reader(path)
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} is no table that can be read: {error}") from error
    if not 1 <= number <= len(table):
        raise StudyError(f"{path} has rows 1 to {len(table)}, not {number}")
    return table.iloc[number - 1]


if __name__ == "__main__":
    sys.exit(main())
