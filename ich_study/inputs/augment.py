"""Random augmentation of a batch on its device: one affine map and one flip per image, seeded.

Named after the papers. What a paper leaves unstated is a field here, set through the options.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ich_study.errors import ParameterError, require_known


@dataclass(frozen=True)
class Affine:
    """A random affine map, drawn uniformly and applied with probability `probability`.

    rotate: +- degrees. translate: +- fraction of the image's side, per axis. scale: (low, high).
    shear: +- degrees, along x only, as torchvision's RandomAffine does for one number.
    """

    probability: float = 0.0
    rotate: float = 0.0
    translate: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0


PICTURE_LOW, PICTURE_HIGH = (-20.0, 5.0), (75.0, 130.0)
"""HU that are black and white in pictures of the brain, which are exported 80 to 150 HU wide."""


@dataclass(frozen=True)
class Augmentation:
    """Horizontal flip, then each affine map in turn (composed, so pixels are interpolated once),
    then a loss of resolution to a share drawn from [`resolution`, 1] (`coarser`), then a random
    window: contrast drawn from 1 +- `contrast` about mid-grey and brightness from +- `brightness`
    of the windowed scale, clipped to [0, 1]; then Gaussian noise with probability
    `noise_probability` and a standard deviation drawn from [0, `noise_std`]. `fill` is
    grid_sample's padding mode. `on_hu`: the images are HU before windowing, not windowed.
    `as_pictures`: share of the slices that come as grey pictures would (`pictures`)."""

    flip_probability: float = 0.0
    affines: tuple[Affine, ...] = ()
    noise_probability: float = 0.0
    noise_std: float = 0.0
    fill: str = "zeros"
    contrast: float = 0.0
    brightness: float = 0.0
    resolution: float = 1.0
    on_hu: bool = False
    as_pictures: float = 0.0

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Windowed images (B, C, H, W) in [0, 1] to augmented ones of the same shape.

        `generator` lives on the CPU; what it draws does not depend on the device.
        """
        return self.paired(images, None, generator)[0]

    def pictures(self, hu: Tensor, generator: torch.Generator) -> Tensor:
        """HU (B, ...) before windowing, a share of `as_pictures` of them without what lies beyond
        a window: what is left of a scan that came as a grey picture. The window's low edge is drawn
        from PICTURE_LOW, its high edge from PICTURE_HIGH."""
        if not self.as_pictures:
            return hu
        drawn = torch.rand(3, len(hu), *[1] * (hu.dim() - 1), generator=generator)
        chosen = (drawn[0] < self.as_pictures).to(hu.device)
        edges = []
        for part, (least, most) in zip(drawn[1:], (PICTURE_LOW, PICTURE_HIGH)):
            edges.append((least + (most - least) * part).round().to(hu))
        return torch.where(chosen, hu.clamp(*edges), hu)

    def paired(
        self, images: Tensor, masks: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Images as by calling, and their masks (B, H, W), if any, moved by the same maps, nearest
        neighbour, dtype kept."""
        count = len(images)
        output_to_input = self._drawn_matrices(count, generator).to(images)
        if self.flip_probability or self.affines:
            images = warp(images, output_to_input, self.fill)
            if masks is not None:
                alike = masks[:, None].to(images)
                moved = warp(alike, output_to_input, self.fill, "nearest")
                masks = moved[:, 0].to(masks.dtype)
        if self.resolution < 1:
            images = coarser(images, self.resolution, generator)
        if self.contrast or self.brightness:
            gain, shift = (
                (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1).to(images)
                for _ in range(2)
            )
            images = (
                (images - 0.5) * (1 + self.contrast * gain) + 0.5 + self.brightness * shift
            ).clamp(0, 1)
        if self.noise_probability:
            images = images + self._drawn_noise(images, generator)
        return images, masks

    def _drawn_matrices(self, count: int, generator: torch.Generator) -> Tensor:
        matrices = torch.eye(3, dtype=torch.float64).repeat(count, 1, 1)
        flipped = torch.rand(count, generator=generator) < self.flip_probability
        matrices[:, 0, 0] = torch.where(flipped, -1.0, 1.0).double()
        for affine in self.affines:
            drawn = _drawn_affine(affine, count, generator)
            matrices = matrices @ torch.linalg.inv(drawn)
        return matrices

    def _drawn_noise(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count = len(images)
        chosen = torch.rand(count, generator=generator) < self.noise_probability
        std = torch.rand(count, generator=generator) * self.noise_std * chosen
        noise = torch.randn(images.shape, generator=generator) * std[:, None, None, None]
        return noise.to(images)


def affine_matrix(rotate: Tensor, translate: Tensor, scale: Tensor, shear: Tensor) -> Tensor:
    """Forward maps (B, 3, 3) about the image's centre in units of half a side, float64.

    rotate, shear in degrees (B,), translate as a fraction of the side (B, 2: x, y), scale (B,).
    Angles turn as in torchvision's `affine`: T R(rotate) Shear_x(shear) scale.
    """
    angle, skew = torch.deg2rad(rotate.double()), torch.deg2rad(shear.double())
    matrices = torch.eye(3, dtype=torch.float64).repeat(len(rotate), 1, 1)
    matrices[:, 0, 0], matrices[:, 0, 1] = (
        torch.cos(angle),
        -torch.cos(angle) * torch.tan(skew) - torch.sin(angle),
    )
    matrices[:, 1, 0], matrices[:, 1, 1] = (
        torch.sin(angle),
        -torch.sin(angle) * torch.tan(skew) + torch.cos(angle),
    )
    matrices[:, :2, :2] *= scale.double()[:, None, None]
    matrices[:, :2, 2] = 2 * translate.double()
    return matrices


def warp(images: Tensor, output_to_input: Tensor, fill: str, mode: str = "bilinear") -> Tensor:
    """Images (B, C, H, H) resampled, bilinearly unless said otherwise, through (B, 3, 3) maps of
    centred coordinates."""
    grid = functional.affine_grid(output_to_input[:, :2], list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode=mode, padding_mode=fill, align_corners=False)


def coarser(images: Tensor, lowest: float, generator: torch.Generator) -> Tensor:
    """Each of the images (B, C, H, W) at a share of its rows and columns that is drawn from
    [`lowest`, 1], and back at its size: what a coarser scanner or a smaller picture leaves."""
    sides = images.shape[-2:]
    shares = lowest + (1 - lowest) * torch.rand(len(images), generator=generator)
    found = []
    for image, share in zip(images, shares.tolist()):
        fewer = [max(1, round(share * side)) for side in sides]
        less = functional.interpolate(image[None], fewer, mode="bilinear", antialias=True)
        found.append(functional.interpolate(less, sides, mode="bilinear"))
    return torch.cat(found)


@dataclass(frozen=True)
class GreyAugmentation(Augmentation):
    """The MIL detector's: grey values times [1, gain] or its inverse, plus +- offset; flip and
    affine map; blurred by a Gaussian of a standard deviation up to `blur` pixels, or sharpened by
    up to `sharpen` of the Laplacian. Each grey step for a `share` of the slices; `probability`: of
    augmenting a slice at all. The units are those of the images, HU or windowed. crop: px, side of
    the square that is cut at random out of each slice last; None cuts nothing. Resolution,
    contrast, brightness and noise are not used."""

    probability: float = 1.0
    share: float = 1.0
    gain: float = 1.0
    offset: float = 0.0
    blur: float = 0.0
    sharpen: float = 0.0
    crop: int | None = None

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images (B, C, H, W) to augmented ones of the same shape or of `crop` px, clipped to
        nothing."""
        count = len(images)

        def drawn(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(count, generator=generator)

        def chosen(values: Tensor, neutral: float, share: float) -> Tensor:
            return torch.where(torch.rand(count, generator=generator) < share, values, neutral)

        exponent = torch.sign(drawn(-1, 1))
        gain = chosen(drawn(1, self.gain) ** exponent, 1.0, self.share)
        offset = chosen(drawn(-self.offset, self.offset), 0.0, self.share)
        blurred = drawn(0, 1) < 0.5
        sigma = torch.where(blurred, chosen(drawn(0, self.blur), 0.0, self.share), 0.0)
        sharpening = torch.where(blurred, 0.0, chosen(drawn(0, self.sharpen), 0.0, self.share))
        matrices = self._drawn_matrices(count, generator)
        kept = chosen(torch.ones(count), 0.0, self.probability).to(images)[:, None, None, None]
        gain, offset = (values.to(images)[:, None, None, None] for values in (gain, offset))
        moved = warp(images * gain + offset, matrices.to(images), self.fill)
        augmented = torch.where(kept > 0, _filtered(moved, sigma, sharpening), images)
        return augmented if self.crop is None else random_crops(augmented, self.crop, generator)

    def paired(
        self, images: Tensor, masks: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Not there: the MIL detector trains without masks."""
        raise ParameterError(
            "the MIL detector's augmentation moves no masks; choose another for training with masks"
        )


def random_crops(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """A square of `side` px out of each of the images (B, C, H, W), at a place of its own.

    Raises ParameterError where the images are smaller.
    """
    height, width = images.shape[-2:]
    if not 0 < side <= min(height, width):
        raise ParameterError(
            f"augmentation crop is {side} px of images of {height} x {width} px; set size larger"
        )
    cut = []
    for image in images:
        top = int(torch.randint(height - side + 1, (), generator=generator))
        left = int(torch.randint(width - side + 1, (), generator=generator))
        cut.append(image[:, top : top + side, left : left + side])
    return torch.stack(cut)


def _filtered(images: Tensor, sigma: Tensor, sharpening: Tensor) -> Tensor:
    """Each image blurred by its own Gaussian (5 x 5), minus its own share of the Laplacian; borders
    replicated."""
    squared = torch.arange(-2, 3) ** 2
    taps = torch.where(
        sigma[:, None] > 0,
        torch.exp(-squared / (2 * sigma[:, None] ** 2).clamp(min=1e-12)),
        (squared == 0).float(),
    )
    taps = taps / taps.sum(1, keepdim=True)
    kernels = taps[:, :, None] * taps[:, None, :]
    kernels[:, 1:4, 1:4] -= sharpening[:, None, None] * torch.tensor(
        [[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]
    )
    count, channels = images.shape[:2]
    kernels = kernels.to(images).repeat_interleave(channels, 0)[:, None]
    padded = functional.pad(images, (2, 2, 2, 2), mode="replicate").flatten(0, 1)[None]
    return functional.conv2d(padded, kernels, groups=count * channels)[0].view_as(images)


MIL_AFFINE = Affine(0.9, 30.0, 50 / 256, (1 / 1.1, 1.1), math.degrees(0.05))
"""Of the MIL detector's code: 50 px of 256, shear 0.05 rad, for 90 % (printed_and_authors, 004.3).
The paper prints a random crop where the code has the translation."""

NAMED: dict[str, Augmentation] = {
    "none": Augmentation(),
    # LSE-UNet's code (printed_and_authors, 000.9)
    "lse_unet": Augmentation(0.5, (Affine(1.0, 30.0, 0.1, (0.8, 1.2), 10.0),)),
    # CAM benchmark: HorizontalFlip, Rotate, ShiftScaleRotate; the limits are lost from its text,
    # these are albumentations' defaults
    "cam_benchmark": Augmentation(0.5, (Affine(0.5, 90.0), Affine(0.5, 45.0, 0.0625, (0.9, 1.1)))),
    # HGI-SAM's code; its translation of 0.1 is read in pixels by MONAI and does nothing
    # (printed_and_authors, 003.9)
    "hgi_sam": Augmentation(0.5, (Affine(0.5, 45.0, 0.0, (0.9, 1.1)),), 0.5, 0.1),
    "mil_geometric": Augmentation(0.5, (MIL_AFFINE,), fill="border"),
    # MIL detector II-E, the addition in units of the standardised channels, which are 4096 / 1000
    # of ours
    "mil_printed": GreyAugmentation(
        0.5,
        (MIL_AFFINE,),
        fill="border",
        gain=1.02,
        offset=0.2 * 1000 / 4096,
        blur=0.5,
        sharpen=0.5,
    ),
    # its code: before windowing, 95 % of the slices, each step for 90 % of them, the addition in HU
    # (printed_and_authors, 004.3)
    "mil_authors": GreyAugmentation(
        0.5,
        (MIL_AFFINE,),
        fill="border",
        on_hu=True,
        probability=0.95,
        share=0.9,
        gain=1.02,
        offset=20.0,
        blur=0.5,
        sharpen=0.5,
    ),
}


def named_augmentation(name: str, options: Mapping[str, Any] | None = None) -> Augmentation:
    """The augmentation called `name` with some fields replaced.

    `options` keys are fields of `Augmentation` (affines excepted) or `<number>.<field>` of an
    affine map, for example `{"flip_probability": 0, "1.rotate": 15}` for the second map. Raises
    ParameterError naming what is unknown.
    """
    require_known("augmentation", name, NAMED)
    augmentation = NAMED[name]
    for key, value in (options or {}).items():
        augmentation = _with_option(
            augmentation, name, key, tuple(value) if isinstance(value, list) else value
        )
    require_known("augmentation fill", augmentation.fill, ("zeros", "border", "reflection"))
    if not 0 < augmentation.resolution <= 1:
        raise ParameterError(
            f"augmentation resolution is {augmentation.resolution}; expected a share above 0, at"
            " most 1"
        )
    return augmentation


def _with_option(augmentation: Augmentation, name: str, key: str, value: Any) -> Augmentation:
    number, _, field_name = key.rpartition(".")
    known = [entry.name for entry in fields(augmentation) if entry.name != "affines"]
    for index in range(len(augmentation.affines)):
        known += [f"{index}.{entry.name}" for entry in fields(Affine)]
    if key not in known:
        raise ParameterError(
            f"augmentation {name!r} has no option {key!r}; known: {', '.join(known)}"
        )
    if not number:
        return replace(augmentation, **{field_name: value})
    affines = list(augmentation.affines)
    affines[int(number)] = replace(affines[int(number)], **{field_name: value})
    return replace(augmentation, affines=tuple(affines))


def _drawn_affine(affine: Affine, count: int, generator: torch.Generator) -> Tensor:
    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(
            count, *shape, generator=generator, dtype=torch.float64
        )

    drawn = affine_matrix(
        uniform(-affine.rotate, affine.rotate),
        uniform(-affine.translate, affine.translate, 2),
        uniform(*affine.scale),
        uniform(-affine.shear, affine.shear),
    )
    applied = torch.rand(count, generator=generator) < affine.probability
    return torch.where(applied[:, None, None], drawn, torch.eye(3, dtype=torch.float64))
