from ich_study.datasets import READERS
from ich_study.figures.names import DATASETS, in_words


def test_every_data_set_has_a_name():
    assert set(DATASETS) >= set(READERS)


def test_words_and_a_users_own_names_stay():
    assert in_words("rsna/test: any, unet, my_rsna, lse_unet2") == (
        "RSNA/test: any, unet, my_rsna, lse_unet2"
    )
