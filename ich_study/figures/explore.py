"""One picture with settings that a reader can move: sliders where ipywidgets is present, else a
picture of the first setting."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
from IPython.display import display

from ich_study.errors import ParameterError
from ich_study.manifest import HEADLESS

FRONT_END = "JPY_SESSION_NAME"
"""Set by a Jupyter server for the kernels of its notebooks. Papermill's and nbval's have none, and
wait for ever for a front end to answer a slider."""
DRAWING = threading.Lock()
"""Kernels answer sliders on threads of their own; two that draw at once give a picture of both."""


def explore(draw: Callable[..., Any], **choices: Sequence[Any]) -> None:
    """Show `draw(name=value, ...)`, and with ipywidgets a slider for every name of `choices`, or a
    list for words.

    choices: values to choose from, the first one is shown first. draw: makes one figure.
    ParameterError for a name without values.
    """
    empty = [name for name, values in choices.items() if not len(values)]
    if empty:
        raise ParameterError(f"nothing to choose from for {', '.join(empty)}")
    if not sliders_wanted():
        draw(**{name: values[0] for name, values in choices.items()})
        plt.show()
        return
    import ipywidgets

    sliders = {}
    for name, values in choices.items():
        shown = {"value": values[0], "description": name}
        if isinstance(values[0], str):
            sliders[name] = ipywidgets.Dropdown(options=list(values), **shown)
        else:  # in order, so that one can scroll
            # a picture for every value on the way would come long after the hand
            look = {"continuous_update": False, "layout": {"width": "min(36em, 95%)"}}
            sliders[name] = ipywidgets.SelectionSlider(options=sorted(values), **look, **shown)

    def redraw(**chosen: Any) -> None:
        with DRAWING:
            draw(**chosen)
            made = [plt.figure(number) for number in plt.get_fignums()]
            plt.close("all")  # what pyplot knows another thread would draw too
            for figure in made:
                display(figure)

    ipywidgets.interact(redraw, **sliders)


def sliders_wanted() -> bool:
    """Whether ipywidgets is installed and someone may sit before the notebook."""
    present = importlib.util.find_spec("ipywidgets") is not None
    return present and FRONT_END in os.environ and HEADLESS not in os.environ
