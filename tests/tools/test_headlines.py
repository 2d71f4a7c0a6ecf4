"""Which numbers any machine must find again: a wrong sign, an exchange and a loss are seen, what
another processor changes is not."""

from __future__ import annotations

import pandas as pd
import pytest

from ich_study.schema import result_table
from tools.headlines import headlines_of, moved_headlines

NAME = "05_mil_detector/metrics.csv"


def results(n=6, **values):
    """As `compare_runs.read_table` has them. values: pointing of `mil`, `random_map` and their
    `difference`."""
    names = {"difference": "mil - random_map"}
    rows = []
    for name, value in values.items():
        end = "_difference" if name == "difference" else ""
        method = {"method": names.get(name, name), "metric": f"pointing_game{end}"}
        rows.append({**method, "value": value, "n": n, "class": "any", "threshold_source": "none"})
    table = result_table([{"study": "05", "dataset": "cq500", **row} for row in rows])
    return table.astype(object).where(table.notna(), "").astype(str)


COMMITTED = {"mil": 0.60, "random_map": 0.05, "difference": 0.55}


def moved(n=6, **found):
    committed = headlines_of(NAME, results(**COMMITTED))
    return moved_headlines(NAME, committed, headlines_of(NAME, results(n, **found)))


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        (COMMITTED, 0),
        # another processor: a few slices
        ({"mil": 0.47, "random_map": 0.07, "difference": 0.40}, 0),
        ({name: -value for name, value in COMMITTED.items()}, 3),
        ({"mil": 0.05, "random_map": 0.60, "difference": -0.55}, 3),
        ({**COMMITTED, "difference": -0.55}, 1),
        ({"random_map": 0.05, "difference": 0.55}, 1),
        ({**COMMITTED, "mil": float("nan")}, 1),
        # no network decides the rival, so that it may move less
        ({**COMMITTED, "random_map": 0.15}, 1),
        ({**COMMITTED, "mil": 0.30}, 1),
    ],
)
def test_what_no_processor_explains_is_named(found, lines):
    assert len(moved(**found)) == lines


def test_a_line_says_what_moved_from_where_to_where():
    (line,) = moved(**{**COMMITTED, "mil": 0.1})
    assert line.startswith(f"headline moved: {NAME}: cq500 | mil | ")
    assert line.endswith(" | pointing_game: 0.6, now 0.1")


@pytest.mark.parametrize(("value", "lines"), [(0.20, 1), (0.10, 0)])
def test_a_clear_difference_keeps_its_sign_and_an_unclear_one_need_not(value, lines):
    committed = headlines_of(NAME, results(difference=value))
    # both lie within the tolerance
    found = headlines_of(NAME, results(difference=-0.04))
    assert len(moved_headlines(NAME, committed, found)) == lines


def test_a_small_share_is_not_negative():
    committed, found = (headlines_of(NAME, results(mil=value)) for value in (0.05, -0.05))
    assert len(moved_headlines(NAME, committed, found)) == 1


def test_of_few_patients_only_what_no_network_decides_is_kept():
    assert [what.split(" | ")[1] for what in headlines_of(NAME, results(4, **COMMITTED))] == [
        "random_map"
    ]


def test_sums_of_the_data_by_data_set():
    rows = [("bhsd", "01", 2, 40.0), ("bhsd", "02", 3, 8.0), ("rsna", "03", 1, 9.0)]
    table = pd.DataFrame(rows, columns=["dataset", "scan_id", "slices", "volume_ml"]).astype(str)
    committed = headlines_of("00_data/lesions.csv", table)
    assert committed == {
        **{"bhsd | slices": 5, "bhsd | volume_ml": 48, "bhsd | rows": 2},
        **{"rsna | slices": 1, "rsna | volume_ml": 9, "rsna | rows": 1},
    }

    def lines(found):
        return moved_headlines(
            "00_data/lesions.csv", committed, headlines_of("00_data/lesions.csv", found)
        )

    # a lesion lost a slice at a rounding; the two data sets are exchanged; volumes are negative
    assert lines(table.replace({"slices": {"3": "2"}, "volume_ml": {"8.0": "6.9"}})) == []
    assert len(lines(table.replace({"dataset": {"bhsd": "rsna", "rsna": "bhsd"}}))) == 4
    assert len(lines(table.assign(volume_ml="-" + table["volume_ml"]))) == 2
    assert headlines_of("02_lse_unet/history.csv", table) == {}
