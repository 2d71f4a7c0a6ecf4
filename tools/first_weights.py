"""A classifier of a finished or stopped run, or an LSE-UNet's encoder, as first weights that travel
with the package.

    python -m tools.first_weights RUN/weights.safetensors FOLDER/NAME.safetensors

FOLDER is ich_study/models/first_weights. The file has half precision, which networks read back as
float32. The hashes of the run's patients go: they name synthetic patients, and another phantom's
patients have the same ids. Its card is written by hand beside it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

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
    asked = parser.parse_args(arguments)
    try:
        print(f"{asked.target}: SHA-256 {halved(asked.source, asked.target)}")
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


def halved(source: Path, target: Path) -> str:
    """Writes the checkpoint in half precision, without its patients; its SHA-256. Raises
    WeightsError where that moves a logit by more than LARGEST_CHANGE."""
    found = load(source, torch.device("cpu"), Network)
    described = {key: value for key, value in read_metadata(source).items() if key != "patients"}
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
    if isinstance(network, LSENetwork):
        # the encoder lost its head, which whoever starts from it draws anew; it needs one to load
        described["architecture"] = network.encoder
        headed = rebuild(network.encoder).model.state_dict()
        kept = {name: tensors.get(ENCODER + name, tensor) for name, tensor in headed.items()}
        tensors = in_half(kept)
    return save_tensors(target, tensors, described)


if __name__ == "__main__":
    sys.exit(main())
