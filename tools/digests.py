"""Digests of the tables of the finished `smoke` study: `python -m tools.digests`.

CI fails where one moved; `make digests` writes them anew, on purpose, with a commit message that
says what moved. Three things are kept of a table. Its form is the same everywhere: the columns and,
of a result table, which measures it holds in which unit. Its headlines are nearly so: rounded
numbers with a wide tolerance, `tools.headlines`. Its content is not: networks trained on another
processor differ in their last bits, and after some epochs in more, even where both processors call
themselves alike. So CI compares form and headlines, and content only of the splits, which count
patients and round nothing. A smaller change is found by `--exact`, which compares all content: for
one machine, before and after a change that means to move no number (two runs there give equal
tables). Exit codes: 0 agreed, 1 moved, 2 nothing to compare.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import torch

from ich_study import manifest
from ich_study.atomic import write_json
from ich_study.errors import StudyError
from ich_study.hashing import sha256_lines
from ich_study.schema import RESULT_COLUMNS
from tools.compare_runs import TABLE_SUFFIXES, comparable_files, read_table
from tools.headlines import Headlines, headlines_of, moved_headlines

ROOT = Path(__file__).resolve().parents[1]
COMMITTED = ROOT / "tests" / "smoke_digests.json"
RUNS = ROOT / "runs" / "smoke"
MEASURES = ("study", "metric", "unit")
"""Of a result table what no processor decides. Which layer is best, whether a class was ever called
or an interval exists may turn on a trained weight, and with it which rows there are."""
SPLITS = "00_data/splits/"


class Digest(TypedDict):
    """SHA-256 of a table: `content` of all its cells, `form` of what no processor decides, the
    columns and, of a result table, which measures it holds; and its headlines."""

    content: str
    form: str
    headlines: Headlines


def machine() -> dict[str, str]:
    """What decides the last bits of a number computed here: processor, instructions, torch."""
    return {
        "cpu": manifest.hardware()["cpu"],
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__.split("+")[0],
    }


def table_digest(name: str, path: Path) -> Digest:
    """What is kept of a table. name: its path in the folder of runs."""
    table = read_table(path)
    is_result = tuple(table.columns) == RESULT_COLUMNS
    form = table.head(0)
    if is_result:
        form = table[list(MEASURES)].drop_duplicates().sort_values(list(MEASURES))
    return {
        "content": sha256_lines([table.to_csv(index=False)]),
        "form": sha256_lines([",".join(table.columns), form.to_csv(index=False)]),
        "headlines": headlines_of(name, table),
    }


def digests(runs: Path) -> dict[str, Digest]:
    """The digest of every table below a folder of finished runs, by its path in it.

    Raises StudyError where there is no file.
    """
    files = comparable_files(runs)
    return {
        name: table_digest(name, path)
        for name, path in files.items()
        if path.suffix in TABLE_SUFFIXES
    }


def moved(committed: dict[str, Digest], found: dict[str, Digest], exact: bool) -> list[str]:
    """A line for each table that is missing, new, or whose form, or exactly content, moved, and for
    each headline that did."""
    lines = [f"missing: {name}" for name in sorted(committed.keys() - found.keys())]
    lines += [f"new: {name}" for name in sorted(found.keys() - committed.keys())]
    for name in sorted(committed.keys() & found.keys()):
        before, now = committed[name], found[name]
        kind = "content" if exact or name.startswith(SPLITS) else "form"
        if before[kind] != now[kind]:
            lines.append(f"{kind} moved: {name}")
        lines += moved_headlines(name, before["headlines"], now["headlines"])
    return lines


def check(committed_file: Path, runs: Path, exact: bool = False) -> int:
    """Compares the tables of `runs` with the committed digests and says what moved."""
    committed = json.loads(committed_file.read_text(encoding="utf-8"))
    kind, found = "content" if exact else "form and headlines", digests(runs)
    lines = moved(committed["tables"], found, exact)
    print(f"{len(found)} tables, their {kind} compared with {committed_file.name}")
    if exact and machine() != committed["machine"]:
        print(f"the digests were written on {committed['machine']}, this is {machine()}")
    if lines:
        print(*lines, sep="\n")
        print("If this was meant: `make digests`, and say in the commit what moved and why.")
    return int(bool(lines))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.digests", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the digests anew")
    parser.add_argument("--exact", action="store_true", help="compare every table's content")
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--file", type=Path, default=COMMITTED)
    chosen = parser.parse_args(arguments)
    try:
        if not chosen.write:
            return check(chosen.file, chosen.runs, chosen.exact)
        tables = digests(chosen.runs)
    except (StudyError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    write_json(chosen.file, {"machine": machine(), "tables": tables})
    print(f"{len(tables)} tables written to {chosen.file.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
