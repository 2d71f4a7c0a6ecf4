"""What a trained network points at: its own class, on slices of patients that it has not seen."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ich_study.errors import SplitError, StudyError
from ich_study.methods.lse_unet import shipped
from ich_study.methods.lse_unet.study import MethodMaps
from ich_study.schema import result_table
from tests.methods.lse_unet.cases import SCORED

ROWS = SCORED.rows.assign(any=SCORED.mask().any((1, 2)))


@pytest.fixture
def network(monkeypatch):
    """Its raw maps are those of `hot`, (slices, rows, columns); what was asked of it."""
    found = {"model": "shipped", "preprocessing": SimpleNamespace(size=SCORED.size)}
    found |= {"metadata": {"classes": ["SDH", "any"]}}
    told = SimpleNamespace(asked=[], loaded=[], guarded=[], hot=None, said={"patients": ["a mark"]})

    def raw_maps(method, model, _, outputs, classes, source, rows, device):
        told.asked.append((method.__name__, model, outputs, classes, source, device))
        return told.hot[rows.index][:, None].astype(np.float32), np.zeros((len(rows), 1))

    def load(path, device, kind):
        told.loaded.append((path, device))
        return SimpleNamespace(**found)

    monkeypatch.setattr(shipped, "load", load)
    monkeypatch.setattr(shipped, "raw_maps", raw_maps)
    monkeypatch.setattr(shipped, "read_metadata", lambda _: told.said)
    monkeypatch.setattr(shipped, "read_truth", lambda _, rows, *__: _only(rows))
    monkeypatch.setattr(shipped, "assert_unseen", lambda *asked: told.guarded.append(asked))
    return told


def test_its_maps_are_of_its_own_class_and_its_patients_are_guarded(network, tmp_path):
    network.hot, path = SCORED.mask(), tmp_path / "lse_unet.safetensors"
    maps, _ = shipped.shipped_maps(str(path), ("a store", ROWS), "a device")
    asked = ("lse_heatmaps", "shipped", ["SDH", "any"], ("any",), "a store", "a device")
    assert network.asked == [asked] and network.loaded == [(path, "a device")]
    assert [guarded for guarded, _ in network.guarded] == [path]
    assert (maps.name, maps.heat.classes) == ("lse_unet_shipped (authors)", ("any",))
    # a slice is called above a probability of one half
    called = MethodMaps(maps.heat, np.array([[0.1], [0.0]]), maps.class_thresholds)
    assert called.present("class_thresholds", np.zeros((2, 1))).tolist() == [[True], [False]]


def test_a_patient_that_it_has_seen_is_refused(network, monkeypatch):
    def seen(*_):
        raise SplitError("trained on")

    monkeypatch.setattr(shipped, "assert_unseen", seen)
    with pytest.raises(SplitError, match="trained on"):
        shipped.shipped_maps("lse_unet.safetensors", ("a store", ROWS), "cpu")


def test_a_network_that_does_not_say_whom_it_has_seen_is_shown(network):
    network.hot, network.said = SCORED.mask(), {}
    shipped.shipped_maps("lse_unet.safetensors", ("a store", ROWS), "cpu")
    assert network.asked and not network.guarded


def test_without_a_network_nothing_is_said():
    assert shipped.shipped_rows(None, None, [], 10, 0, 0, "cpu") == []
    said = shipped.checked(result_table([]), None)
    assert said == "lse_unet_shipped: no pointing game was measured"
    with pytest.raises(StudyError, match="lse_unet_shipped: no pointing game was measured"):
        shipped.checked(result_table([]), "lse_unet.safetensors")


def test_only_positive_slices_are_shown_and_beside_a_random_map(network):
    drawn = []
    study = SimpleNamespace(
        name="02_lse_unet",
        stores={"instance2022": "a store"},
        rows=lambda dataset, split, part: ROWS,
        save=lambda figure, name: drawn.append(name),
    )
    for hot, better in ((SCORED.mask(), True), (~SCORED.mask(), False)):
        network.hot = hot
        place = ["instance2022", "parts", "test"]
        rows = shipped.shipped_rows("lse_unet.safetensors", study, place, 200, 1, 0, "cpu")
        table = result_table(rows)
        table = table[table["metric"].str.startswith("pointing_game")]
        own = table[table["method"] == shipped.SHIPPED].iloc[0]
        assert (own["dataset"], own["value"]) == ("instance2022/test", float(better))
        assert own["n"] == 6
        gain = table[table["method"] == "lse_unet_shipped - random_map"].iloc[0]
        assert (gain["ci_low"] > 0) == better
    assert drawn == ["heatmaps_shipped"] * 2


def _only(rows: pd.DataFrame):
    """SCORED's slices of these rows."""
    index = rows.index.to_numpy()
    kept = {name: getattr(SCORED, name)[index] for name in ("hu", "codes", "pixel_ml")}
    brain = type(SCORED.brain).of(SCORED.brain[index])
    annotated = [SCORED.annotated[number] for number in index]
    return type(SCORED)(
        rows.reset_index(drop=True),
        "masks",
        SCORED.size,
        kept["hu"],
        kept["codes"],
        brain,
        annotated,
        kept["pixel_ml"],
        SCORED.pixel_cm2[index],
    )
