"""Headline results of a scale from several seeds: `python -m tools.seeds open 2 3`.

`params/<scale>/seeds/headlines.yaml` names runs, and rows of their tables as headlines. The
scale's own runs are the first draw; each further seed trains the named runs anew below
`runs/<scale>-seeds/<seed>`, on the same patients, and a run that has ended is kept. Written are
`figures/<scale>/seeds.csv`, a row per headline and seed, with its patient-bootstrap interval, and
`seed_rows.csv` beside it, of the further seeds every value that a claim or a printed table reads.
An interval says what other patients would change, the seeds what another draw of weights would,
which `07_figures` (`seeds_table`) sets under the gains. The records of the seeds' runs are copied
too, so that `ich_study.trace` answers for these rows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ich_study.atomic import write_csv
from ich_study.errors import ParameterError, RunError, StudyError
from ich_study.evaluate.results import (
    METRICS_FILE,
    SEED_ROWS_FILE,
    TEXT_COLUMNS,
    collect_results,
)
from ich_study.manifest import RUN_NAME, run_problem
from ich_study.paths import project_root
from ich_study.published.claims import CLOCK_METRICS
from ich_study.published.noise import key_of, read_rows
from ich_study.published.publish import published_record, rounded
from ich_study.schema import RESULT_COLUMNS
from ich_study.trace import SEEDS

SEED = "SEED"
"""Stands for the seed in the changes of a run."""


def with_seed(value: Any, seed: int) -> Any:
    """The value with SEED replaced: the number itself, or within a text."""
    if isinstance(value, Mapping):
        return {name: with_seed(each, seed) for name, each in value.items()}
    if isinstance(value, list):
        return [with_seed(each, seed) for each in value]
    if isinstance(value, str):
        return seed if value == SEED else value.replace(SEED, str(seed))
    return value


def command_of(scale: str, run: str, changes: Mapping[str, Any], seed: int) -> list[str]:
    """The command of one run from another seed: the scale's own files, then the changes."""
    notebook, _, arm = run.partition("/")
    files = [f"params/{scale}/{notebook}.yaml"] + ([f"params/{scale}/{run}.yaml"] if arm else [])
    command = [sys.executable, "-m", "ich_study.run", notebook]
    for file in files:
        command += ["-f", file]
    for name, value in with_seed(changes, seed).items():
        command += ["-p", name, json.dumps(value)]
    return [*command, "-p", "output_dir", json.dumps(f"runs/{scale}-seeds/{seed}/{run}")]


def headline(scale: str, row: Mapping[str, Any], folder: Path) -> dict[str, object]:
    """One row of the table of `folder` that `row` describes.

    Raises ParameterError unless exactly one row has the named columns.
    """
    table = pd.read_csv(folder / METRICS_FILE, dtype=TEXT_COLUMNS)
    for column, value in row["where"].items():
        table = table[table[column] == value]
    if len(table) != 1:
        raise ParameterError(
            f"{folder / 'metrics.csv'}: expected one row with {dict(row['where'])}, found"
            f" {len(table)}; the headlines of scale {scale} name it"
        )
    # a depth that validation patients chose is a result, and another one from seed to seed
    layer = row["where"].get("layer")
    return {"what": row["what"], "run": row["run"], **table.iloc[0].to_dict(), "layer": layer}


def gathered(scale: str, seeds: Sequence[int], train: bool = True) -> pd.DataFrame:
    """The headlines of the scale's own runs and of each seed; missing runs are trained first.

    Raises RunError for a run that fails, StudyError for a record that is not sound.
    """
    root = project_root()
    said = yaml.safe_load((root / f"params/{scale}/seeds/headlines.yaml").read_text())
    folders = [root / f"runs/{scale}"]
    for seed in seeds:
        folders.append(root / f"runs/{scale}-seeds/{seed}")
        for run, changes in said["runs"].items():
            record = folders[-1] / run / RUN_NAME
            if train and not (record.is_file() and run_problem(record.parent) is None):
                command = command_of(scale, run, changes, seed)
                if subprocess.run(command, cwd=root, check=False).returncode:
                    raise RunError(
                        f"seed {seed} of {run} failed; its run.log is in {record.parent}"
                    )
    rows = []
    for folder in folders:
        for row in said["headlines"]:
            problem = run_problem(folder / row["run"])
            if problem is not None:
                raise RunError(problem)
            rows.append(headline(scale, row, folder / row["run"]))
    return pd.DataFrame(rows)


def gathered_rows(scale: str, seeds: Sequence[int]) -> pd.DataFrame:
    """Columns `run` and RESULT_COLUMNS: of each seed the rows that `07_figures` reads of the
    scale's own runs, values alone, to published digits; times of a clock left out."""
    root = project_root()
    said = yaml.safe_load((root / f"params/{scale}/seeds/headlines.yaml").read_text())
    read = read_rows(rounded(collect_results(root / f"runs/{scale}")))
    tables = []
    for seed in seeds:
        for run in said["runs"]:
            path = root / f"runs/{scale}-seeds/{seed}" / run / METRICS_FILE
            if not path.is_file():
                raise RunError(f"{path} is missing; run tools.seeds without --table-only")
            table = rounded(pd.read_csv(path, dtype=TEXT_COLUMNS)).assign(run=run)
            table = table[~table["metric"].isin(CLOCK_METRICS)]
            tables.append(table[[key_of(row) in read for row in table.to_dict("records")]])
    rows = pd.concat(tables, ignore_index=True).reindex(columns=["run", *RESULT_COLUMNS])
    return rows.assign(ci_low=None, ci_high=None, interval=None)


def publish_records(scale: str, seeds: Sequence[int]) -> None:
    """The record of each seed's runs into `figures/<scale>/seeds`."""
    for seed in seeds:
        folder = project_root() / f"runs/{scale}-seeds/{seed}"
        for record in sorted(folder.rglob(RUN_NAME)):
            place = project_root() / f"figures/{scale}" / SEEDS / str(seed)
            published_record(record, place / record.relative_to(folder))


def side_by_side(table: pd.DataFrame) -> str:
    """A line of Markdown per headline: the values of the seeds, then each one's interval."""
    lines = []
    for what, rows in table.groupby("what", sort=False):
        values = []
        for row in rows.itertuples():
            values.append(f"{row.value:.3f} [{row.ci_low:.3f}, {row.ci_high:.3f}]")
        lines.append(f"| {what} | {'; '.join(values)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 done, 1 a run failed or a row is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scale")
    parser.add_argument("seeds", type=int, nargs="+", help="beside the scale's own")
    parser.add_argument("--table-only", action="store_true", help="train nothing")
    asked = parser.parse_args(arguments)
    try:
        table = gathered(asked.scale, asked.seeds, not asked.table_only)
        rows = gathered_rows(asked.scale, asked.seeds)
    except StudyError as error:
        print(error, file=sys.stderr)
        return 1
    figures = project_root() / f"figures/{asked.scale}"
    write_csv(figures / f"{SEEDS}.csv", table)
    write_csv(figures / SEED_ROWS_FILE, rows)
    publish_records(asked.scale, asked.seeds)
    print(side_by_side(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
