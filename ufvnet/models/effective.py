"""The effective size of a face: how many pixels its content needs, whatever size it was enlarged to.

A face's effective size is the side of the smallest square that bicubic reduction can take it to and bicubic enlargement
can bring it back from without losing anything that shows. For a face that was enlarged from n x n pixels, that is n. A
blurred face has the size whose reduction and enlargement damp the same frequency to a half (docs/method.md section 9).
Faces are looked at on SIDE x SIDE pixels, so that a size of SIDE says "SIDE or more".
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ufvnet.files import sha256
from ufvnet.imaging.resize import LARGE, resize, shrink_enlarged

SIDE = 128
"""Side of the picture that the network sees, and the largest size that it knows."""
LEAST = 8
"""The smallest size that it knows."""
GAUSSIAN = 0.463
"""A Gaussian blur of sigma pixels leaves a face of n pixels an effective size of GAUSSIAN n / sigma."""
BANDS = 32
"""Rings of the spectrum."""
DOUBTFUL = 100
"""Pixels; faces whose estimate is below are looked at for the exact size that they were enlarged from."""
DIP = 0.75
"""Share of its neighbours' error below which a size stands out."""
FLAT = 2.0
"""Standard deviation of luma in levels below which a picture shows no face."""
WEIGHTS = Path(__file__).parents[1] / "weights" / "effective-size.safetensors"


class EffectiveSize(nn.Module):
    """(N, 1, SIDE, SIDE) luma, 0 to 255 -> (N,) log2 of the effective size, not bounded.

    Two looks at the picture, joined: convolutions, pooled over all places, and the power of its spectrum in BANDS rings
    of frequency, which ends where an enlarged picture's detail ends. Contrast is normalised, so that a dull face is not
    taken for a blurred one. 0.04 GMAC, 0.16 M parameters.

    Args:
        channels: of the maps of 32x32, 16x16 and 8x8.
    """

    window: Tensor
    rings: Tensor

    def __init__(self, channels: Sequence[int] = (40, 64, 96)):
        super().__init__()
        a, b, c = channels
        self.layers = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(16, a, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(a, a, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(b, b, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(b, c, 3, stride=2, padding=1), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.Linear(2 * c + BANDS, 96), nn.ReLU(inplace=True), nn.Linear(96, 64), nn.ReLU(inplace=True),
            nn.Linear(64, 1),
        )  # fmt: skip
        window = torch.hann_window(SIDE, periodic=False)
        self.register_buffer("window", window[:, None] * window, persistent=False)
        self.register_buffer("rings", _rings(), persistent=False)

    def features(self, luma: Tensor) -> Tensor:
        """(N, 2c + BANDS): mean and maximum of each map, and the logarithm of each ring's power."""
        x = luma - luma.mean((2, 3), keepdim=True)
        x = x / (x.square().mean((2, 3), keepdim=True).sqrt() + 4)
        maps = self.layers(x)
        power = torch.fft.rfft2(x[:, 0].float() * self.window).abs().square().flatten(1)
        bands = (power @ self.rings + 1e-3).log10()
        return torch.cat([maps.mean((2, 3)), maps.amax((2, 3)), bands], 1)

    def forward(self, luma: Tensor) -> Tensor:
        return self.head(self.features(luma))[:, 0] + 5


def _rings() -> Tensor:
    """(SIDE (SIDE/2 + 1), BANDS): means over rings of rfft2's frequencies, up to Nyquist's."""
    rows, columns = torch.fft.fftfreq(SIDE)[:, None], torch.fft.rfftfreq(SIDE)
    ring = (torch.hypot(rows, columns) * 2 * BANDS).long().flatten()
    members = F.one_hot(ring.clamp(max=BANDS), BANDS + 1)[:, :BANDS].float()
    return members / members.sum(0)


@functools.cache
def estimator() -> EffectiveSize:
    """The network with the weights that come with the package, on the CPU."""
    from safetensors.torch import load_file

    network = EffectiveSize()
    network.load_state_dict({name: value.float() for name, value in load_file(WEIGHTS).items()})
    return network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


@functools.cache
def fingerprint() -> str:
    """Of the weights: part of the key of every output that depends on an estimate."""
    digest = sha256(WEIGHTS)
    assert digest is not None, "the package is damaged"
    return digest


@torch.inference_mode()
def effective_sizes(images: Sequence[Image.Image]) -> list[float]:
    """How many pixels the content of each face crop needs along its longer side; at most that side.

    The middle square of a crop is looked at. A picture without contrast, which shows no face, counts as sharp: nothing
    tells that it was enlarged.

    Args:
        images: L or RGB, of any sizes.
    """
    if not images:
        return []
    luma = np.stack([np.asarray(resize(_middle(image).convert("L"), SIDE)) for image in images])
    logs = estimator()(torch.from_numpy(luma)[:, None].float()).clamp(math.log2(LEAST), math.log2(SIDE))
    logs[torch.from_numpy(luma.std((1, 2)) < FLAT)] = math.log2(SIDE)
    shares = [min(1.0, size / min(image.size)) for size, image in zip(logs.exp2().tolist(), images)]
    sizes = [share * max(image.size) for share, image in zip(shares, images)]
    return [_exact(image, size) or size if size < DOUBTFUL else size for image, size in zip(images, sizes)]


def _exact(image: Image.Image, estimate: float) -> int | None:
    """The size from which a whole picture was enlarged, if one near the estimate stands out.

    What ``shrink_enlarged`` cannot bring back falls abruptly at that size, as its neighbours' pixels lie elsewhere. A
    crop whose edges lie between the pixels of the smaller picture has no such size.
    """
    luma = image.convert("L")
    if max(luma.size) > LARGE:
        luma = resize(luma, *(max(2, round(side * LARGE / max(image.size))) for side in image.size))
    pixels = np.asarray(luma, np.float32)
    errors = {}
    first, last = max(LEAST, round(0.65 * estimate)), min(round(1.1 * estimate), max(luma.size) - 2)
    for side in range(first - 1, last + 2):
        factor = side / max(luma.size)
        small = shrink_enlarged(luma, *(max(1, round(length * factor)) for length in luma.size))
        errors[side] = float(np.square(np.asarray(resize(small, *luma.size), np.float32) - pixels).mean()) ** 0.5
    sides = range(first, last + 1)
    if not sides:
        return None
    dips = {side: _dip(errors[side], errors[side - 1] + errors[side + 1]) for side in sides}
    best = min(dips, key=lambda side: dips[side])
    return best if dips[best] < DIP / 2 else None


def _dip(error: float, neighbours: float) -> float:
    """An error over the sum of its neighbours; infinity where nothing is lost at either, as in a flat picture."""
    return error / neighbours if neighbours else math.inf


def _middle(image: Image.Image) -> Image.Image:
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    return image.crop((left, top, left + side, top + side))
