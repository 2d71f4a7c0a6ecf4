"""Markdown and executed notebooks as HTML that needs no network: formulas become MathML, which
browsers draw by themselves, where nbconvert would load MathJax from a CDN."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import pass_context
from latex2mathml.converter import convert
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from traitlets.config import Config

TEMPLATES = Path(__file__).resolve().parent / "templates"
SHOWN = ("text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain")
"""Kinds of output, the best first: none that needs a script, as widgets do."""
UNKNOWN_COMMANDS = {r"\arg": r"\operatorname{arg}", r"\tag": r"\qquad\tag"}
"""What the converter does not know, in its words; it sets an equation's number close to it."""


def mathml(latex: str, display: str = "inline") -> str:
    r"""A formula as MathML.

    >>> "<msub>" in mathml(r"\arg\min_x f"), "arg" in mathml(r"\arg")
    (True, True)
    """
    for command, known in UNKNOWN_COMMANDS.items():
        latex = re.sub(re.escape(command) + r"(?![A-Za-z])", lambda _, to=known: to, latex)
    return convert(latex, display=display)


def slug(heading: str) -> str:
    """The name by which links know a heading, as GitHub makes it.

    >>> slug("<code>02</code> What has been measured?")
    '02-what-has-been-measured'
    """
    text = html.unescape(re.sub(r"<[^>]+>", "", heading)).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


class Renderer(IPythonRenderer):
    """nbconvert's, with MathML, GitHub's anchors, and links that stay inside the report.

    source: the file that is rendered. page: where in the report. pages: the report's pages by the
    file that each shows; a link to any other file of the repository becomes plain text.
    """

    def __init__(self, source: Path, page: str, pages: Mapping[Path, str]) -> None:
        super().__init__(
            escape=False, embed_images=True, path=str(source.parent), exclude_anchor_links=True
        )
        self.source, self.page, self.pages = source, page, pages

    def inline_math(self, body: str) -> str:
        """A formula in a line."""
        return mathml(body)

    def block_math(self, body: str) -> str:
        """A formula of its own line."""
        return mathml(body, "block")

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        """A heading that links find."""
        return f'<h{level} id="{slug(text)}">{text}</h{level}>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """A link to a page of the report, to the web, or none."""
        target, _, fragment = url.partition("#")
        if not target or re.match(r"[a-z]+:", target):
            return super().link(text, url, title)
        page = self.pages.get((self.source.parent / target).resolve())
        if page is None:
            return text
        return super().link(text, relative(page, self.page) + (fragment and f"#{fragment}"), title)

    def table(self, text: str) -> str:
        """A table that scrolls where the screen is narrow."""
        return f'<div class="wide prose"><table>{text}</table></div>\n'

    def codespan(self, text: str) -> str:
        """Code in a line; in a table GitHub wants a backslash before `|` there too."""
        return super().codespan(text.replace(r"\|", "|"))


def relative(page: str, origin: str) -> str:
    """The path of a page as a link on another one.

    >>> relative("runs/01.html", "docs/a.html"), relative("index.html", "index.html")
    ('../runs/01.html', 'index.html')
    """
    return Path(os.path.relpath(page, Path(origin).parent)).as_posix()


def title_of(markdown: str) -> str:
    """The first heading of a page, without its marks."""
    found = re.search(r"^# +(.+)$", markdown, re.MULTILINE)
    return re.sub(r"[`*$]", "", found[1]) if found else ""


def notebook_title(notebook: Path) -> str:
    """The first heading of a notebook; its file's name where there is none."""
    if not notebook.is_file():
        return notebook.stem
    cells = nbformat.read(notebook, as_version=4).cells
    return title_of(cells[0].source if cells else "") or notebook.stem


def markdown_body(source: Path, page: str, pages: Mapping[Path, str]) -> str:
    """A Markdown file as HTML."""
    renderer = Renderer(source, page, pages)
    return MarkdownWithMath(renderer=renderer).render(source.read_text(encoding="utf-8"))


class _Exporter(HTMLExporter):
    """nbconvert's, whose Markdown cells go through `Renderer`."""

    renderer: Renderer

    @pass_context
    def markdown2html(self, _context: object, source: str) -> str:
        """Markdown of a cell or an output as HTML."""
        return MarkdownWithMath(renderer=self.renderer).render(source)


def notebook_body(
    source: Path, page: str, pages: Mapping[Path, str]
) -> tuple[str, dict[str, bytes]]:
    """An executed notebook as HTML, its code folded, and its pictures by their place in the
    report."""
    settings = Config(
        {
            "NbConvertBase": {"display_data_priority": list(SHOWN)},
            # a progress bar that was drawn anew a hundred times is shown as it was at the end
            "CoalesceStreamsPreprocessor": {"enabled": True},
            # a file of its own is what a picture links to
            "ExtractOutputPreprocessor": {"enabled": True},
        }
    )
    exporter = _Exporter(
        config=settings, template_name="notebook", extra_template_basedirs=[str(TEMPLATES)]
    )
    exporter.renderer = Renderer(source, page, pages)
    notebook = nbformat.read(source, as_version=4)
    _name_pictures(notebook.cells)
    place = Path(page)
    files = {"unique_key": place.stem, "output_files_dir": f"{place.stem}_files"}
    body, found = exporter.from_notebook_node(notebook, files)
    return body, {(place.parent / name).as_posix(): data for name, data in found["outputs"].items()}


def _name_pictures(cells: Sequence[nbformat.NotebookNode]) -> None:
    """The heading above it becomes the text of each picture, for who cannot see it."""
    heading = ""
    for cell in cells:
        if cell.cell_type == "markdown":
            found = re.findall(r"^#+ +(.+)$", cell.source, re.MULTILINE)
            heading = re.sub(r"[`*$]", "", found[-1]) if found else heading
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                output.metadata.setdefault("image/png", {})["alt"] = heading
