"""Formulas, links and executed notebooks as HTML that needs no network."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from tools.report import pages

ROOT = Path(__file__).resolve().parents[3]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$", re.DOTALL)


def formulas() -> list[str]:
    found = []
    for notebook in NOTEBOOKS:
        for cell in nbformat.read(notebook, as_version=4).cells:
            if cell.cell_type == "markdown":
                found += [block or line for block, line in FORMULA.findall(cell.source)]
    return found


def test_no_formula_of_the_notebooks_keeps_a_command():
    written = [pages.mathml(each) for each in formulas()]
    assert len(written) > 50
    assert [each for each in written if re.search(r"\\[A-Za-z]", each)] == []


def test_a_formula_says_what_it_says():
    text = pages.mathml(r"\frac{2 TP}{F} \tag{4}", "block")
    assert 'display="block"' in text and "<mfrac>" in text and "(4)" in text


def test_a_table_shows_a_bar_in_code(tmp_path):
    source = tmp_path / "page.md"
    source.write_text("| type |\n|---|\n| `int \\| None` |\n", encoding="utf-8")
    assert "<code>int | None</code>" in pages.markdown_body(source, "page.html", {})


@pytest.mark.parametrize(
    ("link", "becomes"),
    [
        ("[a](other.md#a-part)", '<a href="../docs/other.html#a-part">a</a>'),
        ("[a](#here)", '<a href="#here">a</a>'),
        ("[a](https://example.org/x)", '<a href="https://example.org/x">a</a>'),
        ("[a](../ich_study/schema.py)", "<p>a</p>"),
    ],
)
def test_a_link_leads_to_a_page_of_the_report_or_the_web_or_is_plain_text(tmp_path, link, becomes):
    source = tmp_path / "docs" / "page.md"
    source.parent.mkdir()
    source.write_text(f"# A `page`\n\n{link}\n\n## A part\n", encoding="utf-8")
    known = {(source.parent / "other.md").resolve(): "docs/other.html"}
    body = pages.markdown_body(source, "elsewhere/page.html", known)
    assert becomes in body and '<h2 id="a-part">' in body


def test_an_executed_notebook_shows_formula_table_picture_and_the_end_of_a_bar(tmp_path):
    bar = [v4.new_output("stream", name="stderr", text=f"\rscan {n}/3") for n in range(4)]
    widget = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "a slider"}
    table = {"text/html": "<table><tr><td>0.5</td></tr></table>", "text/plain": "0.5"}
    wiped = [v4.new_output("stream", name="stderr", text=text) for text in ("9/9", "\r   \n")]
    outputs = [*bar, v4.new_output("display_data", widget), v4.new_output("display_data", table)]
    cells = [v4.new_markdown_cell("# Title\n\n$x_1$"), v4.new_code_cell("a = 1", outputs=outputs)]
    cells.append(v4.new_code_cell("b = 2", outputs=wiped))
    source = tmp_path / "01.ipynb"
    nbformat.write(v4.new_notebook(cells=cells), source)
    body, _ = pages.notebook_body(source, "notebooks/01.html", {})
    assert "<msub>" in body and "$x" not in body
    assert "scan 3/3" in body and "scan 2/3" not in body
    assert body.count("output_stderr") == 1
    assert "<td>0.5</td>" in body and "a slider" in body
    assert "<script" not in body and "code, 1 line<" in body


def test_a_picture_of_a_notebook_links_to_itself_and_says_under_which_heading_it_stands(tmp_path):
    shown = [v4.new_output("display_data", {"image/png": "aGVhdA=="}) for _ in range(2)]
    above = v4.new_markdown_cell("# Title\n\ntext\n\n## Heat of `any`\nmore")
    source = tmp_path / "01.ipynb"
    nbformat.write(v4.new_notebook(cells=[above, v4.new_code_cell("a", outputs=shown)]), source)
    body, files = pages.notebook_body(source, "notebooks/01.html", {})
    links = re.findall(r'<a href="([^"]+)"><img alt="([^"]*)" src="([^"]+)"', body)
    assert [(link, alt) for link, alt, _ in links] == [(src, "Heat of any") for *_, src in links]
    assert {f"notebooks/{link}": b"heat" for link, *_ in links} == files and len(files) == 2
    assert "No description" not in body and "base64" not in body
