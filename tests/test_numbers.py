"""Each number with an interval, and each row of three seeds, that README, the results page and the
comments of parameters print stands in a committed table. What has none is listed with a reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/results.md")
SCALES = ("open", "phantom")
WITH_INTERVAL = r"(-?\d\.\d{3}) \[(-?\d\.\d{3}), (-?\d\.\d{3})\]"
THREE_SEEDS = r"(?<![\d.\[])(?<!, )(\d\.\d{3}), (\d\.\d{3}), (\d\.\d{3})(?![\d\],])"
FIRST_OF_THREE = r"(\d\.\d{3}) \[[^\]]+\]; (\d\.\d{3}); (\d\.\d{3})"
"""Of three seeds the first with its interval."""
# What names a row of a table of results; the rest is what was measured.
ROW = ["study", "dataset", "method", "variant", "layer", "class", "unit", "subset"]
ROW += ["threshold_source", "brain_mask", "metric"]
BEFORE = "of a setting before, whose tables were replaced"
DEFAULTS = "of the notebooks' defaults, whose runs are not committed"
NOT_COMMITTED = {
    "0.284 [0.152, 0.427]": BEFORE,
    "0.221 [0.170, 0.274]": BEFORE,
    "0.123 [0.032, 0.227]": BEFORE,
    "0.883 [0.850, 0.925]": BEFORE,
    "0.939, 0.780, 0.964": BEFORE,
    "0.943, 0.922, 0.108": BEFORE,
    "0.793, 0.615, 0.000": BEFORE,
    "0.876 [0.794, 0.971]": DEFAULTS,
    "0.709 [0.599, 0.837]": DEFAULTS,
    "0.562 [0.368, 0.677]": DEFAULTS,
    "0.203 [0.100, 0.359]": DEFAULTS,
    "0.230 [0.139, 0.324]": "of a draw of heads that is not published",
    "0.154 [0.084, 0.221]": "of a draw of heads that is not published",
    "0.875, 0.871, 0.887": "of a draw of heads that is not published",
    "0.977 [0.967, 0.986]": "of published weights on patients of training and validation",
    "0.994 [0.990, 0.998]": "of published weights on patients of training and validation",
    "0.628 [0.453, 0.798]": "of an arm whose tables are not committed",
    "0.193, 0.087, 0.118": "of heads for development, whose runs are not committed",
    "0.992, 0.991, 0.926": "of validation patients, where settings were tried",
}


def tables() -> Iterator[pd.DataFrame]:
    """Committed tables with values and intervals."""
    for root in (ROOT / "figures", ROOT / "ich_study" / "new_scan"):
        for path in sorted(root.rglob("*.csv")):
            table = pd.read_csv(path, low_memory=False)
            table = table.rename(columns={"difference": "value"} if "value" not in table else {})
            if {"value", "ci_low", "ci_high"} <= set(table.columns):
                yield table


def with_intervals() -> set[str]:
    """Numbers of the committed tables as the pages print them: value [low, high]."""
    found: set[str] = set()
    for table in tables():
        rows = table[["value", "ci_low", "ci_high"]].apply(pd.to_numeric, errors="coerce").dropna()
        found |= {f"{row[0]:.3f} [{row[1]:.3f}, {row[2]:.3f}]" for row in rows.to_numpy()}
    return found


def of_three_seeds() -> set[str]:
    """Values of seeds 1, 2 and 3 as the pages print them, of rows that have all three."""
    found: set[str] = set()
    for scale in sorted(path for path in (ROOT / "figures").iterdir() if path.is_dir()):
        paths = [*scale.rglob("metrics.csv"), *scale.glob("seed*.csv")]
        rows = pd.concat([pd.read_csv(path, low_memory=False) for path in sorted(paths)])
        rows = rows.dropna(subset=["seed"]).drop_duplicates([*ROW, "seed"], keep="last")
        for _, same in rows.groupby(ROW, dropna=False, sort=False):
            if sorted(same["seed"]) == [1, 2, 3]:
                found.add(", ".join(f"{value:.3f}" for value in same.sort_values("seed")["value"]))
    return found


def numbers_of(text: str) -> list[str]:
    """What a text prints, whatever its line breaks and comment signs."""
    text = " ".join(text.replace("\n#", "\n").split())
    found = [
        match.group(0) for each in (WITH_INTERVAL, THREE_SEEDS) for match in re.finditer(each, text)
    ]
    return found + [", ".join(match.groups()) for match in re.finditer(FIRST_OF_THREE, text)]


def printed() -> dict[str, list[str]]:
    """Numbers by page, and by scale those in the comments of its parameters."""
    found = {page: numbers_of((ROOT / page).read_text(encoding="utf-8")) for page in PAGES}
    for scale in SCALES:
        files = sorted((ROOT / "params" / scale).rglob("*.yaml"))
        found[scale] = numbers_of("\n".join(file.read_text(encoding="utf-8") for file in files))
    return found


@pytest.fixture(scope="module")
def committed() -> set[str]:
    return with_intervals() | of_three_seeds()


@pytest.mark.parametrize("where", [*PAGES, *SCALES])
def test_a_printed_number_stands_in_a_committed_table(where, committed):
    numbers = printed()[where]
    assert len(numbers) > 2
    assert [each for each in numbers if each not in committed and each not in NOT_COMMITTED] == []


def test_what_is_listed_as_not_committed_is_printed_and_is_not_committed(committed):
    assert sorted(set(NOT_COMMITTED) - set(chain(*printed().values()))) == []
    assert sorted(set(NOT_COMMITTED) & committed) == []


def test_three_numbers_are_seeds_unless_they_are_an_interval():
    text = "0.951, 0.952,\n# 0.953 and 0.1 [0.200, 0.300] of 0.500, 0.600"
    assert numbers_of(text) == ["0.951, 0.952, 0.953"]
    assert numbers_of("0.500 [0.400,\n0.600]") == ["0.500 [0.400, 0.600]"]
    three = numbers_of("0.500 [0.400, 0.600]; 0.700; 0.800")
    assert three == ["0.500 [0.400, 0.600]", "0.500, 0.700, 0.800"]
