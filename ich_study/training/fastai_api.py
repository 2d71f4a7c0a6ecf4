"""The parts of fastai that training uses, imported once and without its import-time warnings.

fastai 2.8 scripts an activation with the deprecated `torch.jit.script` on import; that is its
matter and says nothing about a run.
"""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", category=FutureWarning)
    warnings.simplefilter("ignore", category=DeprecationWarning)
    import fastai.distributed  # noqa: F401  (adds distrib_ctx to Learner)
    from fastai.callback.core import Callback, CancelFitException, TrainEvalCallback
    from fastai.callback.fp16 import MixedPrecision
    from fastai.callback.schedule import SchedCos, combined_cos
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper

__all__ = [
    "Callback",
    "CancelFitException",
    "DataLoaders",
    "Learner",
    "MixedPrecision",
    "OptimWrapper",
    "SchedCos",
    "TrainEvalCallback",
    "combined_cos",
]
