import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.cluster import KMeans

from ich_study.errors import MapError, ParameterError
from ich_study.methods.resnet_lstm.pseudo_labels import (
    blanked,
    brightest_choice,
    cluster_mask,
    clustered,
    differential_choice,
    grey_clusters,
    pseudo_label,
)
from ich_study.methods.resnet_lstm.settings import ClusterRecipe

PRINTED = ClusterRecipe()
NOTEBOOK = ClusterRecipe(pixels="whole_slice")
FOLLOW_UP = ClusterRecipe(choice="brightest", dilations=2)


def inertia(values, labels):
    return sum(
        ((values[labels == label] - values[labels == label].mean()) ** 2).sum()
        for label in np.unique(labels)
    )


def pseudo_mask(*arguments):
    return pseudo_label(*arguments).mask


def never(channels):
    raise AssertionError("the network was asked")


@given(st.lists(st.integers(0, 255), min_size=1, max_size=60), st.integers(2, 6))
@settings(max_examples=40, deadline=None)
def test_clusters_are_ordered_contiguous_and_never_worse_than_scikit_learns(values, clusters):
    values = np.array(values)
    table = grey_clusters(np.bincount(values, minlength=256), clusters)
    labels = table[values]
    distinct = len(np.unique(values))
    assert set(labels) == set(range(1, min(clusters, distinct) + 1))
    assert (np.diff(table[np.unique(values)]) >= 0).all()
    if distinct >= clusters:
        oracle = KMeans(clusters, n_init=3, random_state=0).fit(values[:, None].astype(float))
        assert inertia(values.astype(float), labels) <= oracle.inertia_ * (1 + 1e-9) + 1e-6


def test_clusters_do_not_depend_on_the_number_of_pixels_alone():
    assert grey_clusters(np.zeros(256), 4).tolist() == [0] * 256
    weighted = np.zeros(256)
    weighted[[0, 10, 11, 12]] = [1, 1000, 1, 1000]
    assert grey_clusters(weighted, 3)[[0, 10, 11, 12]].tolist() in ([1, 2, 2, 3], [1, 2, 3, 3])


def test_only_the_region_is_clustered_as_printed_and_zeros_take_part_in_the_notebook():
    grey = np.array([[200, 200, 60, 60], [120, 120, 10, 10]], np.uint8)
    region = np.array([[True, True, True, True], [True, True, False, False]])
    assert clustered(grey, region, ClusterRecipe(clusters=3)).tolist() == [
        [3, 3, 1, 1],
        [2, 2, 0, 0],
    ]
    notebook = clustered(grey, region, ClusterRecipe(clusters=4, pixels="whole_slice"))
    assert notebook.tolist() == [[3, 3, 1, 1], [2, 2, 0, 0]]
    assert clustered(grey, region, ClusterRecipe(clusters=2, pixels="whole_slice")).max() == 1


def test_in_the_notebooks_way_dark_pixels_of_the_region_are_background():
    grey = np.array([[2, 250, 100, 180]], np.uint8)
    region = np.ones_like(grey, bool)
    assert clustered(grey, region, NOTEBOOK).tolist() == [[1, 4, 2, 3]]
    region[0, 3] = False
    assert clustered(grey, region, ClusterRecipe(clusters=3, pixels="whole_slice")).tolist() == [
        [0, 2, 1, 0]
    ]


def test_an_empty_region_and_fewer_values_than_clusters():
    grey = np.full((4, 4), 90, np.uint8)
    empty = np.zeros((4, 4), bool)
    assert not clustered(grey, empty, PRINTED).any()
    assert not pseudo_mask(grey, grey[None] / 255, empty, PRINTED, never).any()
    one = empty.copy()
    one[1, 1:3] = True
    assert clustered(grey, one, PRINTED).max() == 1
    assert np.array_equal(
        pseudo_mask(grey, grey[None] / 255, one, PRINTED, lambda x: np.zeros(len(x))), one
    )


def test_blanking_sets_one_cluster_to_zero_and_leaves_the_rest():
    channels = np.arange(1, 9, dtype=np.float32).reshape(2, 2, 2)
    clusters = np.array([[1, 2], [0, 2]])
    images = blanked(channels, clusters)
    assert images.shape == (2, 2, 2, 2)
    assert images[0].tolist() == [[[0, 2], [3, 4]], [[0, 6], [7, 8]]]
    assert images[1].tolist() == [[[1, 0], [3, 0]], [[5, 0], [7, 0]]]


def test_the_smallest_logit_wins_and_of_equal_ones_the_brightest_cluster():
    assert differential_choice(np.array([0.2, -1.0, 3.0])) == 2
    assert differential_choice(np.array([-1.0, 0.5, -1.0, 2.0])) == 3
    for bad in (np.array([]), np.array([1.0, np.nan])):
        with pytest.raises(MapError):
            differential_choice(bad)


def test_differential_prediction_finds_what_the_network_looks_at():
    rng = np.random.default_rng(0)
    grey = rng.integers(80, 100, (24, 24)).astype(np.uint8)
    grey[4:8, 4:8], grey[14:20, 14:20] = 180, 240
    region = np.zeros((24, 24), bool)
    region[2:22, 2:22] = True
    lesion, bone = grey == 180, grey == 240
    for looked_at in (lesion, bone):
        channels = grey[None].astype(np.float32) / 255
        found = pseudo_mask(
            grey,
            channels,
            region,
            PRINTED,
            lambda images, where=looked_at: images[:, 0, where].sum(1),
        )
        assert np.array_equal(found, looked_at)


def test_the_follow_up_takes_the_brightest_cluster_below_140_and_dilates_it():
    grey = np.full((20, 20), 60, np.uint8)
    grey[5:8, 5:8], grey[12:15, 12:15], grey[0, :] = 130, 220, 255
    region = np.ones((20, 20), bool)
    plain = pseudo_mask(grey, grey[None] / 255, region, ClusterRecipe(choice="brightest"), never)
    assert np.array_equal(plain, grey == 130)
    grown = pseudo_mask(grey, grey[None] / 255, region, FOLLOW_UP, never)
    assert grown[plain].all() and grown.sum() == (3 + 6) ** 2
    bright = np.where(region, np.uint8(250), grey)
    assert brightest_choice(bright, clustered(bright, region, PRINTED), 140) == 0
    assert not pseudo_mask(bright, bright[None] / 255, region, FOLLOW_UP, never).any()


def test_a_cluster_must_lie_below_the_limit_and_pixels_of_grey_0_and_255_have_no_say():
    grey = np.array([[60, 140, 255, 0]], np.uint8)
    clusters = np.array([[1, 2, 2, 2]])
    assert brightest_choice(grey, clusters, 140) == 1
    assert brightest_choice(grey, clusters, 140.5) == 2


def test_no_cluster_is_an_empty_mask_and_not_what_lies_outside_the_region():
    grey, clusters = np.full((1, 3), 90, np.uint8), np.array([[0, 1, 2]])
    assert cluster_mask(grey, clusters, 2, FOLLOW_UP).any()
    for recipe in (PRINTED, FOLLOW_UP):
        assert not cluster_mask(grey, clusters, 0, recipe).any()


@pytest.mark.parametrize(
    "changes", [{"clusters": 1}, {"pixels": "all"}, {"choice": "first"}, {"dilations": -1}]
)
def test_recipes_that_make_no_sense_are_refused(changes):
    with pytest.raises(ParameterError):
        ClusterRecipe(**changes)
