"""UFVNet-Lite: UFVNet's idea (anchor encoders, weights by Eq. 4, one decoder) on a small backbone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .regressor import anchor_weights
from .srg import HR_SIZES, SROutput, check_side

SIDE = 32
"""Side of the widest maps: the image is unshuffled to it, and the output shuffled back."""


@dataclass(frozen=True)
class LiteWidth:
    """Sizes at the three levels (32x32, 16x16, 8x8).

    encoder: channels of one anchor's encoder. decoder: channels of the decoder.
    blocks: residual blocks of the decoder; every encoder has one per level.
    """

    encoder: tuple[int, ...] = (32, 48, 48)
    decoder: tuple[int, ...] = (96, 128, 160)
    blocks: tuple[int, ...] = (2, 2, 2)

    def scaled(self, factor: float) -> LiteWidth:
        """Every channel count times a factor."""
        encoder, decoder = (tuple(round(c * factor) for c in counts) for counts in (self.encoder, self.decoder))
        return LiteWidth(encoder, decoder, self.blocks)


class ResidualBlock(nn.Module):
    """x + conv(ReLU(conv(x))), 3x3, without norms: (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, channels: int, groups: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, groups=groups)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=groups)
        with torch.no_grad():
            self.conv2.weight.mul_(0.1)  # starts near the identity

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu_(self.conv1(x))).add_(x)  # in place: one map less to write


def sampling_phase(rate: Tensor, hr_size: int) -> Tensor:
    """Where each HR row and column lies between the LR pixels that U(.) interpolated.

    Bicubic interpolation is sharpest at the centre of an LR pixel and most blurred halfway between two. Unless the rate
    is 1 over a whole number, these places shift over the image, and a convolution cannot know where they are.

    Args:
        rate: (N,) down-sampling rates, or (N, 2) of rows and columns.

    Returns:
        (N, 4 s, 32, 32), s = hr_size / 32: sine and cosine of 2 pi rate (x + 1/2) of the s rows and s columns in
        each cell of the unshuffled image.
    """
    both = rate[:, None].expand(-1, 2) if rate.ndim == 1 else rate
    places = torch.arange(hr_size, device=rate.device, dtype=torch.float32) + 0.5
    angle = 2 * torch.pi * both[:, :, None].float() * places
    waves = torch.stack([angle.sin(), angle.cos()], 2).unflatten(-1, (SIDE, hr_size // SIDE))  # (N, 2, 2, 32, s)
    rows, columns = waves.transpose(3, 4).flatten(2, 3).unbind(1)  # (N, 2 s, 32) each
    return torch.cat([rows[..., :, None].expand(-1, -1, -1, SIDE), columns[..., None, :].expand(-1, -1, SIDE, -1)], 1)


class AnchorEncoders(nn.Module):
    """All anchors' encoders side by side: grouped convolutions with one group per anchor (Eqs. 6-8).

    (N, c_in, 32, 32) and weights (N, n) -> three maps, (N, n c, s, s) for s = 32, 16, 8, each anchor's part times
    its weight (times n, so that equal weights leave the maps as they are).
    """

    def __init__(self, anchors: int, c_in: int, channels: Sequence[int]):
        super().__init__()
        self.anchors = anchors
        wide = [anchors * c for c in channels]
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=1 if i == 0 else 2, padding=1, groups=1 if i == 0 else anchors)
            for i, (a, b) in enumerate(zip([c_in, *wide], wide))
        )
        self.blocks = nn.ModuleList(ResidualBlock(c, anchors) for c in wide)

    def forward(self, x: Tensor, w: Tensor) -> list[Tensor]:
        maps = []
        for i, (conv, block) in enumerate(zip(self.convs, self.blocks)):
            x = block(conv(F.relu(x) if i else x))
            maps.append(x * (w * self.anchors).repeat_interleave(x.shape[1] // self.anchors, 1)[:, :, None, None])
        return maps


class RowLinear(nn.Linear):
    """(N, a) -> (N, b), computed row by row, so that a face's result does not depend on the other faces of its batch.

    In a matrix product the last bits of a row depend on its place in the batch, unless the batch size is a multiple
    of 16.
    """

    def forward(self, x: Tensor) -> Tensor:
        return (x[:, None, :] * self.weight).sum(-1) + self.bias


class LiteRegressor(nn.Sequential):
    """The weights' logits from the unshuffled image: (N, c_in, 32, 32) -> (N, anchors)."""

    def __init__(self, anchors: int, c_in: int, channels: Sequence[int] = (32, 48, 64)):
        layers: list[nn.Module] = []
        for a, b in zip([c_in, *channels], channels):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU(inplace=True)]
        c = channels[-1]
        super().__init__(
            *layers,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            RowLinear(c, c),
            nn.ReLU(inplace=True),
            RowLinear(c, anchors),
        )


class UFVNetLite(nn.Module):
    """Three anchor encoders and a decoder with skips, on the image unshuffled to 32x32; the output is a residual.

    The encoders also see the ``sampling_phase``; the regressor sees the image alone, as the paper's does.

    Args:
        anchors: down-sampling rates of the anchors.
        weighting: ``regressor`` (Eq. 5), ``equal`` (every weight is 1/n; the reference for the regressor), or
            ``formula`` (Eq. 4 from the true rate).
        width: channel and block counts.
        hr_size: side of input and output, 64 or 128 pixels.

    Raises:
        ValueError: hr_size is not one of HR_SIZES.
    """

    rate_by_axis = True
    """``Restorer`` passes a rate for rows and one for columns; they differ if an input is not square."""

    def __init__(
        self,
        anchors: Sequence[float] = (1 / 8, 1 / 4, 1 / 2),
        weighting: Literal["regressor", "equal", "formula"] = "regressor",
        width: LiteWidth | None = None,
        hr_size: int = 128,
    ):
        super().__init__()
        width = width or LiteWidth()
        if hr_size not in HR_SIZES:
            raise ValueError(f"hr_size must be one of {HR_SIZES}, got {hr_size}")
        self.anchors, self.weighting, self.hr_size, self.shuffle = tuple(anchors), weighting, hr_size, hr_size // SIDE
        n, c_in, decoder = len(self.anchors), 3 * self.shuffle**2, width.decoder
        self.encoders = AnchorEncoders(n, c_in + 4 * self.shuffle, width.encoder)
        self.regressor = LiteRegressor(n, c_in) if weighting == "regressor" else None
        self.fuse = nn.ModuleList(nn.Conv2d(n * e, d, 1) for e, d in zip(width.encoder, decoder))
        self.blocks = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(d) for _ in range(count))) for d, count in zip(decoder, width.blocks)
        )
        self.up = nn.ModuleList(nn.Conv2d(below, 4 * d, 1) for d, below in itertools.pairwise(decoder))
        self.head = nn.Conv2d(decoder[0], c_in, 3, padding=1)
        nn.init.zeros_(self.head.weight)  # training starts from bicubic
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def weights(self, x: Tensor, rate: Tensor) -> tuple[Tensor, Tensor | None]:
        """(N, n) weights from the unshuffled image or the rate, and with a regressor the logits they came from."""
        if self.weighting == "formula":
            return anchor_weights(rate if rate.ndim == 1 else rate.mean(1), self.anchors), None
        if self.regressor is None:
            n = len(self.anchors)
            return x.new_full((x.shape[0], n), 1 / n), None
        logits = self.regressor(x)
        return logits.softmax(1), logits  # Eq. 5

    def decode(self, maps: list[Tensor]) -> Tensor:
        """Weighted maps, widest first, -> the residual (N, 3, H, H): Eqs. 9 and 10 at three levels."""
        y: Tensor | None = None
        for level in reversed(range(len(maps))):
            fused = self.fuse[level](maps[level])
            y = fused if y is None else fused + F.pixel_shuffle(self.up[level](y), 2)
            y = self.blocks[level](y)
        assert y is not None
        return F.pixel_shuffle(self.head(y), self.shuffle)

    def forward(self, ls: Tensor, rate: Tensor | None = None, w: Tensor | None = None) -> SROutput:
        """I_LS (N, 3, H, H) in [-1, 1] and rate (N,) or (N, 2) (rows, columns) -> SROutput.

        Args:
            w: (N, n) weights to take instead of the regressor's.

        Raises:
            ValueError: rate is None.
        """
        check_side(ls, self.hr_size)
        if rate is None:
            raise ValueError("ufvnet-lite needs the down-sampling rate: give rate")
        x = F.pixel_unshuffle(ls, self.shuffle)
        found, logits = self.weights(x, rate)
        w = found if w is None else w
        phase = sampling_phase(rate, self.hr_size).to(x.dtype)
        seen = torch.cat([x, phase], 1).contiguous(memory_format=torch.channels_last)
        sr = ls + self.decode(self.encoders(seen, w))
        return SROutput(sr, w if len(self.anchors) > 1 else None, logits)
