"""A network of a finished or stopped run, or an LSE-UNet's encoder, as first weights that travel
with the package.

    python -m tools.first_weights RUN/weights.safetensors FOLDER/NAME.safetensors [--encoder]

FOLDER is ich_study/models/first_weights. The file has half precision, which networks read back as
float32. It names no patients: the run's are synthetic, and another phantom's have the same ids. Its
card is written by hand beside it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

import ich_study.methods.mil.network  # noqa: F401 - a file of its networks can be read
from ich_study.errors import StudyError, WeightsError
from ich_study.methods.lse_unet.network import LSENetwork
from ich_study.models.registry import Network, load, rebuild
from ich_study.models.weights import read_metadata, read_tensors, save_tensors

LARGEST_CHANGE = 0.02
"""Of a logit of random inputs, by half precision; of a logit beyond 1, this share of it."""
ENCODER = "encoder.network."
"""How the names of an LSE-UNet's tensors begin that are its encoder's."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 done, 1 refused."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--encoder", action="store_true", help="of an LSE-UNet the encoder alone")
    asked = parser.parse_args(arguments)
    try:
        print(f"{asked.target}: SHA-256 {halved(asked.source, asked.target, asked.encoder)}")
    except StudyError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def in_half(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors in half precision; counts and indices stay as they are."""
    return {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }


def halved(source: Path, target: Path, encoder: bool = False) -> str:
    """Writes the checkpoint, or of an LSE-UNet its `encoder`, in half precision and without its
    patients; its SHA-256. Raises WeightsError where that moves a logit by more than LARGEST_CHANGE,
    and where a network has no encoder."""
    found = load(source, torch.device("cpu"), Network)
    described = {**read_metadata(source), "patients": {}}
    tensors = in_half(read_tensors(source))
    network, size = found.network, found.preprocessing.size
    inputs = torch.randn(
        4, network.in_channels, size, size, generator=torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        before = network.model(inputs)
        network.model.load_state_dict(tensors)
        moved = (before - network.model(inputs)).abs() / before.abs().clamp(min=1)
    change = float(moved.max())
    if not change <= LARGEST_CHANGE:
        raise WeightsError(f"{source}: half precision moves a logit by {change:.3f}")
    if encoder and not isinstance(network, LSENetwork):
        raise WeightsError(f"{source} holds no LSE-UNet, whose encoder could be kept")
    if encoder:
        # the encoder lost its head, which whoever starts from it draws anew; it needs one to load
        described["architecture"] = network.encoder
        headed = rebuild(network.encoder).model.state_dict()
        kept = {name: tensors.get(ENCODER + name, tensor) for name, tensor in headed.items()}
        tensors = in_half(kept)
    return save_tensors(target, tensors, described)


if __name__ == "__main__":
    sys.exit(main())
