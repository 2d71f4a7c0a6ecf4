"""What a person sees of a run while it runs: one line per event, and the rest in the run's log."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ich_study.atomic import write_json
from ich_study.manifest import LOG_NAME, read_record

_BAR = re.compile(r"\[\d+:\d\d(:\d\d)?[<,]")
"""The clock that every progress bar of tqdm carries: `[00:12<00:31, ...]`."""
_MOVES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
"""What moves the cursor, as one bar above another does."""


class Progress:
    """Prints lines on standard error, each with the run's name and seconds, and keeps them in the
    run's log with all that the notebook, its kernel and papermill say."""

    def __init__(self, notebook: str, folder: Path) -> None:
        self.title, self.log = title(notebook, folder), folder / LOG_NAME
        self.started = time.monotonic()
        self._rest = ""
        self.log.write_text("", encoding="utf-8")

    def say(self, text: str) -> None:
        """One event, for the terminal and the log."""
        line = f"[{self.title} {time.monotonic() - self.started:.0f} s] {text}"
        with suppress(OSError):  # the terminal may be closed; the record is still to be written
            print(line, file=sys.stderr, flush=True)
        self.note(line)

    def note(self, line: str) -> None:
        """One line for the log alone."""
        with self.log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{line.rstrip()}\n")

    def write(self, text: str) -> None:
        """What the notebook prints, as to a file: it goes to the log by whole lines."""
        *lines, self._rest = re.split(r"[\r\n]", self._rest + text)
        for line in (_MOVES.sub("", line) for line in lines):
            if line.strip():
                self.note(f"  {line}")

    def flush(self) -> None:
        """Nothing to do: `note` flushes every line."""


def title(notebook: str, folder: Path) -> str:
    """A run's name in a line.

    >>> title("01_backbones", Path("runs/smoke/01_backbones/cam_final"))
    '01/cam_final'
    >>> title("02_lse_unet", Path("runs/smoke/02_lse_unet"))
    '02_lse_unet'
    """
    return notebook if folder.name == notebook else f"{notebook.split('_')[0]}/{folder.name}"


def without_bars(text: str) -> str:
    r"""What a notebook writes on standard error besides progress bars.

    >>> without_bars("\rmaps:  50%|#####     | 5/10 [00:02<00:02, 2it/s]\r     \rWarning: x\n")
    'Warning: x\n'
    """
    parts = re.split(r"([\r\n])", text)
    kept = ""
    for part, end in zip(parts[::2], [*parts[1::2], ""]):
        if _MOVES.sub("", part).strip() and not _BAR.search(part):
            kept += part + end
    return kept


def write_schedule(path: Path, minutes: Mapping[str, float], at_once: int) -> None:
    """Note which runs are to be done, before the first of them starts.

    minutes: by run folder, relative to `path`'s: what a run may take, where it never was done.
    at_once: runs that go on together.
    """
    seconds = {}
    for folder, most in minutes.items():
        earlier = read_record(path.parent / folder)
        done = earlier.get("status") == "ok"
        seconds[folder] = float(earlier["seconds"]) if done else 60.0 * most
    now = datetime.now(UTC).timestamp()
    write_json(path, {"started": now, "at_once": at_once, "seconds": seconds})


def remaining(path: Path) -> str:
    """How many of the planned runs are done and how long the others take, for a person.

    A run is expected to take its planned seconds times what the finished ones took of theirs;
    before one has finished nobody knows. `at_once` run together, and none faster than alone.
    """
    schedule = json.loads(path.read_text(encoding="utf-8"))
    expected, done, taken, waiting = schedule["seconds"], 0, [], []
    now = datetime.now(UTC).timestamp()
    for folder, seconds in expected.items():
        record = _record(path.parent / folder, schedule["started"])
        if record is None:
            waiting.append((seconds, 0.0))
        elif record["status"] == "begun":
            waiting.append((seconds, now - datetime.fromisoformat(record["started"]).timestamp()))
        else:
            done += 1
            taken.append((seconds, record["seconds"]))
    said = f"{done} of {len(expected)} runs"
    if not taken or not waiting:
        return said
    pace = sum(real for _, real in taken) / sum(planned for planned, _ in taken)
    left = [max(pace * seconds - since, 0.0) for seconds, since in waiting]
    minutes = max(sum(left) / schedule["at_once"], max(left)) / 60
    return f"{said}, about {max(round(minutes), 1)} min left"


def _record(folder: Path, since: float) -> dict[str, Any] | None:
    """The record of a run that began after `since` (seconds since the epoch), or None."""
    record = read_record(folder)
    with suppress(ValueError, KeyError, TypeError):
        if datetime.fromisoformat(record["started"]).timestamp() >= since - 1:
            return record
    return None
