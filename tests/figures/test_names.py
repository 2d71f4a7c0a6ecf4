from ich_study.datasets import READERS
from ich_study.figures.names import DATASETS, in_words, method_name, readable


def test_every_data_set_has_a_name():
    assert set(DATASETS) >= set(READERS)


def test_words_and_a_users_own_names_stay():
    assert in_words("rsna/test: any, unet, my_rsna, lse_unet2") == (
        "RSNA/test: any, unet, my_rsna, lse_unet2"
    )


def test_a_network_that_bears_the_name_of_its_data_is_no_data_set():
    assert readable("phe_sich") == in_words("phe_sich") == "PHE-SICH"
    assert readable("grad_cam_of_phe_sich") == "GradCAM of small ResNet"
    assert method_name("phe_sich_seed_2") == "small ResNet, seed 2"
    assert method_name("phe_sich2") == "phe sich2" and method_name("rdnet_tiny") == "RDNet"
