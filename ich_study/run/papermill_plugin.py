"""What papermill, called directly, knows of a notebook's parameters: as much as our own command.

Papermill reads a parameters cell line by line. It does not read `X | None`, warns of such
parameters as unknown, and skips a comment that stands above its parameter. It loads this module by
the entry point `papermill.engine`, the one that lets a package add to it.
"""

from __future__ import annotations

from nbformat import NotebookNode
from papermill.engines import NBClientEngine
from papermill.models import Parameter
from papermill.translators import PythonTranslator, papermill_translators

from ich_study.errors import ParameterError
from ich_study.params import declared_in


class WholeParameters(PythonTranslator):
    """Papermill's translator of Python, with every parameter that a cell declares."""

    @classmethod
    def inspect(cls, parameters_cell: NotebookNode) -> list[Parameter]:
        """Name, type, default and meaning; as papermill finds them where a cell is not of our form
        (another project's notebook)."""
        try:
            found = declared_in(parameters_cell["source"], "this notebook").values()
        except ParameterError:
            return super().inspect(parameters_cell)
        return [
            Parameter(
                each.name,
                each.annotation,
                "required" if each.required else repr(each.default),
                each.meaning,
            )
            for each in found
        ]


papermill_translators.register("python", WholeParameters)


class StudyEngine(NBClientEngine):
    """Papermill's own engine: an entry point must name one."""
