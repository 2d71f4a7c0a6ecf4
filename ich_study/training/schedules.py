"""Learning rate and momentum as functions of the training step, so that resuming needs no state."""

from __future__ import annotations

from ich_study.training.config import LoopSettings
from ich_study.training.fastai_api import Callback, SchedCos, combined_cos


def hyperparameters(config: LoopSettings, step: int, steps_per_epoch: int) -> dict[str, float]:
    """`lr`, and for one_cycle `mom`, at training step `step` counted from 0 over all epochs.

    constant; step: x step_factor every step_epochs (LSE-UNet, Section 4), or after each of several
    (MIL detector, II-E); cosine to min_learning_rate; one_cycle as fastai's fit_one_cycle.
    """
    rate, total = config.learning_rate, config.epochs * steps_per_epoch
    if config.schedule == "constant":
        return {"lr": rate}
    if config.schedule == "one_cycle":
        peak = combined_cos(
            config.one_cycle_rise,
            rate / config.one_cycle_divisor,
            rate,
            rate / config.one_cycle_final_divisor,
        )
        return {
            "lr": peak(step / total),
            "mom": combined_cos(config.one_cycle_rise, *config.one_cycle_momenta)(step / total),
        }
    warm = config.warmup_epochs * steps_per_epoch
    if step < warm:
        return {"lr": rate * (step + 1) / (warm + 1)}
    if config.schedule == "cosine":
        return {"lr": SchedCos(rate, config.min_learning_rate)((step - warm) / (total - warm))}
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
