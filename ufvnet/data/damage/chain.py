"""Damage in training: a random chain of the steps of ``steps``, seeded by face, with a recipe's shares and ranges.

Version 1, in this order; the recipe gives every share and range (``ufvnet.config.Damage``), and every step is drawn
independently:

1. grey: luma in all three channels, of HR too, because a model should not have to guess colours.
2. blur of HR: Gaussian, round or up to four times as long as wide at any angle, or motion.
3. reduction: by one of Pillow's filters, or without a filter; sometimes in two steps, with a size of half to twice the
   wanted one between them, so that the LR image may hold less detail than its size suggests.
4. noise: Gaussian or photon, colour or grey.
5. compression: JPEG or WebP, either chroma sampling, the block grid at any offset or at the corner; sometimes before
   step 4, at the size between the two steps of 3, or a second time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from . import steps
from .steps import Pixels

if TYPE_CHECKING:
    from ufvnet.config import Damage

VERSION = 1
"""Raised when the same recipe and seed no longer damage a face in the same way."""

KINDS = ("blur", "aliasing", "noise", "compression", "all")
"""The kinds of damage that ``Damaged.amounts`` measures."""
MOST_BLUR, MOST_NOISE = 2.0, 15.0
"""LR pixels of blur and levels of noise whose amount is 1."""


@dataclass(frozen=True)
class Damaged:
    """A damaged LR image and what goes with it.

    lr: (h, w, 3) uint8.
    hr: (H, H, 3) uint8, grey if lr is.
    amounts: (5,) float32, in the order of KINDS, 0 for none and about 1 for the strongest: sigma of the blur in LR
        pixels over 2; 1 where detail was sampled without a filter; sigma of the noise over 15 levels;
        (100 - quality) / 80; and the distance of the LR image from a clean one, log2(1 + RMS in levels) / 6.
    """

    lr: Pixels
    hr: Pixels
    amounts: np.ndarray


@dataclass
class _Record:
    """What was done so far: variance of the blur in LR pixels, amounts of the other kinds, names of the steps."""

    variance: float = 0.0
    aliasing: float = 0.0
    noise: float = 0.0
    compression: float = 0.0
    done: list[str] = field(default_factory=list)


def damaged(
    hr: Pixels, clean: Pixels, settings: Damage, seed: tuple[int, ...], trace: list[str] | None = None
) -> Damaged:
    """A face's LR image as a random chain makes it.

    Args:
        hr: (H, H, 3).
        clean: (h, w, 3), its LR image by PIL bicubic, which gives the size, and is the result if no step is drawn.
        settings: shares and ranges.
        seed: of the face; the same seed gives the same bytes.
        trace: a list to which the names of the steps are added.
    """
    rng, record = np.random.default_rng(seed), _Record()
    if rng.random() < settings.clean:
        return Damaged(clean, hr, np.zeros(len(KINDS), np.float32))
    if rng.random() < settings.grey:
        hr, clean = steps.grey(hr), steps.grey(clean)
        record.done.append("grey")
    compressing = rng.random() < settings.compression
    lr, compressing = _reduced(hr, clean, settings, rng, record, compressing)
    noise_first = rng.random() < 0.85
    if compressing and not noise_first:
        lr = _compressed(lr, settings, rng, record)
    if rng.random() < settings.noise:
        lr = _noisy(lr, settings, rng, record)
    if compressing and noise_first:
        lr = _compressed(lr, settings, rng, record)
    if record.compression and rng.random() < settings.again:
        lr = _compressed(lr, settings, rng, record)
    if trace is not None:
        trace += record.done
    return Damaged(lr, hr, _amounts(lr, clean, record))


def _amounts(lr: Pixels, clean: Pixels, record: _Record) -> np.ndarray:
    rms = math.sqrt(float(np.square(lr.astype(np.float32) - clean).mean()))
    blur = min(1.0, math.sqrt(record.variance) / MOST_BLUR)
    return np.array([blur, record.aliasing, record.noise, record.compression, math.log2(1 + rms) / 6], dtype=np.float32)


def _reduced(
    hr: Pixels, clean: Pixels, settings: Damage, rng: np.random.Generator, record: _Record, compressing: bool
) -> tuple[Pixels, bool]:
    """The HR face blurred and reduced, and whether compression is still to come."""
    height, width = clean.shape[:2]
    current = hr
    if rng.random() < settings.blur:
        kernel = _kernel(settings, rng, record)
        current = steps.blurred(hr, kernel)
        record.variance += (steps.spread(kernel) * height / hr.shape[0]) ** 2
    if rng.random() < settings.twice:
        factor = math.exp(rng.uniform(*np.log(settings.by_way_of)))
        between_h, between_w = (int(np.clip(round(n * factor), 4, len(hr))) for n in (height, width))
        current = steps.resized(current, between_h, between_w, _way(settings, rng, record, len(hr) / between_h))
        record.variance += (0.5 * max(0.0, height / between_h - 1)) ** 2
        record.done.append("twice")
        if compressing and rng.random() < 0.5:
            current, compressing = _compressed(current, settings, rng, record), False
    way = _way(settings, rng, record, current.shape[0] / height)
    if way == "bicubic" and current is hr:
        return clean, compressing
    return steps.resized(current, height, width, way), compressing


def _kernel(settings: Damage, rng: np.random.Generator, record: _Record) -> np.ndarray:
    sigma, angle, kind = math.exp(rng.uniform(*np.log(settings.sigma))), rng.uniform(0, math.pi), rng.random()
    if kind < 0.5:
        record.done.append("blur")
        return steps.gaussian(sigma)
    if kind < 0.8:
        record.done.append("anisotropic blur")
        return steps.gaussian(sigma, rng.uniform(0.25, 1.0), angle)
    record.done.append("motion blur")
    return steps.motion(2.5 * sigma, angle)


def _way(settings: Damage, rng: np.random.Generator, record: _Record, reduction: float) -> str:
    if rng.random() >= settings.other_filter:
        return "bicubic"
    unfiltered = rng.random() < settings.unfiltered
    way = str(rng.choice(steps.UNFILTERED if unfiltered else steps.FILTERED[1:]))
    if unfiltered and reduction > 1.2:
        record.aliasing = 1.0
    record.done.append(way)
    return way


def _noisy(lr: Pixels, settings: Damage, rng: np.random.Generator, record: _Record) -> Pixels:
    sigma = rng.uniform(*settings.level)
    photon, grey = bool(rng.random() < 0.4), bool(rng.random() < 0.4)
    record.noise = sigma / MOST_NOISE
    record.done.append("photon noise" if photon else "noise")
    return steps.noisy(lr, rng, sigma, photon, grey)


def _compressed(lr: Pixels, settings: Damage, rng: np.random.Generator, record: _Record) -> Pixels:
    format = "WEBP" if rng.random() < 0.2 else "JPEG"
    quality = int(rng.integers(settings.quality[0], settings.quality[1] + 1))
    full_chroma, at_corner = bool(rng.random() < 0.4), rng.random() < 0.5
    down, right = (int(n) for n in rng.integers(0, steps.GRIDS[format], 2))
    record.compression = max(record.compression, (100 - quality) / 80)
    record.done.append(format)
    return steps.compressed(lr, format, quality, full_chroma, (0, 0) if at_corner else (down, right))  # type: ignore[arg-type]
