"""Display windows: HU to the grey values a network or a reader sees.

`apply_window` takes and gives NumPy arrays or torch tensors alike; tensors keep their device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ich_study.errors import require_known

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", np.ndarray, "torch.Tensor")


@dataclass(frozen=True)
class Window:
    """A window in HU: `center` +- `width` / 2."""

    center: float
    width: float

    @property
    def low(self) -> float:
        """Lowest HU that is not black."""
        return self.center - self.width / 2

    @property
    def high(self) -> float:
        """Lowest HU that is white."""
        return self.center + self.width / 2


WINDOWS: dict[str, Window] = {
    "brain": Window(40, 80),  # CAM benchmark IV; resnet-lstm follow-up
    "ich": Window(25, 130),  # LSE-UNet 4
    "subdural": Window(80, 200),  # HGI-SAM code, RSNA channel 2; resnet-lstm follow-up
    "bone": Window(600, 2800),  # HGI-SAM code, RSNA channel 3; resnet-lstm follow-up
    "brain_120": Window(40, 120),  # HGI-SAM code, PhysioNet channel 1
    "subdural_340": Window(80, 340),  # HGI-SAM code, PhysioNet channel 2
    "bone_3200": Window(700, 3200),  # HGI-SAM code, PhysioNet channel 3
    "mil_raw": Window(1024, 4096),  # MIL code, channel 1: HU -1024..3072, no window
    "mil_80": Window(40, 80),  # MIL code, channel 2: HU 0..80
    "mil_130": Window(50, 130),  # MIL code, channel 3: HU -15..115
}


def named_window(name: str) -> Window:
    """The window called `name`; ParameterError lists the known names."""
    require_known("window", name, WINDOWS)
    return WINDOWS[name]


def apply_window(hu: Array, window: Window) -> Array:
    """HU of any shape to float32 in [0, 1]: 0 at and below `window.low`, 1 at and above
    `window.high`."""
    if isinstance(hu, np.ndarray):
        return np.clip(
            (hu.astype(np.float32) - np.float32(window.low)) / np.float32(window.width), 0, 1
        )
    import torch  # slow to import, and whoever has a tensor has it

    # one copy, then in place: fresh memory costs more than the arithmetic
    return hu.to(torch.float32, copy=True).sub_(window.low).div_(window.width).clamp_(0, 1)


def minmax_window(hu: torch.Tensor, window: Window) -> torch.Tensor:
    """HU (..., rows, columns) clipped to the window, then min-max per slice to float32 in [0, 1].

    HGI-SAM's code does this instead of a fixed scale. A slice that is constant after clipping
    becomes 0 here; the code leaves it in HU (printed_and_authors, 003.5), which no network can use.
    """
    clipped = hu.float().clamp(window.low, window.high)
    low, high = clipped.amin((-2, -1), keepdim=True), clipped.amax((-2, -1), keepdim=True)
    return (clipped - low) / (high - low).where(high > low, 1.0)


def window_uint8(hu: np.ndarray, window: Window) -> np.ndarray:
    """HU to uint8 grey, truncated, as LSE-UNet's code exports its PNG (printed_and_authors,
    000.9)."""
    return (apply_window(hu, window) * 255).astype(np.uint8)


def wrapped_grey(hu: torch.Tensor) -> torch.Tensor:
    """Whole HU of any shape modulo 256, over 255, float32 in [0, 1]: what `astype(uint8)` did in
    the ResNet-LSTM author's notebook (-1000 HU becomes 24, 900 HU becomes 132;
    printed_and_authors, 002.1)."""
    return hu.int().remainder(256).float() / 255


def mil_channels(hu: np.ndarray) -> np.ndarray:
    """HU (..., rows, columns) to the MIL detector's input (..., 3, rows, columns), float32.

    Channels: HU + 1024 with everything below -500 of that scale set to 0; HU 0..80 and HU
    -15..115, each stretched to 0..4096; all standardised by the constants 400 and 1000
    (printed_and_authors, 004.2).
    """
    raw = hu.astype(np.float32) + 1024
    raw = raw * (raw >= -500)
    channels = [raw] + [
        apply_window(raw - 1024, WINDOWS[name]) * 4096 for name in ("mil_80", "mil_130")
    ]
    return (np.stack(channels, -3) - 400) / 1000
