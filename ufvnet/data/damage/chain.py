"""Damage in training: a random chain of the steps of ``damage``, seeded by face and described by a recipe's block.

Version 1, in this order; every share and range is the recipe's (``ufvnet.config.Damage``), every step is drawn by
itself:

1. grey: luma in all three channels, of HR as well: nobody asks for colours to be guessed.
2. blur of HR: Gaussian, round or up to four times as long as wide at any angle, or motion.
3. reduction: in one of Pillow's filters, or without a filter; at times in two steps, by way of a size of half to twice
   the wanted one, so that what the LR image holds may be less than its size says.
4. noise: Gaussian or photon, colour or grey.
5. compression: JPEG or WebP, either chroma sampling, the block grid at any offset or at the corner; at times before 4,
   at the size that step 3 went by, or a second time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ufvnet.config import Damage

from . import steps as damage
from .steps import Pixels

VERSION = 1
"""Raised when the same recipe and seed no longer damage a face in the same way."""

KINDS = ("blur", "aliasing", "noise", "compression", "all")
"""What ``Damaged.told`` tells of."""
MOST_BLUR, MOST_NOISE = 2.0, 15.0
"""LR pixels and levels that are told as 1."""


@dataclass(frozen=True)
class Damaged:
    """lr: (h, w, 3) uint8. hr: (H, H, 3) uint8, grey where lr is.

    told: (5,) float32, in the order of KINDS, 0 for none and about 1 for the strongest: sigma of the blur in LR pixels
    over 2; 1 where detail was sampled without a filter; sigma of the noise over 15 levels; (100 - quality) / 80; and
    how far the LR image is from a clean one, log2(1 + RMS in levels) / 6.
    """

    lr: Pixels
    hr: Pixels
    told: np.ndarray


@dataclass
class _Story:
    """What has been done so far."""

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
        clean: (h, w, 3), its LR image by PIL bicubic: the size wanted, and the result where no step is drawn.
        seed: of the face; the same seed gives the same bytes.
        trace: where the names of the steps taken go.
    """
    rng, story = np.random.default_rng(seed), _Story()
    if rng.random() < settings.clean:
        return Damaged(clean, hr, np.zeros(len(KINDS), np.float32))
    if rng.random() < settings.grey:
        hr, clean = damage.grey(hr), damage.grey(clean)
        story.done.append("grey")
    compressing = rng.random() < settings.compression
    lr, compressing = _reduced(hr, clean, settings, rng, story, compressing)
    noise_first = rng.random() < 0.85
    if compressing and not noise_first:
        lr = _compressed(lr, settings, rng, story)
    if rng.random() < settings.noise:
        lr = _noisy(lr, settings, rng, story)
    if compressing and noise_first:
        lr = _compressed(lr, settings, rng, story)
    if story.compression and rng.random() < settings.again:
        lr = _compressed(lr, settings, rng, story)
    if trace is not None:
        trace += story.done
    return Damaged(lr, hr, _told(lr, clean, story))


def _told(lr: Pixels, clean: Pixels, story: _Story) -> np.ndarray:
    rms = math.sqrt(float(np.square(lr.astype(np.float32) - clean).mean()))
    blur = min(1.0, math.sqrt(story.variance) / MOST_BLUR)
    return np.array([blur, story.aliasing, story.noise, story.compression, math.log2(1 + rms) / 6], dtype=np.float32)


def _reduced(
    hr: Pixels, clean: Pixels, settings: Damage, rng: np.random.Generator, story: _Story, compressing: bool
) -> tuple[Pixels, bool]:
    """Blurred and reduced, and whether compression is still to come."""
    height, width = clean.shape[:2]
    seen = hr
    if rng.random() < settings.blur:
        kernel = _kernel(settings, rng, story)
        seen = damage.blurred(hr, kernel)
        story.variance += (damage.spread(kernel) * height / hr.shape[0]) ** 2
    if rng.random() < settings.twice:
        factor = math.exp(rng.uniform(*np.log(settings.by_way_of)))
        between_h, between_w = (int(np.clip(round(n * factor), 4, len(hr))) for n in (height, width))
        seen = damage.resized(seen, between_h, between_w, _way(settings, rng, story, len(hr) / between_h))
        story.variance += (0.5 * max(0.0, height / between_h - 1)) ** 2
        story.done.append("twice")
        if compressing and rng.random() < 0.5:
            seen, compressing = _compressed(seen, settings, rng, story), False
    way = _way(settings, rng, story, seen.shape[0] / height)
    if way == "bicubic" and seen is hr:
        return clean, compressing
    return damage.resized(seen, height, width, way), compressing


def _kernel(settings: Damage, rng: np.random.Generator, story: _Story) -> np.ndarray:
    sigma, angle, kind = math.exp(rng.uniform(*np.log(settings.sigma))), rng.uniform(0, math.pi), rng.random()
    if kind < 0.5:
        story.done.append("blur")
        return damage.gaussian(sigma)
    if kind < 0.8:
        story.done.append("anisotropic blur")
        return damage.gaussian(sigma, rng.uniform(0.25, 1.0), angle)
    story.done.append("motion blur")
    return damage.motion(2.5 * sigma, angle)


def _way(settings: Damage, rng: np.random.Generator, story: _Story, reduction: float) -> str:
    if rng.random() >= settings.other_filter:
        return "bicubic"
    unfiltered = rng.random() < settings.unfiltered
    way = str(rng.choice(damage.UNFILTERED if unfiltered else damage.FILTERED[1:]))
    if unfiltered and reduction > 1.2:
        story.aliasing = 1.0
    story.done.append(way)
    return way


def _noisy(lr: Pixels, settings: Damage, rng: np.random.Generator, story: _Story) -> Pixels:
    sigma = rng.uniform(*settings.level)
    photon, grey = bool(rng.random() < 0.4), bool(rng.random() < 0.4)
    story.noise = sigma / MOST_NOISE
    story.done.append("photon noise" if photon else "noise")
    return damage.noisy(lr, rng, sigma, photon, grey)


def _compressed(lr: Pixels, settings: Damage, rng: np.random.Generator, story: _Story) -> Pixels:
    format = "WEBP" if rng.random() < 0.2 else "JPEG"
    quality = int(rng.integers(settings.quality[0], settings.quality[1] + 1))
    full_chroma, at_corner = bool(rng.random() < 0.4), rng.random() < 0.5
    down, right = (int(n) for n in rng.integers(0, damage.GRIDS[format], 2))
    story.compression = max(story.compression, (100 - quality) / 80)
    story.done.append(format)
    return damage.compressed(lr, format, quality, full_chroma, (0, 0) if at_corner else (down, right))  # type: ignore[arg-type]
