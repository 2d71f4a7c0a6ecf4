"""Learning rate and momentum as functions of the training step, so that resuming needs no state."""

from __future__ import annotations

from ich_study.training.config import LoopSettings
from ich_study.training.fastai_api import Callback, SchedCos, combined_cos

ONE_CYCLE_RISE = 0.25
"""Share of the training in which `one_cycle` rises, as in fastai, like its other numbers."""


def hyperparameters(config: LoopSettings, step: int, steps_per_epoch: int) -> dict[str, float]:
    """`lr`, and for one_cycle `mom`, at training step `step` counted from 0 over all epochs.

    constant; step: x step_factor every step_epochs (LSE-UNet, Section 4), or after each of several
    (MIL detector, II-E); cosine to 0; one_cycle as fastai's fit_one_cycle.
    """
    rate, total = config.learning_rate, config.epochs * steps_per_epoch
    if config.schedule == "constant":
        return {"lr": rate}
    if config.schedule == "one_cycle":
        rates, momenta = (rate / 25, rate, rate / 1e5), (0.95, 0.85, 0.95)
        return {
            "lr": combined_cos(ONE_CYCLE_RISE, *rates)(step / total),
            "mom": combined_cos(ONE_CYCLE_RISE, *momenta)(step / total),
        }
    if config.schedule == "cosine":
        return {"lr": SchedCos(rate, 0.0)(step / total)}
    epoch, steps = step // steps_per_epoch, config.step_epochs
    passed = (
        sum(epoch >= milestone for milestone in steps)
        if isinstance(steps, tuple)
        else epoch // steps
    )
    return {"lr": rate * config.step_factor**passed}


class Schedule(Callback):
    """Sets the hyperparameters before each training batch."""

    order, run_valid = 60, False

    def __init__(self, config: LoopSettings) -> None:
        self._config = config

    def before_batch(self) -> None:
        """Position from epoch and batch, not from a counter."""
        self.opt.set_hypers(
            **hyperparameters(self._config, self.epoch * self.n_iter + self.iter, self.n_iter)
        )
