"""A network whose weights stand still while its maps are computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from ich_study.errors import ParameterError


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """No parameter of `model` requires a gradient inside; flags as before outside.

    Raises ParameterError when the model is in training mode, where images of a batch would not be
    independent.
    """
    if any(module.training for module in model.modules()):
        raise ParameterError(
            "the network is in training mode; call model.eval() before computing heatmaps"
        )
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
