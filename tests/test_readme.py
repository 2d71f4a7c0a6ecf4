"""README and the pages of docs/ are read in one sitting, their links lead somewhere, and their
examples run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from ich_study import params
from ich_study.inputs.preprocessing import Preprocessing
from tests.store.fake_reader import built, head

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = ("getting_started", "how_to", "model_cards", "results", "scale")
WRITTEN = ("README.md", *(f"docs/{name}.md" for name in DOCS))
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in WRITTEN}
EXAMPLE_LINES = 22


def prose(text: str) -> list[str]:
    """Paragraphs, list items and table cells of a page, without its code and headings."""
    text = re.sub(r"```.*?```|^> ", "", text, flags=re.DOTALL | re.MULTILINE)
    found: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        if block.startswith(("#", "    ")):
            continue
        if block.startswith("|"):
            rows = [row for row in block.splitlines() if not re.fullmatch(r"[|\s:-]+", row)]
            found += [cell for row in rows for cell in row.strip("|").split("|")]
        else:
            found += re.split(r"\n- ", block)
    return found


def sentences(paragraph: str) -> list[str]:
    """Sentences of a paragraph; a colon and a semicolon do not end one."""
    return re.split(r"(?<=[.!?])[*`)]*\s+(?=[A-Z*`\[(])", paragraph.strip())


def test_a_sentence_ends_where_a_reader_ends_it():
    assert sentences("One, e.g. this. `Two` is 3.5 [1, 2]. **Three** ends.") == [
        "One, e.g. this.",
        "`Two` is 3.5 [1, 2].",
        "**Three** ends.",
    ]


@pytest.mark.parametrize("name", WRITTEN)
def test_no_paragraph_and_no_sentence_is_long(name):
    assert [text[:60] for text in prose(PAGES[name]) if len(text.split()) > 120] == []
    found = [each for text in prose(PAGES[name]) for each in sentences(text)]
    assert len(found) > 15
    assert [each for each in found if len(each.split()) > 30] == []


def headings(text: str) -> set[str]:
    """Anchors of a page as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in found}


@pytest.mark.parametrize("name", WRITTEN)
def test_links_and_pictures_lead_to_files_and_headings(name):
    page = ROOT / name
    for link in re.findall(r"\]\(([^)]+)\)", PAGES[name]):
        target, _, heading = link.partition("#")
        file = page.parent / target if target else page
        assert file.is_file(), f"{name} links to {link}, which does not exist"
        if heading:
            assert heading in headings(file.read_text(encoding="utf-8")), (name, link)


@pytest.mark.parametrize("name", WRITTEN)
def test_tests_that_are_said_to_show_something_are_there(name):
    said = re.findall(r"`(tests/[\w/]+\.py)`", PAGES[name])
    assert not [file for file in said if not (ROOT / file).is_file()]


def test_the_pages_say_different_things():
    said = [text for text in PAGES.values() for text in set(prose(text)) if len(text.split()) > 12]
    assert len(said) > 50
    assert sorted({text for text in said if said.count(text) > 1}) == []


def test_the_map_names_what_there_is():
    map_lines = re.findall(r"^    (?: {2})?(\S[^\n]*)$", TEXT, re.MULTILINE)
    package = {path.name for path in (ROOT / "ich_study").iterdir() if path.name[0] not in "._"}
    named = set(re.findall(r"(\w+(?:\.py|(?=/)))", " ".join(map_lines)))
    assert sorted(package - named) == []


def example(heading: str, language: str) -> str:
    """The code block below a heading of the how-to."""
    section = PAGES["docs/how_to.md"].split(f"## {heading}\n", 1)[1]
    code = section.split(f"```{language}\n", 1)[1].split("```", 1)[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= EXAMPLE_LINES
    return code


def run(code: str, **names) -> dict:
    exec(compile(code, "how_to.md", "exec"), names)
    return names


def test_the_example_of_a_method_scores_it_beside_its_rivals(tmp_path, capsys):
    store = built(tmp_path)
    rows = store.index[store.index["has_mask"]]
    preprocessing = Preprocessing(("brain",), "fixed", 1, 32, "none", (0.0,), (1.0,))
    names = run(
        example("A method of your own", "python"),
        store=store,
        rows=rows,
        preprocessing=preprocessing,
    )
    said = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert said == ["brightness", "hu_threshold", "centred_blob", "random_map"]
    assert names["chosen"].source == "masks-test"


def test_the_example_of_a_data_set_builds_a_store(tmp_path):
    np.save(tmp_path / "scan.npy", head(1))
    store = run(example("A data set of your own", "python"), folder=tmp_path)["store"]
    np.testing.assert_array_equal(store.volume("scan"), head(1))
    assert store.index["any"].eq(False).all() and store.index["IPH"].isna().all()


def test_the_example_of_an_arm_fits_its_notebook(tmp_path):
    arm = tmp_path / "mine.yaml"
    arm.write_text(example("An arm of your own", "yaml"), encoding="utf-8")
    common = ROOT / "params" / "smoke" / "01_backbones.yaml"
    found = params.load(ROOT / "notebooks" / "01_backbones.ipynb", [common, arm])
    assert found["arm"] == "mine" and found["data_dir"] == "runs/smoke/00_data"
    given = yaml.safe_load(arm.read_text())
    for name in ("backbone", "training"):
        assert found[name].items() >= given[name].items()
    assert set(found["training"]) > {"windows", "epochs"}  # the rest stays the notebook's


@pytest.mark.parametrize("word", ["part", "arm", "variant", "threshold source", "unit"])
def test_the_glossary_says_what_a_word_means(word):
    glossary = TEXT.split("### Glossary", 1)[1].split("###", 1)[0]
    assert re.search(rf"^\| {word} \| .{{20,}} \|$", glossary, re.MULTILINE)
