"""A network is not scored on a patient that it was trained on, and its checkpoint names nobody."""

import pandas as pd
import pytest
import torch

from ich_study.errors import SplitError, WeightsError
from ich_study.evaluate.unseen import assert_unseen
from ich_study.models.weights import save_weights
from ich_study.splits.overlap import patient_marks


def test_a_network_that_saw_a_patient_is_not_scored_on_it(tmp_path):
    def rows(dataset, *patients):
        return pd.DataFrame({"dataset": dataset, "patient_id": list(patients)})

    path = tmp_path / "weights.safetensors"
    save_weights(
        path, torch.nn.Linear(1, 1), {"patients": patient_marks(rows("rsna", "ID_a", "b"))}
    )
    assert "ID_a" not in path.read_bytes().decode("latin-1"), "no id stands in a checkpoint"
    assert_unseen(path, rows("rsna", "c"))
    assert_unseen(path, rows("cq500", "b"))
    for seen in (rows("rsna", "c", "b"), rows("bhsd", "id_A "), rows("bhsd", "b")):
        with pytest.raises(SplitError, match="1 of the patients"):
            assert_unseen(path, seen)
    save_weights(path, torch.nn.Linear(1, 1), {})
    with pytest.raises(WeightsError, match="does not say which patients"):
        assert_unseen(path, rows("rsna", "c"))
