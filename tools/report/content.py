"""What the report shows of a folder of runs: the runs, the ledger, the papers' tables, `08`'s
choice; each row with the runs that made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ich_study import paths, trace
from ich_study.errors import StudyError
from ich_study.figures.names import readable
from ich_study.figures.tables import HEADERS
from ich_study.manifest import read_record, run_problem
from ich_study.published import publish
from ich_study.published.beside import load_study_tables

FIGURES, CROSS = "07_figures", "08_cross_benchmark"
NAMES = {
    name: readable(name)
    for name in ("lse_unet", "resnet_lstm", "hgi_sam", "mil_detector", "cam_benchmark")
}
"""What the papers are called here, in the order of the notebooks."""
SHOWN = ("row", "column", "reading", "printed", "ours", "difference")
"""Columns of the long tables of `07_figures` that a reader is shown."""
MOST_LINKS = 6
"""Of a row made of more runs, those of its study are meant."""


@dataclass(frozen=True)
class Run:
    """A run: `name` is its folder below the runs, `record` its run.json, `state` ok or what is
    wrong with it, a sentence."""

    name: str
    folder: Path = field(repr=False)
    record: Mapping[str, Any] = field(repr=False)
    state: str

    @property
    def study(self) -> str:
        """The notebook."""
        return self.name.split("/")[0]

    @property
    def arm(self) -> str:
        """What tells it from other runs of its notebook; the notebook, where it runs once."""
        return self.name.split("/", 1)[-1]

    @property
    def started(self) -> str | None:
        """When it began, ISO 8601."""
        return self.record.get("started")

    @property
    def minutes(self) -> str:
        """How long it took; empty where the record does not say."""
        seconds = self.record.get("seconds")
        return "" if seconds is None else f"{seconds / 60:.1f}"

    @property
    def page(self) -> str:
        """The report's page of its record."""
        return f"runs/{self.name.replace('/', '-')}.html"

    @property
    def notebook(self) -> Path | None:
        """The executed notebook, where it was kept."""
        path = self.folder / f"{self.study}.ipynb"
        return path if path.is_file() else None

    @property
    def notebook_page(self) -> str | None:
        """The report's page of the executed notebook."""
        return f"notebooks/{self.name.replace('/', '-')}.html" if self.notebook else None

    @property
    def commit(self) -> str:
        """The code it ran with, as short as git shows it."""
        return str((self.record.get("git") or {}).get("commit") or "unknown")[:10]

    @property
    def facts(self) -> dict[str, str]:
        """What the record says, as text: the command, times, commit, machine, versions."""
        git, hardware = self.record.get("git") or {}, self.record.get("hardware") or {}
        changed = {True: ", with changes that are not committed", False: ""}
        found = {
            "state": self.state,
            "command": self.record.get("command"),
            "started": self.started,
            "minutes": self.minutes,
            "peak memory, MB": self.record.get("peak_memory_mb"),
            "commit": f"{git.get('commit')}{changed.get(git.get('dirty'), '')}",
            "notebook": f"SHA-256 {self.record.get('notebook_sha256')}",
            "machine": ", ".join(f"{name} {value}" for name, value in hardware.items() if value),
            "versions": ", ".join(
                f"{name} {value}" for name, value in (self.record.get("versions") or {}).items()
            ),
        }
        return {name: str(value) for name, value in found.items() if value}

    @property
    def parameters(self) -> dict[str, str]:
        """Each parameter's value as YAML."""
        return {
            name: yaml.safe_dump(value, allow_unicode=True, sort_keys=False).removesuffix("...\n")
            for name, value in (self.record.get("parameters") or {}).items()
        }

    @property
    def outputs(self) -> list[tuple[str, int, str]]:
        """Path, bytes and SHA-256 (empty for what has none) of the files that it wrote."""
        return [
            (each["path"], each["bytes"], each.get("sha256") or "")
            for each in self.record.get("outputs") or []
        ]

    @property
    def hashes(self) -> list[tuple[str, str, str]]:
        """Kind, name and SHA-256 of the data, splits and weights that it read or wrote."""
        found = []
        for kind, known in (self.record.get("hashes") or {}).items():
            named = known if isinstance(known, Mapping) else {"": known}
            found += [(kind, name, str(value)) for name, value in named.items()]
        return found


@dataclass(frozen=True)
class Row:
    """Cells of a table's row, and the runs that made it."""

    cells: list[str]
    runs: list[Run]


@dataclass(frozen=True)
class Table:
    """A table of a paper, `file` the CSV it is of, `picture` its picture, where there is one."""

    name: str
    title: str
    file: Path
    picture: Path | None
    columns: list[str]
    rows: list[Row]
    empty: int
    """Printed cells without a number of this study; they are left out."""


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper and what became of it."""

    row: Mapping[str, str]
    runs: list[Run]

    @property
    def measured(self) -> bool:
        """Whether any protocol gave a verdict."""
        said = {self.row.get(name, "") for name in ("verdict", "verdict_ours", "verdict_boxes")}
        return not said <= {"not measured", ""}

    @property
    def interval(self) -> str:
        """The interval of the difference that was judged, where there is one."""
        low, high = self.row.get("difference_low"), self.row.get("difference_high")
        return f"[{float(low):.3f}, {float(high):.3f}]" if low and high else ""


class Study:
    """A folder of runs, read once: `runs` in their order, `studies` the runs of each notebook.

    Raises StudyError where nothing has run there.
    """

    def __init__(self, runs: Path) -> None:
        self.folder = runs
        folders = trace.run_folders(runs, later=True) if runs.is_dir() else []
        self.runs = [self._run(folder) for folder in folders]
        if not self.runs:
            raise StudyError(
                f"{runs}: there is no run to report on; run the study first: make study"
                f" SCALE={runs.name}"
            )
        self.by_name = {run.name: run for run in self.runs}
        self.studies: dict[str, list[Run]] = {}
        for run in self.runs:
            self.studies.setdefault(run.study, []).append(run)
        has_numbers = any(runs.rglob(trace.METRICS_FILE))
        self._numbers = trace.numbers_below(runs) if has_numbers else None

    def _run(self, folder: Path) -> Run:
        record = read_record(folder)
        state = run_problem(folder) or ("ok" if record else "unrecorded")
        state = state.replace(f"{self.folder}/", "")
        return Run(folder.relative_to(self.folder).as_posix(), folder, record, state)

    @property
    def synthetic(self) -> bool | None:
        """Whether all data are phantoms; None where `00_data` does not say."""
        try:
            return publish.all_synthetic(self.folder)
        except (OSError, StudyError):
            return None

    @property
    def label(self) -> str:
        """What the data are, for every title."""
        for name in (FIGURES, CROSS):
            run = self.by_name.get(name)
            said = (run.record.get("parameters") or {}).get("data_label") if run else None
            if said:
                return str(said)
        return {True: "synthetic phantom", False: "real scans", None: "unknown data"}[
            self.synthetic
        ]

    @property
    def last(self) -> str:
        """When the last run began."""
        started = [datetime.fromisoformat(run.started) for run in self.runs if run.started]
        return (
            f"{max(started).astimezone(UTC):%d %B %Y, %H:%M} UTC" if started else "nobody says when"
        )

    def read_by(self, run: Run) -> list[tuple[str, str, Run | None]]:
        """What a run read of others: the parameter, the folder, and the run if it is one of
        these."""
        found = []
        for name, text in trace.runs_read(run.record):
            source = paths.resolve(text)
            inside = source.is_relative_to(self.folder)
            known = self.by_name.get(source.relative_to(self.folder).as_posix()) if inside else None
            found.append((name, text, known))
        return found

    def runs_of(self, table: Path, row: pd.Series) -> list[Run]:
        """The runs that made a row of a table."""
        own = self.by_name[table.parent.relative_to(self.folder).as_posix()]
        if own.name != FIGURES or self._numbers is None:
            return [own]
        of_study = self.studies.get(trace.study_of(table, row), [])
        if len(of_study) == 1:  # it ran once, so all its numbers are of that run
            return of_study
        names = [
            each.relative_to(self.folder).as_posix()
            for each in trace.runs_of(table, row, self._numbers)
        ]
        return [self.by_name[name] for name in names if name in self.by_name and name != FIGURES]

    @property
    def ledger(self) -> Path | None:
        """The file of the claims, where `07_figures` has come so far."""
        path = self.folder / FIGURES / "claims.csv"
        return path if path.is_file() and FIGURES in self.by_name else None

    def claims(self) -> dict[str, list[Claim]]:
        """The ledger by paper; empty where there is none."""
        path = self.ledger
        if path is None:
            return {}
        ledger = read_text(path)
        return {
            paper: [
                Claim(row.to_dict(), self.runs_of(path, row))
                for _, row in ledger[ledger["paper"] == paper].iterrows()
            ]
            for paper in NAMES
        }

    def tables(self) -> dict[str, list[Table]]:
        """The papers' tables with our numbers beside the printed ones, by paper, as far as
        `07_figures` made them."""
        known = {
            f"{line.paper}_{line.table}": (line.paper, line.title)
            for line in load_study_tables().itertuples()
        }
        found: dict[str, list[Table]] = {paper: [] for paper in NAMES}
        for name, (paper, title) in known.items():
            file = self.folder / FIGURES / f"{name}_long.csv"
            if file.is_file() and FIGURES in self.by_name:
                found[paper].append(self._table(file, title))
        return found

    def _table(self, file: Path, title: str) -> Table:
        whole = read_text(file)
        measured = whole[whole["ours"] != ""]
        shown = measured[[name for name in SHOWN if (measured[name] != "").any()]]
        rows = [
            Row(list(shown.loc[index]), self.runs_of(file, row))
            for index, row in measured.iterrows()
        ]
        name = file.stem.removesuffix("_long")
        picture = file.with_name(f"{name}.png")
        return Table(
            name,
            title,
            file,
            picture if picture.is_file() else None,
            list(shown.columns),
            rows,
            len(whole) - len(measured),
        )

    def choice(self) -> Table | None:
        """`08`'s table of what to choose by, with its picture of quality against cost."""
        file = self.folder / CROSS / "choose.csv"
        picture = file.with_name("quality_cost.png")
        if CROSS not in self.by_name or not (file.is_file() and picture.is_file()):
            return None
        table = pd.read_csv(file)
        for column in ("dataset", "method"):
            table[column] = table[column].map(readable)
        table = table.rename(columns={"dataset": "data set", **HEADERS})
        texts = table.map(lambda value: value if isinstance(value, str) else number(value))
        rows = [Row(list(row), [self.by_name[CROSS]]) for row in texts.itertuples(index=False)]
        return Table("choose", "Quality against cost", file, picture, list(table.columns), rows, 0)


def read_text(path: Path) -> pd.DataFrame:
    """A table as it is written, every cell as text."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def number(value: float) -> str:
    """A number as a reader wants it: three decimals, none above 10; nothing where it is unknown.

    >>> number(0.12345), number(1234.5), number(float("nan"))
    ('0.123', '1234', '')
    """
    return "" if pd.isna(value) else f"{value:.3f}" if abs(value) < 10 else f"{value:.0f}"
