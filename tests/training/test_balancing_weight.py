"""The MIL detector's weighted cross-entropy: the code's weights, up to the constant that Adam does
not see."""

import numpy as np
import pandas as pd
import pytest
import torch

from ich_study.errors import DataError
from ich_study.training.losses import BinaryCrossEntropy, balancing_weight


def test_it_is_the_loss_of_the_code_times_a_constant():
    rng = np.random.default_rng(0)
    labels, logits = rng.random(200) < 0.15, rng.normal(0, 2, 200)
    share = labels.mean()
    probability = np.clip(1 / (1 + np.exp(-logits)), 1e-6, 1 - 1e-6)
    code = -np.mean(
        np.where(labels, np.log(probability) / share, np.log(1 - probability) / (1 - share))
    )
    loss = BinaryCrossEntropy([balancing_weight(labels)])
    ours = loss(
        torch.tensor(logits, dtype=torch.float32)[:, None],
        torch.tensor(labels, dtype=torch.float32)[:, None],
    )
    assert float(ours) == pytest.approx(code * (1 - share), rel=1e-5)


def test_unknown_labels_are_left_out_and_one_kind_alone_is_refused():
    assert balancing_weight(pd.array([True, False, False, None, False], dtype="boolean")) == 3
    for labels in ([True, None], [False, False], []):
        with pytest.raises(DataError, match="both kinds"):
            balancing_weight(labels)
