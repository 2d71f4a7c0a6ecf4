"""`python -m ich_study.convert_weights lite0|resnet152-ct IN OUT`: published weights for timm.

IN is the published file (`.pth` of EfficientNet-Lite0, 1 or 2; the joined parts of the ResNet-152
of CT), OUT a safetensors file that `weights: file:OUT` loads.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ich_study.errors import StudyError
from ich_study.models.sources import PACKAGES
from ich_study.models.weights import read_tensors, save_tensors, verify_file

KINDS = {"lite0": "efficientnet-lite0", "resnet152-ct": "resnet152-ct"}


def convert(kind: str, source: Path, target: Path) -> str:
    """Write `target`; its SHA-256.

    The target says the SHA-256 and the name of its source and the scaling of inputs; the licence
    only where the source is the very file that a known package carries.
    """
    package = PACKAGES[KINDS[kind]]
    sha256 = verify_file(source)
    known = [each for each in PACKAGES.values() if each.sha256 == sha256]
    described = {
        "architecture": {
            "weights_source": source.name,
            "weights_sha256": sha256,
            "weights_licence": known[0].licence if known else None,
        },
        "preprocessing": {"mean": package.mean, "std": package.std},
    }
    return save_tensors(target, package.convert(read_tensors(source)), described)


def main(arguments: list[str] | None = None) -> int:
    """The command; what is wrong goes to standard error, with status 1."""
    parser = argparse.ArgumentParser(
        prog="python -m ich_study.convert_weights", description=__doc__
    )
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("source", type=Path, metavar="IN")
    parser.add_argument("target", type=Path, metavar="OUT")
    given = parser.parse_args(arguments)
    try:
        sha256 = convert(given.kind, given.source, given.target)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{given.target}: SHA-256 {sha256}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
