"""UFVNet-Real: UFVNet-Lite for damaged faces, with attention at 8x8 and an estimate of the damage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ufvnet.data.damage.chain import KINDS

from .lite import SIDE, AnchorEncoders, ResidualBlock, RowLinear, sampling_phase
from .lr_statistics import LRStatistics
from .srg import HR_SIZES, SROutput, check_side

HEAD = 32
"""Channels of an attention head."""


@dataclass(frozen=True)
class RealWidth:
    """Sizes at the three levels (32x32, 16x16, 8x8).

    encoder: channels of one anchor's encoder. decoder: channels of the decoder.
    blocks: number of blocks in the decoder; residual blocks, but attention blocks at 8x8.
    features: channels of the convolutions of ``ImageFeatures``.
    """

    encoder: tuple[int, int, int] = (32, 48, 40)
    decoder: tuple[int, int, int] = (96, 128, 256)
    blocks: tuple[int, int, int] = (2, 2, 2)
    features: tuple[int, int, int] = (48, 56, 64)

    def scaled(self, factor: float) -> RealWidth:
        """Every channel count times a factor."""
        encoder, decoder, features = (
            tuple(round(c * factor) for c in counts) for counts in (self.encoder, self.decoder, self.features)
        )
        return RealWidth(encoder, decoder, self.blocks, features)  # type: ignore[arg-type]


class WholeFaceBlock(nn.Module):
    """Attention between all places of a map, then two layers per place: (N, s*s, C) -> (N, s*s, C).

    Each head adds a learned number for every pair of places (``pairs``) to the likeness of their contents. All faces
    are cropped in the same way, so it can learn, for example, where the other eye is. It starts as the identity.
    """

    def __init__(self, channels: int, side: int):
        super().__init__()
        self.heads = max(1, channels // HEAD)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.pairs = nn.Parameter(torch.zeros(self.heads, side**2, side**2))
        self.wide, self.narrow = nn.Linear(channels, 2 * channels), nn.Linear(2 * channels, channels)
        for last in (self.out, self.narrow):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        n, places, channels = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, places, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # (N, h, s*s, c)
        likeness = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + self.pairs
        attended = (likeness.softmax(-1) @ v).transpose(1, 2).reshape(n, places, channels)
        x = x + self.out(attended)
        return x + self.narrow(F.gelu(self.wide(self.norm2(x))))


class ImageFeatures(nn.Module):
    """Features of the unshuffled image that tell its resolution and damage: (N, c_in, 32, 32) -> (N, c)."""

    def __init__(self, c_in: int, channels: Sequence[int]):
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in zip([c_in, *channels], channels):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU(inplace=True)]
        c = channels[-1]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.mix = RowLinear(c, c)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.mix(self.layers(x).float()))


class UFVNetReal(nn.Module):
    """As UFVNetLite (anchor encoders, weights by Eq. 4 from a regressor, a decoder with skips, a residual), except:

    - The 8x8 level has attention blocks with more channels instead of convolutions: there each place sees the whole
      face at little cost.
    - The regressor's features and ``LRStatistics`` also give an estimate of the damage (``SROutput.damage``), which
      training supervises. They and the rate set a gain for every fused channel (``steer``).

    Args:
        anchors: down-sampling rates of the anchors.
        width: channel and block counts.
        hr_size: side of input and output, 64 or 128 pixels.

    Raises:
        ValueError: hr_size is not one of HR_SIZES.
    """

    rate_by_axis = True
    """``Restorer`` passes a rate for rows and one for columns; they differ if an input is not square."""

    def __init__(
        self, anchors: Sequence[float] = (1 / 8, 1 / 4, 1 / 2), width: RealWidth | None = None, hr_size: int = 128
    ):
        super().__init__()
        width = width or RealWidth()
        if hr_size not in HR_SIZES:
            raise ValueError(f"hr_size must be one of {HR_SIZES}, got {hr_size}")
        self.anchors, self.hr_size, self.shuffle = tuple(anchors), hr_size, hr_size // SIDE
        n, c_in, (wide, middle, whole) = len(self.anchors), 3 * self.shuffle**2, width.decoder
        self.encoders = AnchorEncoders(n, c_in + 4 * self.shuffle, width.encoder)
        self.regressor = ImageFeatures(c_in, width.features)
        c = width.features[-1]
        self.statistics = LRStatistics(hr_size)
        self.read = nn.Sequential(
            RowLinear(self.statistics.count, c), nn.ReLU(inplace=True), RowLinear(c, c), nn.ReLU(inplace=True)
        )
        self.weigh, self.estimate = RowLinear(c, n), RowLinear(2 * c, len(KINDS))
        gains = RowLinear(c, sum(width.decoder))
        self.steer = nn.Sequential(RowLinear(2 * c + 2, c), nn.ReLU(inplace=True), gains)
        self.fuse = nn.ModuleList(nn.Conv2d(n * e, d, 1) for e, d in zip(width.encoder, width.decoder))
        self.places = nn.Parameter(torch.zeros(1, (SIDE // 4) ** 2, whole))
        self.whole = nn.Sequential(*(WholeFaceBlock(whole, SIDE // 4) for _ in range(width.blocks[2])))
        self.blocks = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(d) for _ in range(count))) for d, count in zip((wide, middle), width.blocks)
        )
        self.up = nn.ModuleList([nn.Conv2d(middle, 4 * wide, 1), nn.Conv2d(whole, 4 * middle, 1)])
        self.head = nn.Conv2d(wide, c_in, 3, padding=1)
        for last in (self.head, gains):  # training starts from bicubic, and from gains of 1
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def decode(self, maps: list[Tensor], gains: Tensor) -> Tensor:
        """Weighted maps, widest first, and (N, channels of all levels) gains -> the residual (N, 3, H, H)."""
        parts = gains.split([f.out_channels for f in self.fuse], 1)
        wide, middle, whole = (f(m) * g[:, :, None, None] for f, m, g in zip(self.fuse, maps, parts))
        tokens = self.whole(whole.flatten(2).transpose(1, 2) + self.places)
        y = tokens.transpose(1, 2).unflatten(2, whole.shape[2:])
        y = self.blocks[1](middle + F.pixel_shuffle(self.up[1](y), 2))
        y = self.blocks[0](wide + F.pixel_shuffle(self.up[0](y), 2))
        return F.pixel_shuffle(self.head(y), self.shuffle)

    def forward(
        self, ls: Tensor, rate: Tensor | None = None, w: Tensor | None = None, statistics: Tensor | None = None
    ) -> SROutput:
        """I_LS (N, 3, H, H) in [-1, 1] and rate (N,) or (N, 2) (rows, columns) -> SROutput with ``damage``.

        Args:
            w: (N, n) weights to take instead of the regressor's.
            statistics: ``LRStatistics`` of the images, if they are known.

        Raises:
            ValueError: rate is None.
        """
        check_side(ls, self.hr_size)
        if rate is None:
            raise ValueError("ufvnet-real needs the down-sampling rate: give rate")
        x = F.pixel_unshuffle(ls, self.shuffle)
        features = self.regressor(x)
        logits = self.weigh(features)
        w = logits.softmax(1) if w is None else w  # Eq. 5
        phase = sampling_phase(rate, self.hr_size).to(x.dtype)
        inputs = torch.cat([x, phase], 1).contiguous(memory_format=torch.channels_last)
        both = rate[:, None].expand(-1, 2) if rate.ndim == 1 else rate
        seen = torch.cat([features, self.read(self.statistics(ls, both) if statistics is None else statistics)], 1)
        # gains lie between 0 and 2: without a bound the loss jumped during training
        gains = 2 * self.steer(torch.cat([seen, both.float().log2()], 1)).sigmoid()
        sr = ls + self.decode(self.encoders(inputs, w), gains)
        return SROutput(sr, w, logits, self.estimate(seen))
