"""Heat of an archive: which maps a method, layer and variant reads."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from ich_study.errors import MapError
from ich_study.evaluate.heat import Heat
from ich_study.evaluate.scaling import resized_maps
from ich_study.methods.cams.cams import library_scaled
from ich_study.methods.cams.heat import (
    SCALED_GRID,
    LayerHeat,
    layer_heats,
    rival_heats,
    threshold_grid,
)
from ich_study.methods.cams.recipe import LIBRARY
from tests.methods.cams.fakes import heat_of, truth_part

NAMES = [
    ("hires_cam", "[-1]"),
    ("hires_cam", "[-3]"),
    ("ablation_cam", "[-1]"),
    ("ablation_cam" + LIBRARY, "[-1]"),
]


@dataclass
class Archive:
    """An archive in memory, whose maps differ by name."""

    names: list
    count: int = 5
    flat: bool = False

    def raw(self, name, index=slice(None)):
        rng = np.random.default_rng(NAMES.index(name))
        maps = rng.normal(size=(self.count, 4, 4)).astype(np.float32) + 1
        return np.ones_like(maps)[index] if self.flat else maps[index]


HEATS = layer_heats(Archive(NAMES), 16)


def test_each_heat_names_its_method_layer_and_variant():
    assert [(heat.name, heat.layer, heat.variant) for heat in HEATS] == [
        ("hires_cam", "-1", "raw"),
        ("hires_cam", "-1", "printed"),
        ("hires_cam", "-1", "library"),
        ("hires_cam", "-3", "raw"),
        ("hires_cam", "-3", "printed"),
        ("hires_cam", "-3", "library"),
        ("ablation_cam", "-1", "raw"),
        ("ablation_cam", "-1", "printed"),
        ("ablation_cam", "-1", "library"),
    ]
    assert all(isinstance(heat, Heat) and len(heat) == 5 for heat in HEATS)


@pytest.mark.parametrize("index", [slice(1, 3), np.array([4, 0])])
def test_each_heat_reads_its_own_maps_in_its_own_scale(index):
    archived = [NAMES[0]] * 3 + [NAMES[1]] * 3 + [NAMES[2]] * 2 + [NAMES[3]]
    for heat, name in zip(HEATS, archived):
        low = torch.from_numpy(Archive(NAMES).raw(name, index))
        expected = resized_maps(low, 16) if heat.variant == "raw" else library_scaled(low, 16)
        found = heat.read(index)
        assert found.shape == (2, 1, 16, 16) and found.dtype == np.float32
        assert np.array_equal(found[:, 0], expected.numpy()), (heat, name)


def test_thresholds_of_raw_maps_are_quantiles_of_their_values():
    values = Archive(NAMES).raw(NAMES[1])
    grid = threshold_grid(HEATS[3])
    assert (np.diff(grid) > 0).all()
    assert np.float32(grid[0]) == values.min() and grid[-1] <= values.max()
    # most thresholds lie where lesions are: in the top tenth
    assert (grid > np.quantile(values, 0.89)).mean() > 0.5
    assert np.isin(np.float32(np.quantile(values.astype(float), 0.9)), grid.astype(np.float32))
    for heat in (HEATS[4], HEATS[8], heat_of(np.zeros((1, 2, 2)))):
        assert threshold_grid(heat) is SCALED_GRID
    assert SCALED_GRID[[0, -1]].tolist() == [1 / 64, 1.0]


def test_flat_raw_maps_have_no_threshold():
    with pytest.raises(MapError, match="flat"):
        threshold_grid(LayerHeat(Archive(NAMES, flat=True), NAMES[0], "raw", 16))


def test_rivals_stand_among_the_raw_maps():
    truth = truth_part(2, 6)
    found = rival_heats(truth, "IPH", 2.0, 3)
    assert [heat.name for heat in found] == ["hu_threshold", "centred_blob", "random_map"]
    assert {(heat.variant, heat.layer, heat.classes) for heat in found} == {("raw", None, ("IPH",))}
    noise = found[2].read(slice(None))[:, 0].reshape(12, -1)
    assert np.abs(np.corrcoef(noise) - np.eye(12)).max() < 0.9
    again = rival_heats(truth, "IPH", 2.0, 4)[2].read(slice(None))[:, 0]
    assert not np.array_equal(noise.reshape(again.shape), again)
