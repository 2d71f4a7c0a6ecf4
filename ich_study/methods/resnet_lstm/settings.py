"""What notebook 03 sets of the LSTM, the maps, the pseudo-masks and the 3-D U-Net.

ResNet-LSTM, Section 2. What the paper leaves out: printed_and_authors, 002.3 to 002.8.
"""

from __future__ import annotations

from math import prod
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from ich_study.errors import ParameterError
from ich_study.inputs.settings import Settings, one_of


class LSTMSettings(Settings):
    """The LSTM over the slices of a volume."""

    hidden: PositiveInt = Field(256, description="units per direction")
    layers: PositiveInt = Field(1, description="LSTMs on top of each other")
    bidirectional: bool = Field(False, description="slices see those above too")

    @property
    def width(self) -> int:
        """Values per slice that the LSTM gives."""
        return self.hidden * (2 if self.bidirectional else 1)


class CamRegion(Settings):
    """How a class activation map becomes a region."""

    threshold: float = Field(0.7, gt=0, lt=1, description="of the scaled map, strict (Section 2.1)")
    relu: bool = Field(False, description="negative values to 0 before scaling (the follow-up)")
    brain: bool = Field(
        False, description="cut to the brain and scaled there, as the trivial rivals are"
    )


class ClusterRecipe(Settings):
    """How a region becomes a pseudo-mask."""

    clusters: int = Field(4, ge=2, description="K of K-means")
    pixels: Annotated[str, one_of(("region", "whole_slice"))] = Field(
        "region", description="what is clustered: region (printed) or whole_slice (author's code)"
    )
    choice: Annotated[str, one_of(("differential", "brightest"))] = Field(
        "differential",
        description="differential (printed), or brightest (follow-up: clusters with mean grey in"
        " (0, brightest_below), without the pixels of grey 0 and 255)",
    )
    brightest_below: float = Field(140.0, description="grey value, see `choice`")
    dilations: NonNegativeInt = Field(0, description="of the chosen cluster, by a square")
    dilation_px: PositiveInt = Field(4, description="side of that square")


class UNetSettings(Settings):
    """The 3-D U-Net and what it is fed."""

    size: PositiveInt = Field(512, description="rows and columns, px")
    depth: PositiveInt = Field(
        32, description="slices of a patch; volumes of fewer are padded with zeros"
    )
    channels: tuple[PositiveInt, ...] = Field(
        (16, 32, 64, 128, 256), min_length=2, description="of each level"
    )
    strides: tuple[PositiveInt, ...] = Field((2, 2, 2, 2), description="between the levels")
    residual_units: NonNegativeInt = Field(0, description="of each level")
    batch_size: PositiveInt = Field(4, description="patches of a batch")
    patches: PositiveInt = Field(1, description="of each volume in an epoch")
    crop: Annotated[str, one_of(("random", "first"))] = Field(
        "random", description="where a patch of a longer volume begins; first: the author's code"
    )
    epsilon: PositiveFloat = Field(1.0, description="of Equation 2")
    equalise: bool = Field(
        True,
        description="histogram equalisation after skull removal (printed); false is the"
        " comparison without contrast enhancement",
    )
    overlap: float = Field(0.5, ge=0, lt=1, description="of the sliding window")

    def check(self) -> None:
        """One stride between two levels; patches that the strides divide."""
        if len(self.strides) != len(self.channels) - 1:
            raise ParameterError(
                f"channels {list(self.channels)}, strides {list(self.strides)}: expected one stride"
                " fewer"
            )
        step = prod(self.strides)
        if self.size % step or self.depth % step:
            raise ParameterError(
                f"size {self.size} and depth {self.depth} must be multiples of {step}, the product"
                " of the strides"
            )
