import hashlib
import io

import numpy as np
import pytest
import torch
from torch import nn

from ich_study.errors import WeightsError
from ich_study.models import weights
from ich_study.models.weights import (
    METADATA_KEY,
    load_weights,
    read_metadata,
    read_tensors,
    save_weights,
    state_digest,
)


def net(width=3):
    return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.Linear(width, 2))


def test_round_trip_is_exact_and_keeps_the_description(tmp_path):
    saved, loaded = net(), net()
    sha256 = save_weights(tmp_path / "w.safetensors", saved, {"classes": ["any"], "size": 32})
    assert sha256 == hashlib.sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest()
    assert state_digest(saved) != state_digest(loaded)
    load_weights(tmp_path / "w.safetensors", loaded, sha256)
    assert state_digest(saved) == state_digest(loaded)
    assert read_metadata(tmp_path / "w.safetensors") == {"classes": ["any"], "size": 32}


def test_a_wrong_hash_names_both(tmp_path):
    sha256 = save_weights(tmp_path / "w.safetensors", net(), {})
    with pytest.raises(WeightsError, match=f"{sha256}, expected {'0' * 64}"):
        load_weights(tmp_path / "w.safetensors", net(), "0" * 64)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"gone\.safetensors does not exist"):
        load_weights(tmp_path / "gone.safetensors", net())


def test_missing_unexpected_and_misshapen_tensors_are_named(tmp_path):
    tensors = net().state_dict()
    tensors["3.extra"] = tensors.pop("0.bias")
    tensors["2.weight"] = torch.zeros(2, 5)
    torch.save(tensors, tmp_path / "w.pt")
    with pytest.raises(WeightsError) as error:
        load_weights(tmp_path / "w.pt", net())
    for words in (
        "missing (1): 0.bias",
        "unexpected (1): 3.extra",
        "2.weight (2, 5), network has (2, 3)",
    ):
        assert words in str(error.value)


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"0.weight": Payload()}, tmp_path / "bad.pt")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_tensors(tmp_path / "bad.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("wrapper", ["model", "state_dict"])
def test_wrapped_tensors_are_unwrapped(tmp_path, wrapper):
    model = net()
    torch.save({wrapper: model.state_dict(), "epoch": 3}, tmp_path / "w.pth")
    assert set(read_tensors(tmp_path / "w.pth")) == set(model.state_dict())


@pytest.mark.parametrize("name", ["w.npz", "w.pt"])
def test_an_archive_is_asked_for_its_size_before_it_is_unpacked(tmp_path, name, monkeypatch):
    np.savez_compressed(tmp_path / "w.npz", weight=np.zeros(2**20, np.float32))
    torch.save({"weight": torch.zeros(2**20)}, tmp_path / "w.pt")
    assert len(read_tensors(tmp_path / name)["weight"]) == 2**20
    monkeypatch.setattr(weights, "_LARGEST", 2**22)
    with pytest.raises(WeightsError, match=rf"{name}: .*expected at most"):
        read_tensors(tmp_path / name)


def test_npz_is_read_without_pickle(tmp_path):
    np.savez(tmp_path / "w.npz", weight=np.arange(3, dtype=np.float32))
    assert read_tensors(tmp_path / "w.npz")["weight"].tolist() == [0, 1, 2]
    np.savez(tmp_path / "objects.npz", weight=np.array([{}], dtype=object))
    with pytest.raises(WeightsError, match="cannot be read"):
        read_tensors(tmp_path / "objects.npz")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.npz"])
def test_a_damaged_file_is_a_weights_error(tmp_path, name):
    (tmp_path / name).write_bytes(b"not weights at all")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_tensors(tmp_path / name)


def test_an_unknown_suffix_and_a_file_without_description(tmp_path):
    (tmp_path / "w.h5").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"\.h5"):
        read_tensors(tmp_path / "w.h5")
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "plain.safetensors")
    with pytest.raises(WeightsError, match="no description"):
        read_metadata(tmp_path / "plain.safetensors")


@pytest.mark.parametrize("described", ["not json", "[1]", "[" * 100_000, ""])
def test_a_description_that_is_no_json_object_is_named_with_its_remedy(tmp_path, described):
    from safetensors.torch import save_file

    path = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={METADATA_KEY: described})
    with pytest.raises(WeightsError, match=r"w\.safetensors: .*train it again"):
        read_metadata(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_bytes_of_either_kind_of_pickle_are_read_from_their_beginning(zipped):
    buffer = io.BytesIO()
    torch.save(net().state_dict(), buffer, _use_new_zipfile_serialization=zipped)
    found = weights.unpickled(io.BytesIO(buffer.getvalue()), "a package")
    assert found.keys() == net().state_dict().keys()
