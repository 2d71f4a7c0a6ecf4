import pandas as pd
import pytest
import torch


@pytest.fixture(autouse=True)
def same_numbers_every_time():
    """Weights and inputs that a test does not seed itself: a test that fails one time in a hundred
    tells nobody anything."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def tables_print_numbers_whole():
    """A figure's style shortens numbers in tables on a screen, for good; doctests print them."""
    yield
    pd.reset_option("display.float_format")


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """Networks this small only lose time to a second thread, and more to other tests beside
    them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
