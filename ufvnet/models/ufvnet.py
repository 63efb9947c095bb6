"""UFVNet (Fig. 3, Eqs. 5-10): anchor encoders, weighted fusion, final decoder; and Table IV's variants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from .fau import FAU
from .regressor import WeightRegressor, anchor_weights
from .srg import HR_SIZES, Decoder, Encoder, SROutput, Width, check_side, hourglass_depth

Weighting = Literal["regressor", "ones", "formula"]


class UFVNet(nn.Module):
    """The network that a training produces and that restores faces (Fig. 3).

    Args:
        anchors: down-sampling rates of the anchors, e.g. (1/8, 1/4, 1/2).
        weighting: ``regressor`` (the paper's), ``ones`` (UFVNet-NW) or ``formula``
            (UFVNet-FM: Eq. 4 from the true rate).
        width: channel counts.
        hr_size: side of input and output, 64 or 128 pixels.

    Raises:
        ValueError: hr_size is not one of HR_SIZES.
    """

    def __init__(
        self,
        anchors: Sequence[float] = (1 / 8, 1 / 4, 1 / 2),
        weighting: Weighting = "regressor",
        width: Width | None = None,
        hr_size: int = 128,
    ):
        super().__init__()
        width = width or Width()
        if hr_size not in HR_SIZES:
            raise ValueError(f"hr_size must be one of {HR_SIZES}, got {hr_size}")
        c2 = width.channels[2]
        self.anchors, self.weighting, self.hr_size = tuple(anchors), weighting, hr_size
        self.encoders = nn.ModuleList(Encoder(width, hr_size) for _ in anchors)
        self.regressor = WeightRegressor(len(anchors), width.regressor, hr_size) if weighting == "regressor" else None
        self.fe = FAU(c2 * len(anchors), c2, hourglass_depth(hr_size // 8), "same", width.c_mid)
        self.decoder = Decoder(width, hr_size)

    def weights(self, ls: Tensor, rate: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(N, n) weights W and, with a regressor, the logits whose softmax they are.

        Raises:
            ValueError: weighting is ``formula`` and rate is None.
        """
        if self.regressor is not None:
            logits = self.regressor.logits(ls)
            return logits.softmax(1), logits  # Eq. 5
        if self.weighting == "ones":
            return ls.new_ones(ls.shape[0], len(self.anchors)), None
        if rate is None:
            raise ValueError("ufvnet-fm weighs its anchors by the true down-sampling rate: give rate")
        return anchor_weights(rate.to(ls.dtype), self.anchors), None

    def decode(self, ls: Tensor, w: Tensor) -> Tensor:
        """Eqs. 6-10: (N, 3, H, H) and (N, n) weights -> (N, 3, H, H)."""
        features = [enc(ls) * w[:, i, None, None, None] for i, enc in enumerate(self.encoders)]  # Eqs. 6-8
        return self.decoder(self.fe(torch.cat(features, 1)))  # Eqs. 9, 10

    def forward(self, ls: Tensor, rate: Tensor | None = None) -> SROutput:
        """I_LS (N, 3, H, H) in [-1, 1], rate (N,) -> SROutput."""
        check_side(ls, self.hr_size)
        w, logits = self.weights(ls, rate)
        return SROutput(self.decode(ls, w), None if self.weighting == "ones" else w, logits)
