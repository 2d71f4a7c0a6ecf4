"""The study as pages that open from disk, without a network: `python -m tools.report runs/phantom`.

Writes `report/<scale>/` (ignored by git): `index.html` with the verdicts, the figure of `08`, each
paper's tables and the list of runs; a page for each run's record, each executed notebook and each
page of `docs/`. Everything is copied, so the folder can be zipped and moved. It shows what has run,
whatever that is. Exit codes: 0 written (the last line is the path), 2 nothing has run there.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pygments.formatters import HtmlFormatter

from ich_study import paths
from ich_study.errors import StudyError
from ich_study.published.claims import VERDICTS
from ich_study.published.tables import PAPERS
from tools.report import content, pages

GENERATOR = "ich_study tools.report"
"""By this a folder is known as a report, which a new one may replace."""
CODE_STYLES = {"light": "default", "dark": "github-dark"}
CARDS = "ich_study/new_scan/weights"
"""Model cards, which travel with the weights."""


class Report:
    """Pages of a study, written into `target`, an empty folder."""

    def __init__(self, study: content.Study, target: Path) -> None:
        self.study, self.target = study, target
        self.environment = Environment(
            loader=FileSystemLoader(pages.TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
        )
        root = paths.project_root()
        documents = [
            root / "README.md",
            *sorted((root / "docs").glob("*.md")),
            *sorted((root / CARDS).glob("*.md")),
        ]
        self.documents = {path: f"docs/{path.stem}.html" for path in documents if path.is_file()}
        self.pages = {path.resolve(): page for path, page in self.documents.items()}
        for run in study.runs:
            if run.notebook_page:
                # a link to a committed notebook leads to its first run
                committed = (root / "notebooks" / f"{run.study}.ipynb").resolve()
                self.pages.setdefault(committed, run.notebook_page)

    def write(self) -> None:
        """All pages."""
        self._style()
        for path, page in self.documents.items():
            title = pages.title_of(path.read_text(encoding="utf-8"))
            body = pages.markdown_body(path, page, self.pages)
            self._page("page.html.j2", page, title=title, body=body)
        for run in self.study.runs:
            self._page("run.html.j2", run.page, run=run, read=self.study.read_by(run))
            if run.notebook and run.notebook_page:
                body, pictures = pages.notebook_body(run.notebook, run.notebook_page, self.pages)
                for place, picture in pictures.items():
                    self._place(place).write_bytes(picture)
                self._page("notebook.html.j2", run.notebook_page, run=run, body=body)
        tables = self.study.tables()
        for paper, found in tables.items():
            for each in found:
                self._copy(each.file, f"tables/{each.file.name}")
                if each.picture:
                    self._copy(each.picture, f"pictures/{each.picture.name}")
            if found:
                page, name = f"papers/{paper}.html", content.NAMES[paper]
                self._page("paper.html.j2", page, name=name, paper=PAPERS[paper], tables=found)
        self._index(tables)

    def _index(self, tables: dict[str, list[content.Table]]) -> None:
        if self.study.ledger:
            self._copy(self.study.ledger, "tables/claims.csv")
        choice = self.study.choice()
        if choice and choice.picture:
            self._copy(choice.picture, "pictures/quality_cost.png")
        titles = {
            page: pages.title_of(path.read_text(encoding="utf-8"))
            for path, page in self.documents.items()
        }
        notebooks = paths.project_root() / "notebooks"
        headings = {
            name: pages.notebook_title(notebooks / f"{name}.ipynb") for name in self.study.studies
        }
        self._page(
            "index.html.j2",
            "index.html",
            study=self.study,
            headings=headings,
            claims=self.study.claims(),
            verdicts=VERDICTS,
            names=content.NAMES,
            choice=choice,
            tables=tables,
            documents=titles,
            most_links=content.MOST_LINKS,
        )

    def _page(self, template: str, page: str, **shown: object) -> None:
        text = self.environment.get_template(template).render(
            scale=self.study.folder.name,
            label=self.study.label,
            generator=GENERATOR,
            to=lambda other: pages.relative(other, page),
            **shown,
        )
        self._place(page).write_text(text, encoding="utf-8")

    def _style(self) -> None:
        rules = (pages.TEMPLATES / "style.css").read_text(encoding="utf-8")
        light, dark = (
            HtmlFormatter(style=style).get_style_defs(".highlight")
            for style in CODE_STYLES.values()
        )
        rules += f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"
        (self.target / "style.css").write_text(rules, encoding="utf-8")

    def _copy(self, source: Path, place: str) -> None:
        shutil.copyfile(source, self._place(place))

    def _place(self, page: str) -> Path:
        path = self.target / page
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def build(runs: Path, target: Path) -> Path:
    """Write the report on `runs` into `target`, in place of an earlier one; returns its first page.

    Raises StudyError where nothing has run, or `target` holds something else.
    """
    study, first = content.Study(runs), target / "index.html"
    is_report = first.is_file() and GENERATOR in first.read_text(encoding="utf-8")
    if target.exists() and any(target.iterdir()) and not is_report:
        raise StudyError(f"{target} holds other files than a report; name another folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".report-") as folder:
        Report(study, Path(folder)).write()
        Path(folder).chmod(0o755)  # temporary folders are their owner's alone
        if target.exists():
            shutil.rmtree(target)
        shutil.copytree(folder, target)
    return first


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="?", default="runs/phantom", help="folder of finished runs")
    parser.add_argument("--target", type=Path, help="default: report/<name of the runs>")
    chosen = parser.parse_args(arguments)
    runs = paths.resolve(chosen.runs)
    try:
        first = build(runs, chosen.target or paths.project_root() / "report" / runs.name)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"report: {first}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
