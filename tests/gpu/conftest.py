"""What needs a CUDA device: `python -m pytest -m gpu`. Without one each test says that it was
skipped."""

import pytest
import torch


@pytest.fixture
def cuda():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device; on a machine with one: python -m pytest -m gpu")
    torch.cuda.empty_cache()
    return torch.device("cuda", 0)
