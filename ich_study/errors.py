"""Errors for a person: what was expected, what was found, in which file, what to do."""

from __future__ import annotations


class StudyError(Exception):
    """Base of every error the study raises on purpose."""

    def __str__(self) -> str:
        """The message; bytes of a file name that are no UTF-8 are written out, as text with them
        can be neither printed nor put into a notebook."""
        return super().__str__().encode("utf-8", "backslashreplace").decode()


class ParameterError(StudyError):
    """A parameter is unknown, missing, mistyped or out of range."""


class DataError(StudyError):
    """A file or folder of a data set is missing, unreadable or contradicts its documentation."""


class SplitError(StudyError):
    """A patient would stand in two parts of a split, or a split no longer matches its hash."""


class WeightsError(StudyError):
    """A checkpoint is absent, has another hash, or does not fit the network it was asked for."""


class MapError(StudyError):
    """A heatmap is empty or not finite where the method must give one."""
