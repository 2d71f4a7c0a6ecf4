"""Errors for a person: what was expected, what was found, in which file, what to do."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

RUN_LOG = "ICH_STUDY_LOG"
"""Environment variable, set by the runner: the file that takes a run's log."""


def first_of(items: Sequence[str], shown: int) -> str:
    """The first of many, for a message.

    >>> first_of(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = len(items) - shown
    return ", ".join(items[:shown]) + (f" and {more} more" if more > 0 else "")


class StudyError(Exception):
    """Base of every error the study raises on purpose."""

    def __str__(self) -> str:
        """The message; bytes of a file name that are no UTF-8 are written out, as text with them
        can be neither printed nor put into a notebook."""
        return super().__str__().encode("utf-8", "backslashreplace").decode()


class InputError(StudyError):
    """Base of what is wrong with what a user gave: a run that meets it ends with exit code 2.

    A notebook shows its sentence alone; the traceback goes to the run's log.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of this error."""
        if RUN_LOG in os.environ:
            with Path(os.environ[RUN_LOG]).open("a", encoding="utf-8") as log:
                traceback.print_exception(self, file=log)
        return [f"{type(self).__name__}: {self}"]


class ParameterError(InputError):
    """A parameter is unknown, missing, mistyped or out of range."""


class DataError(InputError):
    """A file or folder of a data set is missing, unreadable or contradicts its documentation."""


class SplitError(InputError):
    """A patient would stand in two parts of a split, or a split no longer matches its hash."""


class WeightsError(InputError):
    """A checkpoint is absent, has another hash, or does not fit the network it was asked for."""


class RunError(InputError):
    """A run or a training that is to be read or gone on with failed, is damaged or has changed."""


class OtherRunError(RunError):
    """A folder holds the state of a run with other settings, another network or other slices."""


class MapError(StudyError):
    """A heatmap is empty or not finite where the method must give one."""


def require_known(
    name: str, value: str, known: Iterable[str], error: type[StudyError] = ParameterError
) -> None:
    """Raises `error` unless `value`, called `name` in the message, is one of `known`.

    >>> require_known("unit", "slice", ("pixel", "slice"))
    """
    names = list(known)
    if value not in names:
        raise error(f"{name} is {value!r}; expected one of {', '.join(names)}")
