import numpy as np
import pytest

from ich_study.errors import StudyError
from ich_study.published import lookup
from ich_study.published.lookup import Results
from ich_study.schema import result_table
from tests.published.fakes import number


def side(text):
    """A selector of rows of `number`, whatever it does not name empty."""
    named = {"study": ("s",), "metric": ("auroc",), "part": lookup.TEST_PARTS, "class": ("any",)}
    return {**dict.fromkeys(lookup.PROTOCOL, ("",)), **named, **lookup.parse_selector(text)}


def compared(left, right, *rows):
    """What `left` compares with `right`: low, high and whether paired, one line a pair."""
    right = right if isinstance(right, float) else side(right)
    bounds = Results.of(result_table(list(rows))).bounds(side(left), right)
    return bounds[["low", "high", "paired"]].round(9).to_numpy().tolist()


@pytest.mark.parametrize(
    "text", ["method", "mthod=a", "value=1", "method=a;method=b", "method=a||b", ""]
)
def test_a_wrong_selector_is_refused(text):
    with pytest.raises(StudyError, match="selector"):
        lookup.parse_selector(text)


def test_a_table_with_a_number_twice_is_refused():
    with pytest.raises(StudyError, match="twice"):
        Results.of(result_table([number("a", 0.8, 0.9), number("a", 0.7, 0.9)]))


def test_of_several_seeds_the_lowest_stands_for_the_number():
    rows = [number("a", 0.7, 0.9, seed=2), number("a", 0.1, 0.2, seed=1)]
    assert compared("method=a", 0.0, *rows) == [[0.1, 0.2, False]]
    assert compared("method=a", 0.0, *reversed(rows)) == [[0.1, 0.2, False]]


def test_rows_agree_in_what_both_sides_leave_open():
    rows = [number(name, 0.4, 0.6, dataset=data) for name in "ab" for data in ("d", "e")]
    assert len(compared("method=a", "method=b", *rows)) == 2
    assert len(compared("method=a;dataset=d", "method=b;dataset=e", *rows)) == 1
    assert len(compared("method=a;dataset=d", "method=b;dataset=d|e", *rows)) == 2


def test_a_difference_of_two_settings_is_named_by_both():
    rows = [number("a", 0.4, 0.6, variant="x"), number("a", 0.4, 0.6, variant="y")]
    named = number("a - a", 0.1, 0.2, variant="x - y", metric="auroc_difference")
    sides = "method=a;variant=x", "method=a;variant=y"
    assert compared(*sides, *rows) == [[-0.2, 0.2, False]]
    assert compared(*sides, *rows, named) == [[0.1, 0.2, True]]
    assert compared(*reversed(sides), *rows, named) == [[-0.2, -0.1, True]]
    assert compared(*sides, *rows, {**named, "variant": "x"}) == [[-0.2, 0.2, False]]


def test_a_paired_difference_within_one_layer_is_none_between_layers():
    rows = [
        number("a", 0.4, 0.6, layer="-3"),
        number("b", 0.4, 0.6, layer="-1"),
        number("b", 0.4, 0.6, layer="-3"),
        number("a - b", 0.1, 0.2, layer="-3", metric="auroc_difference"),
    ]
    assert compared("method=a;layer=-3", "method=b;layer=-3", *rows) == [[0.1, 0.2, True]]
    assert compared("method=a;layer=-3", "method=b;layer=-1", *rows) == [[-0.2, 0.2, False]]


def test_a_paired_difference_counts_where_the_other_method_has_no_such_variant():
    rows = [
        number("a", 0.4, 0.6, variant="authors"),
        number("b", 0.4, 0.6, variant="printed"),
        number("a - b", 0.1, 0.2, variant="authors", metric="auroc_difference"),
    ]
    sides = "method=a;variant=authors", "method=b;variant=printed"
    assert compared(*sides, *rows) == [[0.1, 0.2, True]]
    other = number("b", 0.1, 0.2, variant="authors")
    assert compared(*sides, *rows, other) == [[-0.2, 0.2, False]]


def test_a_number_of_too_few_patients_has_no_interval():
    few, enough = lookup.MINIMUM_PATIENTS - 1, lookup.MINIMUM_PATIENTS
    (bounds,) = compared("method=a", 0.0, number("a", 0.9, 0.95, n=few))
    assert np.isnan(bounds[:2]).all()
    assert compared("method=a", 0.0, number("a", 0.9, 0.95, n=enough)) == [[0.9, 0.95, False]]


@pytest.mark.parametrize(
    ("found", "kind", "words"),
    [
        (0.5, "on the sample", "SAH: a network marks nothing of it"),
        (None, "on the sample", "SAH: it is in no patient"),
        (0.5, "in 80 of 1000 replicates", "SAH: a network marks it too seldom"),
        (None, "in 80 of 1000 replicates", "SAH: it is in too few patients"),
    ],
)
def test_what_has_no_value_says_whether_marks_or_patients_are_missing(found, kind, words):
    """A precision lacks marks where the sensitivity of the same network has its number."""
    of_class = {"class": "SAH", "n": 40}
    lacks = {"interval": f"the measure has no value {kind}", "ci_low": None, "ci_high": None}
    rows = [
        number("a", 0.6, 0.7, metric="precision", **of_class),
        number("b", 0.1, 0.2, metric="precision", **of_class) | lacks,
        number("b", 0.4, 0.6, metric="sensitivity", **of_class),
    ]
    rows[2] |= {} if found else lacks | {"value": None}
    table = Results.of(result_table(rows))
    own = "class=SAH;metric=precision;method="
    assert table.bounds(side(f"{own}a"), side(f"{own}b"))["why"].tolist() == [words]


def test_what_no_row_has_is_named():
    table = Results.of(result_table([number("a", 0.4, 0.6), number("b", 0.4, 0.6)]))
    assert table.absent(side("method=a|b")) == ""
    assert table.absent(side("method=a|c")) == "no auroc with method=c"
    assert table.absent(side("method=a;metric=dice")) == "no dice at this scale"
    assert table.absent(side("method=a;study=t")) == "t has no results at this scale"
