"""What a network is fed: I_LS, an image of a fixed size, or the low resolution as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ufvnet.imaging.resize import resize
from ufvnet.imaging.upscale import upscale_mixed

Kind = Literal["OR", "FR", "SASR"]
"""Original resolution (I_LS), fixed resolution, scale-arbitrary: the kinds of the paper's Tables II, I and III."""
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Feed:
    """Makes a network's input from LR images.

    kind: what the network takes.
    side: FR: of its input. OR: of the image to which it has I_LS reduced; None: I_LS itself.
    multiple: SASR: the sides of its input are multiples of this.
    """

    kind: Kind = "OR"
    side: int | None = None
    multiple: int = 1

    def image(self, lr: Image.Image, hr_size: int) -> Image.Image:
        """One input from an RGB LR image of any size, by PIL bicubic; an image that has the right size stays as it is.

        Of images larger than hr_size SASR networks see no more than hr_size.
        """
        if self.kind == "OR":
            ls = resize(lr, hr_size)
            return ls if self.side is None else resize(ls, self.side)
        if self.kind == "FR":
            assert self.side is not None
            size = (self.side, self.side)
        else:
            size = (self._side_of(lr.width, hr_size), self._side_of(lr.height, hr_size))
        return lr if lr.size == size else resize(lr, *size)

    def _side_of(self, side: int, hr_size: int) -> int:
        return max(self.multiple, round(min(side, hr_size) / self.multiple) * self.multiple)

    def batch(self, lrs: Sequence[np.ndarray], hr_size: int) -> Tensor:
        """Inputs from LR images with sides of at most hr_size, as ``image`` makes them.

        Args:
            lrs: (h, w, 3) uint8 each; of one size for SASR networks.

        Returns:
            (N, 3, h', w') uint8.
        """
        if self.kind == "OR" and self.side is None:  # in torch, bit for bit the same
            return upscale_mixed([torch.from_numpy(np.ascontiguousarray(lr.transpose(2, 0, 1))) for lr in lrs], hr_size)
        fed = np.stack([np.asarray(self.image(Image.fromarray(lr), hr_size)) for lr in lrs])
        return torch.from_numpy(np.ascontiguousarray(fed.transpose(0, 3, 1, 2)))

    def example_side(self, hr_size: int) -> int:
        """Side of a typical input, for which costs are counted: SASR an eighth of hr_size, 16 pixels of 128."""
        if self.kind == "SASR":
            return hr_size // 8
        return self.side or hr_size

    def card(self) -> dict[str, Any]:
        """As a card holds it; ``Feed(**card)`` reads it."""
        return asdict(self)


I_LS = Feed()


def feed_of(network: nn.Module) -> Feed:
    """The feed that the registry gave a network; I_LS for networks that it did not create."""
    return getattr(network, "feed", None) or I_LS
