"""How an HR face becomes its LR images in a build: named, versioned degradations, seeded by face and size."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ufvnet.data.damage import steps
from ufvnet.imaging.resize import resize

BLUR, NOISE, QUALITY = (0.2, 1.0), (0.0, 8.0), (50, 95)
"""Ranges of blur-noise-jpeg: sigma in LR pixels, sigma in levels of 255, JPEG quality (both ends included)."""


@dataclass(frozen=True)
class Degradation:
    """A way to make LR images.

    name: in configurations and cards.
    version: raised when the same HR face no longer gives the same bytes.
    summary: for the card.
    apply: (HR image, side, generator or None) to the LR image.
    random: true if ``apply`` needs a generator.
    """

    name: str
    version: int
    summary: str
    apply: Callable[[Image.Image, int, np.random.Generator | None], Image.Image]
    random: bool = False


def degrade(name: str, hr: Image.Image, sides: Sequence[int], seed: Sequence[int]) -> list[Image.Image]:
    """The LR images of one face.

    Args:
        name: one of DEGRADATIONS.
        hr: 8-bit RGB, square.
        sides: of the LR images in pixels.
        seed: of the face; each size has a generator of its own, so the order of sizes does not matter.

    Returns:
        8-bit RGB images of the given sides.

    Raises:
        ValueError: unknown name.
    """
    if name not in DEGRADATIONS:
        raise ValueError(f"degradation {name!r}: must be one of {', '.join(DEGRADATIONS)}")
    chosen = DEGRADATIONS[name]
    return [chosen.apply(hr, s, np.random.default_rng([*seed, s]) if chosen.random else None) for s in sides]


def _pil(hr: Image.Image, side: int, _: np.random.Generator | None) -> Image.Image:
    return resize(hr, side)


@functools.lru_cache(maxsize=64)
def _matlab_weights(n_in: int, n_out: int) -> np.ndarray:
    """imresize's weights (n_out, n_in): the kernel (a = -0.5) widened by the reduction, mirrored at the borders."""
    scale = n_out / n_in
    stretch = min(scale, 1.0)
    width = 4 / stretch
    centre = (np.arange(1, n_out + 1)) / scale + 0.5 * (1 - 1 / scale)
    taps = np.floor(centre - width / 2)[:, None] + np.arange(math.ceil(width) + 2)
    weights = stretch * steps.cubic(stretch * (centre[:, None] - taps), -0.5)
    weights /= weights.sum(1, keepdims=True)
    mirror = np.r_[np.arange(n_in), np.arange(n_in)[::-1]]
    columns = mirror[np.mod(taps.astype(int) - 1, 2 * n_in)]
    matrix = np.zeros((n_out, n_in))
    np.add.at(matrix, (np.arange(n_out)[:, None], columns), weights)
    return matrix


def _matlab(hr: Image.Image, side: int, _: np.random.Generator | None) -> Image.Image:
    """MATLAB's imresize(I, [side side], 'bicubic') of uint8: rows, then columns, each rounded half up to uint8.

    Before rounding it equals basicsr's port of imresize to 5e-4 levels (the port computes in float32). It was not
    compared with MATLAB itself.
    """
    weights = _matlab_weights(hr.height, side)
    pixels = np.asarray(hr, dtype=np.float64)
    for _pass in range(2):
        summed = np.tensordot(weights, pixels, axes=(1, 0))
        pixels = np.clip(np.floor(summed + 0.5), 0, 255).swapaxes(0, 1)
    return Image.fromarray(pixels.astype(np.uint8))


def _cv2(hr: Image.Image, side: int, _: np.random.Generator | None) -> Image.Image:
    """cv2.resize(..., INTER_CUBIC) of uint8: no antialiasing, one rounding at the end.

    On 592 reductions of 37 faces it equals OpenCV 5.0.0 except for 6 in 100,000 values, which differ by one level.
    OpenCV 4 has weights of 11 bits; with it 4 % of the values differ by one level.
    """
    return Image.fromarray(steps.resized(np.asarray(hr), side, side, "cv2-cubic"))


def _blur_noise_jpeg(hr: Image.Image, side: int, rng: np.random.Generator | None) -> Image.Image:
    """Gaussian blur of the HR face, PIL bicubic, Gaussian noise, JPEG without chroma subsampling."""
    assert rng is not None
    sigma, noise = rng.uniform(*BLUR) * hr.width / side, rng.uniform(*NOISE)
    quality = int(rng.integers(QUALITY[0], QUALITY[1] + 1))
    lr = np.asarray(resize(_blurred(hr, sigma), side))
    return Image.fromarray(steps.compressed(steps.noisy(lr, rng, noise), "JPEG", quality, full_chroma=True))


def _blurred(image: Image.Image, sigma: float) -> Image.Image:
    """Separable Gaussian with mirrored borders.

    Summed in a fixed order, so that every machine builds the same bytes; ``steps.blurred``, by FFT, is not.
    """
    reach = min(math.ceil(3 * sigma), image.width - 1)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps /= taps.sum()
    pixels = np.asarray(image, dtype=np.float64)
    for _pass in range(2):
        padded = np.pad(pixels, ((reach, reach), (0, 0), (0, 0)), mode="symmetric")
        summed = np.zeros_like(pixels)
        for i, tap in enumerate(taps):
            summed += tap * padded[i : i + len(pixels)]
        pixels = summed.swapaxes(0, 1)
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


DEGRADATIONS = {
    d.name: d
    for d in (
        Degradation("pil-bicubic", 1, "Pillow's bicubic, antialiased, a = -0.5", _pil),
        Degradation("matlab-bicubic", 1, "MATLAB's imresize, antialiased, a = -0.5, mirrored borders", _matlab),
        Degradation("cv2-bicubic", 1, "OpenCV's INTER_CUBIC, not antialiased, a = -0.75", _cv2),
        Degradation(
            "blur-noise-jpeg", 1,
            f"Gaussian blur of sigma {BLUR[0]}-{BLUR[1]} LR pixels, Pillow's bicubic, noise of sigma {NOISE[0]:.0f}-"
            f"{NOISE[1]:.0f} levels, JPEG of quality {QUALITY[0]}-{QUALITY[1]}", _blur_noise_jpeg, random=True,
        ),
    )
}  # fmt: skip
