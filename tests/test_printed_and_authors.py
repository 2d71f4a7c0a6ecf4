"""The list of differences between the papers and their code: every citation has its entry, every
entry its four lines, and what an entry names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "printed_and_authors.md").read_text(encoding="utf-8")
ENTRIES = re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]
NUMBERS = [entry.split()[0] for entry in ENTRIES]
PAPERS = re.findall(r"^## (\d{3}) ", PAGE, flags=re.MULTILINE)
"""A citation may name all of a paper's differences by the paper's number."""
SOURCES = [
    path
    for folder, pattern in (
        ("ich_study", "*.py"),
        ("tests", "*.py"),
        ("tools", "*.py"),
        ("notebooks", "*.ipynb"),
        ("params", "*.yaml"),
    )
    for path in sorted((ROOT / folder).rglob(pattern))
]
CITATION = re.compile(
    r"printed_and_authors(?:\.md)?,?\s+(?:#\s*)?((?:\d{3}(?:\.\d+)?(?:,| to)?\s*)+)"
)


def citations(text: str) -> list[str]:
    """The numbers that a text cites, as it writes them: "003.1 to 003.4" gives both."""
    return [
        number
        for found in CITATION.findall(text)
        for number in re.findall(r"\d{3}(?:\.\d+)?", found)
    ]


def test_the_pattern_finds_citations_across_a_line_and_of_several_numbers():
    text = "(printed_and_authors,\n    # 003.5) and printed_and_authors, 003.1 to 003.4, 002.8."
    assert citations(text) == ["003.5", "003.1", "003.4", "002.8"]


def test_every_citation_has_an_entry():
    cited = {(path.name, number) for path in SOURCES for number in citations(path.read_text())}
    assert len(cited) > 30
    assert (
        sorted((name, number) for name, number in cited if number not in (*NUMBERS, *PAPERS)) == []
    )


def test_no_citation_points_outside_the_repository():
    old = re.compile(r"reproduction\s+(?:#\s*)?facts|data facts")
    this = Path(__file__).resolve()
    assert [str(path) for path in SOURCES if path != this and old.search(path.read_text())] == []


def test_numbers_run_without_gaps():
    for paper in ("000", "001", "002", "003", "004"):
        own = [number for number in NUMBERS if number.startswith(paper)]
        assert own == [f"{paper}.{count}" for count in range(1, len(own) + 1)]


@pytest.mark.parametrize("entry", ENTRIES, ids=NUMBERS)
def test_an_entry_says_what_is_printed_what_is_coded_where_it_stands_and_what_it_changes(entry):
    assert re.findall(r"^- (\w+):", entry, re.MULTILINE) == ["Printed", "Code", "Here", "Changes"]


def test_what_an_entry_names_stands_in_the_study():
    known = "\n".join(path.read_text() for path in SOURCES if path.name != Path(__file__).name)
    here = [
        (n, entry.split("- Here:")[1].split("- Changes:")[0]) for n, entry in zip(NUMBERS, ENTRIES)
    ]
    missing = [
        (number, name)
        for number, text in here
        for name in re.findall(r"`(\w+)\*?`", text)
        if not re.search(rf"\b{name}", known)
    ]
    assert missing == []
