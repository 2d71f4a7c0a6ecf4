"""The scanner: blur, noise, beam hardening, table. Where the slices lie in the head: `placement`.

The noise spectrum is that of filtered back-projection: a ramp times the kernel's decay.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from ich_study.phantom.beam import beam_hardening
from ich_study.phantom.resample import centred

AIR_HU = -1000
LOWEST_HU, HIGHEST_HU = -1024, 3071
"""Range of a 12-bit CT number with intercept -1024."""


@dataclass(frozen=True)
class Scanner:
    """One acquisition. Angles in degrees, lengths in mm, `noise_hu` the SD in the head's middle.

    psf_mm: SD of the in-plane blur. cutoff: decay of the kernel, cycles per mm. hardening: strength
    of beam hardening; cupping: HU that bone adds to its surroundings. holder: HU, half width, share
    of the sides and thickness of the head rest (0 HU: none).
    """

    matrix: int
    fov_mm: float
    thickness_mm: float
    slices: int | None
    gantry_tilt: float
    angles: tuple[float, float, float]
    shift_mm: tuple[float, float]
    low_mm: float
    psf_mm: float
    cutoff: float
    noise_hu: float
    hardening: float
    cupping: float
    streak_hu: float
    holder: tuple[float, float, float, float]
    padded: bool

    @property
    def pixel_mm(self) -> float:
        """Pixel size."""
        return self.fov_mm / self.matrix


def draw_scanner(
    rng: np.random.Generator,
    matrix: int,
    thickness_mm: float,
    slices: int | None,
    tilt: float | None,
    fov_mm: float | None,
) -> Scanner:
    """Draws an acquisition; `slices`, `tilt` and `fov_mm` fix what they name."""
    drawn_tilt = float(rng.choice([0.0, 0.0, 0.0, 10.0, 15.0, 18.0, 20.0]))
    turned = 2.2 if rng.random() < 0.25 else 1.0
    fov = float(rng.choice([220.0, 230.0, 240.0, 250.0, 250.0, 260.0])) * rng.normal(1, 0.01)
    motion = (rng.random() < 0.08) * rng.uniform(0.8, 2.5)
    return Scanner(
        matrix=matrix,
        fov_mm=fov if fov_mm is None else fov_mm,
        thickness_mm=thickness_mm,
        slices=slices,
        gantry_tilt=drawn_tilt if tilt is None else tilt,
        angles=(
            rng.normal(2, 6.0),
            rng.normal(0, 3.0),
            rng.normal(0, 6.0) * turned,
        ),
        shift_mm=(rng.normal(0, 5.0), rng.normal(-2, 7.0)),
        low_mm=rng.uniform(-14, 8),
        psf_mm=rng.uniform(0.42, 0.68),
        cutoff=rng.uniform(0.30, 0.48),
        noise_hu=float(
            np.clip(rng.lognormal(np.log(3.3), 0.3) * np.sqrt(5.0 / thickness_mm) ** 0.7, 1.6, 9.0)
        ),
        hardening=rng.uniform(0.4, 1.2),
        cupping=rng.uniform(0, 12) + (rng.random() < 0.12) * rng.uniform(10, 45),
        streak_hu=motion,
        holder=(
            float(rng.choice([0.0, 250.0, 500.0, 900.0])),
            rng.uniform(88, 125),
            rng.uniform(0.25, 0.75),
            float(rng.choice([0.8, 1.2, 2.5])),
        ),
        padded=rng.random() < 0.25,
    )


def fbp_noise(
    rng: np.random.Generator, shape: tuple[int, int, int], pixel_mm: float, cutoff: float
) -> np.ndarray:
    """Noise of unit SD per slice with the spectrum |f| exp(-(f / cutoff)^2), float32; f in
    cycles/mm."""
    fy = np.fft.fftfreq(shape[1], pixel_mm)[:, None]
    fx = np.fft.rfftfreq(shape[2], pixel_mm)[None, :]
    frequency = np.hypot(fy, fx)
    filt = (frequency + 0.012) * np.exp(-((frequency / cutoff) ** 2))
    filt[0, 0] = 0
    spectrum = fft.rfft2(rng.standard_normal(shape, dtype=np.float32))
    spectrum *= filt.astype(np.float32)
    noise = fft.irfft2(spectrum, shape[1:], overwrite_x=True)
    noise /= noise.std()
    return noise


def add_holder(hu: np.ndarray, scanner: Scanner) -> None:
    """Paints the head rest, an arc under the head, into the air, in place."""
    density, half_width, depth, thick = scanner.holder
    if not density:
        return
    axis = centred(scanner.matrix) * scanner.pixel_mm
    u, v = axis[None, :] - 0.3 * scanner.shift_mm[0], axis[:, None] - scanner.shift_mm[1]
    radius = np.hypot(u / half_width, np.maximum(v - 15, 0) / 98)
    shell = np.clip(1.3 - np.abs(radius - 1.0) * 98 / max(scanner.pixel_mm, 0.6) / thick, 0, 1) * (
        v > 15 + 90 * (0.75 - depth)
    )
    free = np.clip((-800 - hu) / 150, 0, 1)
    hu += free * (shell * (density - AIR_HU)).astype(np.float32)


def _streaks(rng: np.random.Generator, scanner: Scanner) -> np.ndarray:
    axis = np.linspace(-1, 1, scanner.matrix, dtype=np.float32)
    angle = rng.uniform(0, np.pi)
    across = axis[:, None] * np.cos(angle) + axis[None, :] * np.sin(angle)
    wave = ndimage.gaussian_filter1d(rng.standard_normal(512), 4.0)
    return np.interp(across, np.linspace(-1.5, 1.5, 512), wave / wave.std()).astype(np.float32)


def acquire(hu: np.ndarray, scanner: Scanner, rng: np.random.Generator) -> np.ndarray:
    """Noiseless slices (HU, float32) to what the scanner stores, int16 HU within 12 bits."""
    sigma = scanner.psf_mm / scanner.pixel_mm
    for axis in (1, 2):
        hu = ndimage.gaussian_filter1d(hu, sigma, axis=axis, truncate=3.0)
    head = hu > -300
    hardening, glow, rough = beam_hardening(hu, scanner.pixel_mm, rng)
    hu = hu + scanner.hardening * hardening + scanner.cupping * glow
    add_holder(hu, scanner)
    bone_share = (hu > 300).mean((1, 2))
    level = scanner.noise_hu * (0.85 + 1.2 * np.clip(bone_share / 0.12, 0, 1.5) * 0.35)
    noise = fbp_noise(rng, hu.shape, scanner.pixel_mm, scanner.cutoff)
    noise *= level[:, None, None].astype(np.float32)
    hu = hu + noise + scanner.noise_hu / 3.3 * rough
    if scanner.streak_hu:
        for k in np.flatnonzero(rng.random(len(hu)) < 0.3):
            hu[k] += scanner.streak_hu * _streaks(rng, scanner) * head[k]
    if scanner.padded:
        axis = centred(scanner.matrix)
        hu[:, np.hypot(axis[:, None], axis[None, :]) > scanner.matrix / 2] = LOWEST_HU
    return np.clip(np.rint(hu), LOWEST_HU, HIGHEST_HU).astype(np.int16)
