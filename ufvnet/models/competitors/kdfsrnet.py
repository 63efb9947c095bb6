"""KDFSRNet: an encoder and a decoder of channel-attention blocks, taught by a network that also sees a parsing map.

C. Wang, J. Jiang, Z. Zhong, X. Liu, "Propagating Facial Prior Knowledge for Multitask Learning in Face
Super-Resolution", IEEE Transactions on Circuits and Systems for Video Technology 32(11), 2022.

Decisions, where the paper leaves it open:

- Which parser drew the teacher's parsing maps, and its classes, are not published: the student trains without a teacher
  unless one is given. A teacher of ours takes masks from 68 landmarks: the face, eyes and brows, nose and lips.
- A teacher that gets no parsing map takes an empty one (zeros), as no mask is known of a face to restore.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..srg import HR_SIZES
from ..supervision import Needs, Target
from .arbsr import RCAB
from .common import check_input, from_unit, to_unit

LEVELS = 4
EPOCHS, TAUGHT = 400, 10
"""Epochs of the authors' training, and how many of them after the first the teacher takes part in."""


@dataclass(frozen=True)
class KDFSROutput:
    """sr: (N, 3, H, H) float, nominally in [-1, 1].

    maps: nine maps (N, C, s, s) that the student is to share with its teacher: after the encoder's stages
    (s = H/2, H/4, H/8, H/16), the bottleneck (H/16) and the decoder's stages (H/8, H/4, H/2, H).
    """

    sr: Tensor
    maps: tuple[Tensor, ...]


class Stage(nn.Sequential):
    """Residual channel-attention blocks, one after another."""

    def __init__(self, channels: int, blocks: int):
        super().__init__(*(RCAB(channels, max(1, channels // 16)) for _ in range(blocks)))


class KDFSRNet(nn.Module):
    """The student: no skip between encoder and decoder, none from the input.

    Args:
        channels: of every map.
        hr_size: side of input and output, 64 or 128 pixels.

    Raises:
        ValueError: hr_size is not one of HR_SIZES.
    """

    blocks = 6
    c_in = 3
    taught_by = "kdfsrnet-teacher"
    """The network that may teach it (``teacher`` of a training)."""

    def __init__(self, channels: int = 64, hr_size: int = 128):
        super().__init__()
        if hr_size not in HR_SIZES:
            raise ValueError(f"hr_size must be one of {HR_SIZES}, got {hr_size}")
        c = channels
        self.hr_size = hr_size
        self.head = nn.Conv2d(self.c_in, c, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(4 * c, c, 3, padding=1) for _ in range(LEVELS))
        self.encoder = nn.ModuleList(Stage(c, self.blocks) for _ in range(LEVELS))
        self.bottleneck = Stage(c, self.blocks)
        self.up = nn.ModuleList(nn.Conv2d(c, 4 * c, 3, padding=1) for _ in range(LEVELS))
        self.decoder = nn.ModuleList(Stage(c, self.blocks) for _ in range(LEVELS))
        self.tail = nn.Conv2d(c, 3, 3, padding=1)

    def generate(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(N, c_in, H, H) in [0, 1] -> picture (N, 3, H, H) in [0, 1], not clipped, and the nine maps."""
        x, maps = self.head(x), []
        for down, stage in zip(self.down, self.encoder):
            x = stage(down(F.pixel_unshuffle(x, 2)))
            maps.append(x)
        x = self.bottleneck(x)
        maps.append(x)
        for up, stage in zip(self.up, self.decoder):
            x = stage(F.pixel_shuffle(up(x), 2))
            maps.append(x)
        return self.tail(x), tuple(maps)

    def forward(self, ls: Tensor, rate: Tensor | None = None) -> KDFSROutput:
        """I_LS (N, 3, H, H) in [-1, 1] -> KDFSROutput; ``rate`` is taken for uniformity and not used."""
        check_input(ls, self.hr_size)
        picture, maps = self.generate(to_unit(ls))
        return KDFSROutput(from_unit(picture), maps)

    def loss(self, fed: Tensor, rate: Tensor, target: Target) -> Tensor:
        """Mean absolute error in [0, 1]; while it is taught, also that to the teacher's maps and picture.

        The weight of the maps falls by 1 an epoch from 10 to 0, that of the picture is 0.1; then both end.
        """
        output = self(fed)
        error = F.l1_loss(output.sr, target.hr) / 2
        epoch = int(target.progress * EPOCHS)
        if target.taught is None or epoch > TAUGHT:
            return error
        maps = torch.stack([F.l1_loss(ours, theirs) for ours, theirs in zip(output.maps, target.taught.maps)])
        return error + (TAUGHT - epoch) * maps.mean() + 0.1 * F.l1_loss(output.sr, target.taught.sr) / 2


class KDFSRTeacher(KDFSRNet):
    """The teacher: fewer blocks, and a parsing map of the face beside the image.

    The curves and card of its training measure it without a map, as it would restore: it teaches better than they say.
    """

    blocks = 2
    c_in = 6
    taught_by = ""
    needs = Needs(masks=True)

    def forward(self, ls: Tensor, rate: Tensor | None = None, parsing: Tensor | None = None) -> KDFSROutput:
        """I_LS (N, 3, H, H) in [-1, 1] and parsing (N, 3, H, H) in [0, 1] (None: empty) -> KDFSROutput."""
        check_input(ls, self.hr_size)
        parsing = torch.zeros_like(ls) if parsing is None else parsing
        picture, maps = self.generate(torch.cat([to_unit(ls), parsing], 1))
        return KDFSROutput(from_unit(picture), maps)

    def loss(self, fed: Tensor, rate: Tensor, target: Target) -> Tensor:
        """Mean absolute error in [0, 1], with the face's masks beside the image."""
        return F.l1_loss(self(fed, parsing=target.masks).sr, target.hr) / 2
