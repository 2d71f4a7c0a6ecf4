"""Checkpoints: safetensors with what is needed to rebuild the network, loaded strictly.

A checkpoint that lacks a tensor, brings one too many or has one of another shape is refused by
name. Nothing here unpickles: `.safetensors`, `.pt`/`.pth` through `weights_only=True`, and `.npz`
without object arrays.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ich_study.atomic import atomic_path
from ich_study.errors import WeightsError, first_of
from ich_study.hashing import sha256_bytes, sha256_file, sha256_lines

WEIGHTS_FILE = "weights.safetensors"
"""Name of the checkpoint in the folder of a training."""
METADATA_KEY = "ich_study"
"""Safetensors metadata entry that holds our metadata as one JSON object."""
_WRAPPERS = ("model", "state_dict", "module")
_LISTED = 8
_LARGEST = 2**32


def save_weights(path: Path, model: nn.Module, metadata: Mapping[str, Any]) -> str:
    """The model's tensors and JSON-able `metadata` into a safetensors file, atomically; its
    SHA-256.

    The tensors go to the CPU and keep their dtypes; `metadata` says what rebuilds the network and
    its input (architecture, options, classes, windows, size, normalisation).
    """
    return save_tensors(path, model.state_dict(), metadata)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    """What `save_weights` does, of tensors by name."""
    kept = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(
            kept, temporary, metadata={METADATA_KEY: json.dumps(dict(metadata), sort_keys=True)}
        )
    return sha256_file(path)


def read_metadata(path: Path, required: bool = True) -> dict[str, Any]:
    """What `save_weights` was told about the network.

    A file that says nothing is a WeightsError where a description is `required`, else empty.
    """
    verify_file(path)
    try:
        with safe_open(path, framework="pt") as checkpoint:
            described = (checkpoint.metadata() or {}).get(METADATA_KEY)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file ({error})") from error
    if described is None and not required:
        return {}
    if described is None:
        raise WeightsError(
            f"{path}: carries no description of its network; it was not written by this study's"
            " training"
        )
    try:
        metadata = json.loads(described)
    except (ValueError, RecursionError) as error:
        raise WeightsError(
            f"{path}: the description of its network is no JSON ({error}); restore the file or"
            " train it again"
        ) from error
    if not isinstance(metadata, dict):
        raise WeightsError(
            f"{path}: the description of its network is a {type(metadata).__name__}; expected a"
            " mapping. Restore the file or train it again"
        )
    return metadata


def known_patients(checkpoint: Path) -> dict[str, list[str]]:
    """`patient_marks` of whom a network learned from; WeightsError where it does not say."""
    marks = read_metadata(checkpoint).get("patients")
    if marks is None:
        raise WeightsError(
            f"{checkpoint} does not say which patients it was trained on; train it again"
        )
    return marks


def load_weights(path: Path, model: nn.Module, sha256: str | None = None) -> None:
    """Tensors of a checkpoint into `model`, strictly.

    Raises WeightsError for an absent file, another SHA-256 than the one given, an unreadable file,
    and missing, unexpected or differently shaped tensors, by name.
    """
    load_tensors(model, read_tensors(path, sha256), str(path))


def load_tensors(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """`tensors` into `model` strictly; WeightsError names `source` and what does not fit."""
    own = model.state_dict()
    problems = {
        "missing": [name for name in own if name not in tensors],
        "unexpected": [name for name in tensors if name not in own],
        "of another shape": [
            f"{name} {tuple(tensors[name].shape)}, network has {tuple(own[name].shape)}"
            for name in own
            if name in tensors and tensors[name].shape != own[name].shape
        ],
    }
    found = [
        f"{kind} ({len(names)}): {first_of(names, _LISTED)}"
        for kind, names in problems.items()
        if names
    ]
    if found:
        raise WeightsError(
            f"{source} does not fit the network {type(model).__name__}; " + "; ".join(found)
        )
    model.load_state_dict(dict(tensors), strict=True)


def read_tensors(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Name to tensor from `.safetensors`, `.pt`, `.pth` or `.npz`, on the CPU, without unpickling
    code.

    A `.pt` that wraps its tensors in `model`, `state_dict` or `module` is unwrapped. Raises
    WeightsError for an absent file, another SHA-256, an unknown suffix or an unreadable file.
    """
    verify_file(path, sha256)
    readers: dict[str, Callable[[Path], dict[str, Tensor]]] = {
        ".safetensors": load_file,
        ".npz": _read_npz,
        ".pt": _read_pickle,
        ".pth": _read_pickle,
    }
    if path.suffix not in readers:
        raise WeightsError(f"{path}: suffix {path.suffix!r} is not one of {', '.join(readers)}")
    with _readable(str(path)):
        return readers[path.suffix](path)


def unpickled(file: BytesIO, source: str) -> dict[str, Tensor]:
    """Name to tensor from the bytes of a `.pt` or `.pth`; WeightsError names `source`."""
    with _readable(source):
        return _read_pickle(file)


@contextmanager
def _readable(source: str) -> Iterator[None]:
    try:
        yield
    except (
        SafetensorError,
        OSError,
        ValueError,
        RuntimeError,
        EOFError,
        pickle.UnpicklingError,
    ) as error:
        raise WeightsError(f"{source}: cannot be read as weights ({error})") from error


def verify_file(path: Path, sha256: str | None = None) -> str:
    """SHA-256 of a weights file; WeightsError when it is absent or `sha256` is given and
    differs."""
    if not path.is_file():
        raise WeightsError(f"weights file {path} does not exist")
    found = sha256_file(path)
    if sha256 is not None and found != sha256.lower():
        raise WeightsError(
            f"{path}: SHA-256 is {found}, expected {sha256}; the file is another version or damaged"
        )
    return found


def state_digest(model: nn.Module) -> str:
    """SHA-256 over the names, shapes, dtypes and bytes of all tensors: equal only for bit-identical
    weights."""
    return sha256_lines(
        f"{name} {tuple(tensor.shape)} {tensor.dtype} {sha256_bytes(_raw_bytes(tensor))}"
        for name, tensor in sorted(model.state_dict().items())
    )


def _raw_bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _read_pickle(file: Path | BytesIO) -> dict[str, Tensor]:
    _refuse_bomb(file)
    if isinstance(file, BytesIO):
        file.seek(0)  # looking for an archive's end has moved it
    content = torch.load(file, map_location="cpu", weights_only=True)
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(
        isinstance(value, Tensor) for value in content.values()
    ):
        raise ValueError("expected a mapping from names to tensors")
    return dict(content)


def _read_npz(path: Path) -> dict[str, Tensor]:
    _refuse_bomb(path)
    with np.load(path, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(np.array(arrays[name])) for name in arrays.files}


def _refuse_bomb(file: Path | BytesIO) -> None:
    """A small archive can state any size; it is asked before anything is unpacked."""
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if isinstance(file, BytesIO):
        file.seek(0)
    if size > _LARGEST:
        raise ValueError(
            f"unpacked it is {size / 2**30:.3g} GiB; expected at most {_LARGEST / 2**30:g} GiB"
        )
