"""The base of all settings: what is refused, how it is said, and what merging keeps."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import pytest
from hypothesis import given, strategies as st
from pydantic import Field, PositiveInt, ValidationError

from ich_study.errors import ParameterError
from ich_study.inputs.settings import Settings, one_of


class Oven(Settings):
    """Settings of no study."""

    degrees: float = Field(180.0, gt=0, le=300, description="Celsius")
    mode: Annotated[str, one_of(("fan", "grill"))] = Field("fan", description="how it heats")
    racks: tuple[PositiveInt, ...] = Field((1, 2), min_length=1, description="where")
    minutes: PositiveInt | tuple[PositiveInt, ...] = Field(30, description="one, or one per rack")
    notes: dict[str, Any] = Field({}, description="free")

    def check(self) -> None:
        """One time for each rack."""
        if isinstance(self.minutes, tuple) and len(self.minutes) != len(self.racks):
            raise ParameterError(f"minutes {list(self.minutes)}: expected one for each rack")


class Dish(Settings):
    """Its sauce belongs to its name."""

    named_by: ClassVar[str | None] = "name"
    name: str = Field(description="what it is called")
    sauce: str = Field("none", description="what it comes with")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"degree": 1}, "unknown setting 'kitchen.degree'; did you mean 'degrees'?"),
        ({"zzz": 1}, "unknown setting 'kitchen.zzz'; known: degrees, mode, racks, minutes, notes"),
        ({"degrees": "180"}, "kitchen.degrees is '180' (str); expected a number; write numbers"),
        ({"degrees": True}, "kitchen.degrees is True (bool); expected a number"),
        ({"degrees": 0}, "kitchen.degrees is 0; expected a number above 0"),
        ({"degrees": 301.0}, "kitchen.degrees is 301.0; expected at most 300"),
        ({"degrees": float("inf")}, "expected a finite number"),
        ({"degrees": None}, "kitchen.degrees is None (NoneType); expected a number"),
        ({"mode": "steam"}, "kitchen.mode is 'steam'; expected one of fan, grill"),
        ({"racks": 1}, "kitchen.racks is 1 (int); expected a list"),
        ({"racks": []}, "kitchen.racks is []; expected a list of 1 or more"),
        ({"racks": [1, 0]}, "kitchen.racks[1] is 0; expected a number above 0"),
        ({"minutes": "x"}, "kitchen.minutes is 'x' (str); expected a whole number or a list"),
        ({"minutes": [5, -5]}, "kitchen.minutes[1] is -5; expected a number above 0"),
        ({"minutes": [5, 5, 5]}, "kitchen: minutes [5, 5, 5]: expected one for each rack"),
        ({"notes": [1]}, "kitchen.notes is [1] (list); expected a mapping"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_expected_and_found(values, says):
    with pytest.raises(ParameterError) as error:
        Oven.read(values, "kitchen")
    assert says in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_every_problem_is_named_at_once_and_without_a_place_too():
    with pytest.raises(ParameterError) as error:
        Oven(degree=1, mode="steam")
    assert str(error.value).splitlines() == [
        "mode is 'steam'; expected one of fan, grill",
        "unknown setting 'degree'; did you mean 'degrees'?",
    ]


def test_a_part_of_the_settings_is_judged_without_the_rest():
    assert Dish.problems({"sauce": "red"}) == []
    assert Oven.problems({"minutes": [1, 2, 3]}, "oven") == []
    assert Oven.problems({"minutes": [1, 0]}, "oven") == [
        "oven.minutes[1] is 0; expected a number above 0"
    ]
    with pytest.raises(ParameterError, match=r"dish\.name is missing"):
        Dish.read({"sauce": "red"}, "dish")


def test_whole_numbers_and_lists_are_taken_as_yaml_writes_them():
    oven = Oven.read({"degrees": 200, "racks": [3], "minutes": [4]})
    assert oven == Oven(degrees=200.0, racks=(3,), minutes=(4,))
    assert isinstance(oven.degrees, float) and Oven.read(oven.describe()) == oven
    assert oven.describe()["racks"] == [3]


def test_settings_do_not_change_but_make_changed_ones():
    oven = Oven()
    with pytest.raises(ValidationError):
        oven.degrees = 1.0
    assert oven.changed(degrees=100).degrees == 100.0 and oven.degrees == 180.0
    with pytest.raises(ParameterError, match="degrees is -1"):
        oven.changed(degrees=-1)


def test_whoever_names_a_thing_starts_from_its_defaults():
    earlier = {"name": "pasta", "sauce": "red"}
    assert Dish.merged(earlier, {"sauce": "green"}) == {"name": "pasta", "sauce": "green"}
    assert Dish.merged(earlier, {"name": "rice"}) == {"name": "rice"}


names = st.sampled_from(["degrees", "mode", "racks", "notes"])
layers = st.dictionaries(names, st.integers(), max_size=4)


@given(first=layers, second=layers, third=layers)
def test_merging_keeps_what_is_not_given_and_is_associative(first, second, third):
    merged = Oven.merged(first, second)
    assert set(merged) == set(first) | set(second)
    for name, value in merged.items():
        assert value == (second[name] if name in second else first[name])
    assert Oven.merged(first, {}) == first and Oven.merged({}, second) == second
    assert Oven.merged(merged, third) == Oven.merged(first, Oven.merged(second, third))
