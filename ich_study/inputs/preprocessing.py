"""From HU to what a slice classifier sees: resizing, windows, channels, normalisation.

The same object serves training, prediction and the heatmaps, and travels in the checkpoint. On
disk and in the loader a slice stays int16 HU; windows and normalisation run per batch, on the
model's device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ich_study.ct.windows import apply_window, minmax_window, named_window, wrapped_grey
from ich_study.errors import ParameterError, WeightsError

NORMALISATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "none": ((0.0,), (1.0,)),
    "half": ((0.5,), (0.5,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    # MIL code: (x - 400) / 1000 of channels that span 0..4096 (printed_and_authors, 004.2)
    "mil": ((400 / 4096,), (1000 / 4096,)),
    # ResNet-LSTM author's notebook: grey values 0..255 as they are (printed_and_authors, 002.1)
    "grey_255": ((0.0,), (1 / 255,)),
}
WINDOW_SCALINGS = ("fixed", "minmax", "wrapped")
CROPS = ("none", "center_of_110_percent")
HU_RANGE = (-1024, 3071)
HU_DTYPE_RANGE = (-32768, 32767)


@dataclass(frozen=True)
class Preprocessing:
    """How a slice becomes an input.

    windows: names of `ct.windows.WINDOWS`; each is a channel per slice of the stack. One channel
        in all is repeated to three.
    window_scaling: "fixed" (0 at the window's low edge, 1 at its high edge), "minmax" (per slice
        and window, after clipping: HGI-SAM's code) or "wrapped" (HU modulo 256 over 255, no window:
        ResNet-LSTM author's notebook; takes the one name in `windows` for its one channel).
    stack_depth: neighbouring slices as channels, an odd number (LSE-UNet: 3).
    size: rows and columns of the input.
    crop: "none" squeezes the whole slice to `size`; "center_of_110_percent" resizes the shorter
        side to int(1.1 size) and cuts the centre (HGI-SAM's code, printed_and_authors, 003.6).
    mean, std: per RGB channel of inputs in [0, 1]; averaged where there are not three channels.
    """

    windows: tuple[str, ...]
    window_scaling: str
    stack_depth: int
    size: int
    crop: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("windows", "mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.windows:
            raise ParameterError("windows is empty; name at least one window")
        for name in self.windows:
            named_window(name)
        if self.window_scaling == "wrapped" and len(self.windows) != 1:
            raise ParameterError(
                f"window_scaling wrapped gives one channel, but windows names {list(self.windows)};"
                " name one"
            )

    @property
    def in_channels(self) -> int:
        """Input channels of the network: windows times slices, and three where that is one."""
        channels = len(self.windows) * self.stack_depth
        return 3 if channels == 1 else channels

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Of `channels`, in words: the window, and the slice's place in the stack.

        >>> stack = Preprocessing(("brain", "bone"), "fixed", 1, 128, "none", (0.5,), (0.5,))
        >>> stack.channel_names
        ('brain window', 'bone window')
        """
        if self.window_scaling == "wrapped":
            return ("grey of HU modulo 256",)
        places = [""]
        if self.stack_depth > 1:
            middle = self.stack_depth // 2
            places = [f", slice {number - middle:+d}" for number in range(self.stack_depth)]
            places[middle] = ", this slice"
        return tuple(f"{name} window{place}" for name in self.windows for place in places)

    @property
    def clip(self) -> tuple[int, int]:
        """HU below and above which no window sees a difference.

        Slices are clipped to it before resizing, so that bone does not bleed into brain: with one
        window that equals resizing the windowed image, up to rounding to whole HU. Wrapped grey
        sees all of them.
        """
        if self.window_scaling == "wrapped":
            return HU_DTYPE_RANGE
        windows = [named_window(name) for name in self.windows]
        low, high = min(window.low for window in windows), max(window.high for window in windows)
        return max(int(low // 1), HU_RANGE[0]), min(int(-(-high // 1)), HU_RANGE[1])

    def resized(self, hu: Tensor, clipped: bool = True) -> Tensor:
        """int16 HU (slices, rows, columns) clipped and resized to int16 (slices, size, size).

        Bilinear with antialiasing; a slice that already has the size is only clipped. `clipped`
        false keeps all HU, for what looks at the scan itself.
        """
        hu = hu.clamp(*self.clip) if clipped else hu
        if hu.shape[-2:] == (self.size, self.size) and self.crop == "none":
            return hu
        target = self._resize_target(*hu.shape[-2:])
        resized = functional.interpolate(
            hu.float()[None], size=target, mode="bilinear", antialias=True, align_corners=False
        )[0]
        return self._cut(resized).round().to(torch.int16).contiguous()

    def resized_codes(self, codes: Tensor) -> Tensor:
        """Mask codes or booleans (slices, rows, columns) on the input's grid, nearest neighbour,
        dtype kept."""
        target = self._resize_target(*codes.shape[-2:])
        resized = functional.interpolate(codes[None].float(), size=target, mode="nearest-exact")[0]
        return self._cut(resized).to(codes.dtype).contiguous()

    def on_grid(self, boxes: Tensor, rows: int, columns: int) -> Tensor:
        """Boxes (n, 4) of x, y, width, height in pixels of a slice of `rows` x `columns`, on the
        input's grid."""
        target = self._resize_target(rows, columns)
        down, across = target[0] / rows, target[1] / columns
        top, left = self._corner(target)
        scaled = boxes.double() * torch.tensor([across, down, across, down], dtype=torch.float64)
        return scaled - torch.tensor([left, top, 0, 0], dtype=torch.float64)

    def native(self, maps: Tensor, rows: int, columns: int) -> Tensor:
        """Maps (n, size, size) of the input's grid on the slice's own, float32 (n, rows, columns):
        the way back from `resized`. What a crop left out gets each map's lowest value."""
        target = self._resize_target(rows, columns)
        top, left = self._corner(target)
        whole = maps.amin((1, 2), keepdim=True).expand(-1, *target).clone()
        whole[:, top : top + self.size, left : left + self.size] = maps
        shape = {"size": (rows, columns), "mode": "bilinear", "align_corners": False}
        return functional.interpolate(whole[None].float(), antialias=True, **shape)[0]

    def native_points(self, points: Tensor, rows: int, columns: int) -> Tensor:
        """Points (n, 2) of row and column on the input's grid, in pixels of the slice, float64.

        A pixel's centre stays a pixel's centre: row 0 of a grid of half the side is row 0.5.
        """
        target = self._resize_target(rows, columns)
        offset, sides = torch.tensor(self._corner(target)), torch.tensor([rows, columns])
        return (points.double() + 0.5 + offset) * sides / torch.tensor(target) - 0.5

    def _corner(self, sides: Sequence[int]) -> list[int]:
        """Row and column at which the input is cut out of a resized slice."""
        return [(side - self.size) // 2 for side in sides]

    def _cut(self, slices: Tensor) -> Tensor:
        top, left = self._corner(slices.shape[-2:])
        return slices[:, top : top + self.size, left : left + self.size]

    def channels(self, hu: Tensor) -> Tensor:
        """HU (B, depth, size, size) to windowed channels in [0, 1], float32 (B, windows x depth,
        size, size).

        Channels run over windows first, then over slices of the stack, inferior to superior.
        """
        if self.window_scaling == "wrapped":
            return wrapped_grey(hu)
        scale = minmax_window if self.window_scaling == "minmax" else apply_window
        return torch.cat([scale(hu, named_window(name)) for name in self.windows], 1)

    def normalised(self, channels: Tensor) -> Tensor:
        """Channels in [0, 1] to the network's input (B, in_channels, size, size)."""
        channels = channels.expand(-1, self.in_channels, -1, -1)
        mean, std = (self._per_channel(values, channels) for values in (self.mean, self.std))
        return (channels - mean).div_(std)

    def inputs(self, hu: Tensor) -> Tensor:
        """int16 HU (B, depth, size, size) to the network's input, without augmentation."""
        return self.normalised(self.channels(hu))

    def _per_channel(self, values: tuple[float, ...], channels: Tensor) -> Tensor:
        per_channel = values if len(values) == channels.shape[1] else (sum(values) / len(values),)
        return torch.tensor(per_channel, dtype=channels.dtype, device=channels.device)[
            None, :, None, None
        ]

    def _resize_target(self, rows: int, columns: int) -> tuple[int, int]:
        if self.crop == "none":
            return self.size, self.size
        scale = int(1.1 * self.size) / min(rows, columns)
        return max(self.size, int(rows * scale)), max(self.size, int(columns * scale))

    def describe(self) -> dict[str, Any]:
        """JSON-able description that `preprocessing_from` reads back."""
        return asdict(self)


def preprocessing_from(description: Mapping[str, Any]) -> Preprocessing:
    """Inverse of `Preprocessing.describe`; WeightsError names entries that are missing or
    unknown."""
    names = {entry.name for entry in fields(Preprocessing)}
    if set(description) != names:
        missing, unknown = sorted(names - set(description)), sorted(set(description) - names)
        raise WeightsError(
            f"the checkpoint's preprocessing lacks {missing} and has unknown {unknown}"
        )
    return Preprocessing(**description)
