import sys
import threading
import time
import types

import matplotlib.pyplot as plt
import pytest

from ich_study.errors import ParameterError
from ich_study.figures import explore as module
from ich_study.figures.explore import HEADLESS, explore


def test_without_sliders_the_first_choice_is_drawn(monkeypatch):
    monkeypatch.setenv(HEADLESS, "1")
    seen = []
    explore(lambda **chosen: seen.append(chosen), number=[3, 4], method=["a", "b"])
    assert seen == [{"number": 3, "method": "a"}]


def test_with_ipywidgets_every_choice_has_a_slider(monkeypatch):
    asked = {}

    def interact(draw, **sliders):
        asked.update(sliders)
        draw(number=4, method="b")

    fake = types.ModuleType("ipywidgets")
    fake.interact = interact
    fake.SelectionSlider = lambda options, value, **look: ("slider", options, value)
    fake.Dropdown = lambda options, value, description: ("list", options, value)
    monkeypatch.setitem(sys.modules, "ipywidgets", fake)
    monkeypatch.setattr(module, "sliders_wanted", lambda: True)
    seen = []
    explore(lambda **chosen: seen.append(chosen), number=[4, 3, 5], method=["b", "a"])
    # numbers in order, so that a slider scrolls; the first choice is the one shown first
    assert asked == {"number": ("slider", [3, 4, 5], 4), "method": ("list", ["b", "a"], "b")}
    assert seen == [{"number": 4, "method": "b"}]


def test_two_sliders_moved_at_once_are_drawn_one_after_the_other(monkeypatch):
    inside, seen, shown = [], [], []

    def draw(number):
        inside.append(number)
        time.sleep(0.02)
        seen.append(list(inside))
        inside.clear()
        plt.figure(num=number)

    def interact(redraw, **sliders):
        threads = [threading.Thread(target=redraw, kwargs={"number": each}) for each in (3, 4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    fake = types.SimpleNamespace(interact=interact, SelectionSlider=lambda **look: None)
    monkeypatch.setitem(sys.modules, "ipywidgets", fake)
    monkeypatch.setattr(module, "sliders_wanted", lambda: True)
    monkeypatch.setattr(module, "display", lambda figure: shown.append((figure, plt.get_fignums())))
    plt.close("all")
    explore(draw, number=[3, 4])
    assert sorted(seen) == [[3], [4]]
    assert [known for _, known in shown] == [[], []], "pyplot no longer knows what is drawn"


def test_nothing_to_choose_from_is_named():
    with pytest.raises(ParameterError, match="for method"):
        explore(print, number=[1], method=[])


def test_sliders_need_a_front_end_that_answers_them(monkeypatch):
    """A kernel of papermill or nbval has none: a slider would stop its notebook for ever."""
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: object())
    monkeypatch.delenv(HEADLESS, raising=False)
    monkeypatch.delenv(module.FRONT_END, raising=False)
    assert not module.sliders_wanted()
    monkeypatch.setenv(module.FRONT_END, "notebooks/09_new_scan.ipynb")
    assert module.sliders_wanted()
    monkeypatch.setenv(HEADLESS, "1")
    assert not module.sliders_wanted()
