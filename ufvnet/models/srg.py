"""The anchor SR generator (SRG): encoder, latent FAU, decoder of Fig. 2(a); alone it is OneSRG (= SPARNet)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .conv import ConvLayer
from .fau import FAU

HR_SIZES = (64, 128)


class SROutput(NamedTuple):
    """What every network returns.

    sr: (N, 3, H, W) float, nominally in [-1, 1].
    weights: (N, anchors) float, each row summing to 1, or None for networks that weigh no anchors.
    logits: (N, anchors) float whose softmax the weights are, or None without a regressor.
    damage: (N, 5) float, the estimated damage (``ufvnet.data.damage.chain.KINDS``), or None without an estimate.
    """

    sr: Tensor
    weights: Tensor | None = None
    logits: Tensor | None = None
    damage: Tensor | None = None


def as_output(output: Any, faces: int | None = None, side: int | None = None) -> SROutput:
    """The output of any network as SROutput: of networks with an output of their own (competitors/) the picture.

    Raises:
        TypeError: it has no picture.
        ValueError: the picture is not (faces, 3, side, side), if they are given.
    """
    if not isinstance(output, SROutput):
        if not isinstance(getattr(output, "sr", None), Tensor):
            raise TypeError(f"the network gave {type(output).__name__}, not an SROutput or what has a picture `sr`")
        output = SROutput(output.sr)
    if faces is not None and output.sr.shape != (faces, 3, side, side):
        raise ValueError(f"the network gave {tuple(output.sr.shape)} instead of {(faces, 3, side, side)}")
    return output


@dataclass(frozen=True)
class Width:
    """Channel counts of a preset: they scale together (docs/method.md section 2)."""

    channels: tuple[int, int, int] = (32, 64, 128)
    c_mid: int = 64
    regressor: float = 1.0


def hourglass_depth(side: int) -> int:
    """Levels that take a map of this side down to 4x4: log2(side / 4)."""
    return (side // 4).bit_length() - 1


def check_side(x: Tensor, hr_size: int) -> None:
    """Raise ValueError unless x is (N, 3, hr_size, hr_size)."""
    if x.ndim != 4 or x.shape[1] != 3 or x.shape[2] != hr_size or x.shape[3] != hr_size:
        raise ValueError(
            f"the network takes (N, 3, {hr_size}, {hr_size}) images, got {tuple(x.shape)}; "
            f"scale the LR image to {hr_size}x{hr_size} by bicubic interpolation first"
        )


class Encoder(nn.Sequential):
    """Stem conv and three FAUs (down): (N, 3, H, H) -> (N, c2, H/8, H/8)."""

    def __init__(self, width: Width, hr_size: int):
        c0, c1, c2 = width.channels
        d = hourglass_depth(hr_size)
        super().__init__()
        self.add_module("stem", ConvLayer(3, c0))
        self.add_module("enc1", FAU(c0, c1, d - 1, "down", width.c_mid))
        self.add_module("enc2", FAU(c1, c2, d - 2, "down", width.c_mid))
        self.add_module("enc3", FAU(c2, c2, d - 3, "down", width.c_mid))


class Decoder(nn.Sequential):
    """Three FAUs (up) and a head conv: (N, c2, H/8, H/8) -> (N, 3, H, H)."""

    def __init__(self, width: Width, hr_size: int):
        c0, c1, c2 = width.channels
        d = hourglass_depth(hr_size)
        super().__init__()
        self.add_module("dec1", FAU(c2, c2, d - 2, "up", width.c_mid))
        self.add_module("dec2", FAU(c2, c1, d - 1, "up", width.c_mid))
        self.add_module("dec3", FAU(c1, c0, d, "up", width.c_mid))
        self.add_module("head", ConvLayer(c0, 3))


class SRG(nn.Module):
    """Anchor SR generator = SPARNet-Light-Attn3D with one latent FAU (section III-A, Fig. 2(a)).

    Args:
        width: channel counts.
        hr_size: side of input and output, 64 or 128 pixels.

    Raises:
        ValueError: hr_size is not one of HR_SIZES.
    """

    def __init__(self, width: Width | None = None, hr_size: int = 128):
        super().__init__()
        width = width or Width()
        if hr_size not in HR_SIZES:
            raise ValueError(f"hr_size must be one of {HR_SIZES}, got {hr_size}")
        c2 = width.channels[2]
        self.hr_size = hr_size
        self.encoder = Encoder(width, hr_size)
        self.latent = FAU(c2, c2, hourglass_depth(hr_size // 8), "same", width.c_mid)
        self.decoder = Decoder(width, hr_size)

    def forward(self, ls: Tensor, rate: Tensor | None = None) -> SROutput:
        """I_LS (N, 3, H, H) in [-1, 1] -> SROutput; ``rate`` is not used; all networks accept it."""
        check_side(ls, self.hr_size)
        return SROutput(self.decoder(self.latent(self.encoder(ls))))


def to_network(images: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) in [0, 255] -> float32 (N, 3, H, W) in [-1, 1]."""
    return images.to(torch.float32).div_(127.5).sub_(1.0)


def to_pixels(sr: Tensor) -> Tensor:
    """float (N, 3, H, W) nominally in [-1, 1] -> uint8 (N, 3, H, W), clipped and rounded."""
    return sr.float().add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
