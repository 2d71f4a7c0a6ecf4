"""Compares two folders of runs, number for number: `python -m tools.compare_runs BEFORE AFTER`.

Tables, arrays, weights and pictures are compared by content. What only a clock decides is left out:
the files of `CLOCK_FILES`, the columns of `CLOCK_COLUMNS`, the keys of `CLOCK_KEYS`, and every row
of a metric of `claims.CLOCK_METRICS`, claims among them. Two runs of one commit on one machine give
0 differences. `--except TEXT` leaves out the table rows of which a cell holds TEXT, for a change
that moves those rows on purpose. Exit codes: 0 no difference, 1 differences, 2 a folder without
files to compare.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ich_study.errors import StudyError
from ich_study.published.claims import CLOCK_METRICS

CLOCK_FILES = frozenset(
    {
        "run.json",
        "run-failed.json",
        "run-earlier.json",
        "recorded.json",
        "cost.csv",
        "milliseconds.csv",
        "trust.png",
        "quality_cost.png",
        "hgi_sam_text_results.png",
    }
)
"""Files of times, or that name their folder; the pictures draw times."""
CLOCK_COLUMNS = frozenset({"seconds", "milliseconds", "milliseconds per slice", "memory_mib"})
"""Columns of tables that hold times, or memory that was looked at from time to time."""
CLOCK_KEYS = frozenset({"seconds", "sources", "fingerprint", "seal"})
"""Keys of JSON files that hold times; of a scan's record those of the files it was built from."""
SKIPPED_SUFFIXES = frozenset({".ipynb", ".lock"})
TABLE_SUFFIXES = frozenset({".csv", ".parquet"})
ARRAY_SUFFIXES = frozenset({".npy", ".npz", ".pt", ".safetensors"})


def comparable_files(run: Path) -> dict[str, Path]:
    """Files below a folder that are compared, by their path in it; hidden ones are left out.

    Raises StudyError where there is none.
    """
    files = {}
    for path in sorted(run.rglob("*")):
        skipped = path.name in CLOCK_FILES or path.suffix in SKIPPED_SUFFIXES
        if path.is_file() and not skipped and not path.name.startswith("."):
            files[path.relative_to(run).as_posix()] = path
    if not files:
        raise StudyError(f"{run}: expected a folder of finished runs, found no file to compare")
    return files


def read_table(path: Path, left_out: str | None = None) -> pd.DataFrame:
    """A CSV or Parquet table as text, cell by cell as it was written, without what clocks decide.

    left_out: rows of which a cell holds this text are dropped.
    """
    if path.suffix == ".parquet":
        table = pd.read_parquet(path).map(str).astype(str)
    else:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table = table.drop(columns=[name for name in table if name in CLOCK_COLUMNS])
    if "metric" in table:
        table = table[~table["metric"].isin(CLOCK_METRICS)]
    if left_out is not None:
        names_it = np.zeros(len(table), bool)
        for column in table:
            names_it |= table[column].str.contains(left_out, regex=False).to_numpy(bool)
        table = table[~names_it]
    return table.reset_index(drop=True)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by name; of a training state, the network's weights.

    A training state keeps them below a key `model`, at any depth.
    """
    if path.suffix == ".npy":
        return {"array": np.load(path)}
    if path.suffix == ".npz":
        with np.load(path) as archive:
            return dict(archive)
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        return load_file(path)
    import torch

    state = torch.load(path, map_location="cpu", weights_only=True)
    return {name: tensor.numpy() for name, tensor in _weights(state)}


def _weights(state: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and tensors of every dictionary `model` in a nested training state."""
    for key, content in state.items():
        if key == "model":
            yield from content.items()
        elif isinstance(content, dict):
            yield from _weights(content)


def table_difference(before: pd.DataFrame, after: pd.DataFrame) -> str:
    """What differs between two tables of text, in words; empty where nothing does."""
    if list(before) != list(after):
        missing, added = sorted(set(before) - set(after)), sorted(set(after) - set(before))
        return f"columns: without {missing}, new {added}" if missing or added else "column order"
    if len(before) != len(after):
        return f"{len(before)} rows, then {len(after)}"
    unequal = before != after
    if not unequal.to_numpy().any():
        return ""
    rows = unequal.any(axis="columns")
    columns = [name for name in before if unequal[name].any()]
    return (
        f"{int(rows.sum())} of {len(rows)} rows in {', '.join(columns)}"
        f"{_largest(before[unequal], after[unequal])}"
    )


def _largest(before: pd.DataFrame, after: pd.DataFrame) -> str:
    """`, largest change 0.02` where cells that differ are numbers; other cells are missing."""
    numbers = [table.apply(pd.to_numeric, errors="coerce").to_numpy() for table in (before, after)]
    change = np.abs(numbers[1] - numbers[0])
    return "" if np.isnan(change).all() else f", largest change {np.nanmax(change):.3g}"


def array_difference(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> str:
    """What differs between two sets of named arrays, in words; empty where nothing does."""
    if before.keys() != after.keys():
        return f"arrays {sorted(before.keys() ^ after.keys())[:5]} stand in one of them only"
    unequal = [name for name in before if not _same(before[name], after[name])]
    if not unequal:
        return ""
    return f"{len(unequal)} of {len(before)} arrays, first {unequal[0]}"


def _same(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether two arrays have one type, one shape and one content, bit for bit."""
    alike = before.dtype == after.dtype and before.shape == after.shape
    return alike and before.tobytes() == after.tobytes()


def file_difference(before: Path, after: Path, left_out: str | None = None) -> str:
    """What differs between two files of one name, in words; empty where nothing does."""
    if before.suffix in TABLE_SUFFIXES:
        return table_difference(read_table(before, left_out), read_table(after, left_out))
    if before.suffix in ARRAY_SUFFIXES:
        return array_difference(read_arrays(before), read_arrays(after))
    if before.suffix == ".json":
        same = _without_clocks(before) == _without_clocks(after)
    else:
        same = before.read_bytes() == after.read_bytes()
    return "" if same else "content"


def _without_clocks(path: Path) -> Any:
    """A JSON file's content without the keys that hold times."""

    def untimed(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {key: value for key, value in pairs if key not in CLOCK_KEYS}

    return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=untimed)


def compare(before: Path, after: Path, left_out: str | None = None) -> tuple[int, list[str]]:
    """Number of files compared, and a line for each that differs or that one folder lacks."""
    old, new = comparable_files(before), comparable_files(after)
    lines = [f"only before: {name}" for name in sorted(old.keys() - new.keys())]
    lines += [f"only after: {name}" for name in sorted(new.keys() - old.keys())]
    common = sorted(old.keys() & new.keys())
    for name in common:
        difference = file_difference(old[name], new[name], left_out)
        if difference:
            lines.append(f"differs: {name}: {difference}")
    return len(common), lines


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.compare_runs", description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--except", dest="left_out", metavar="TEXT")
    chosen = parser.parse_args(arguments)
    try:
        compared, lines = compare(chosen.before, chosen.after, chosen.left_out)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{compared} files compared, {len(lines)} differences", *lines, sep="\n")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
