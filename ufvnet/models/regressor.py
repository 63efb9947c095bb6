"""The weight regressor (AlexNet, Fig. 2(c), Eq. 5) and its ground truth, Eq. 4."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def anchor_weights(rate: Tensor, anchors: Sequence[float]) -> Tensor:
    """Eq. 4: the weight of each anchor for a down-sampling rate r.

    d_i = |r - a_i|, w_i = (1 - d_i / sum(d)) / (n - 1); for the paper's n = 3 anchors the
    factor is 1/2. Each row sums to 1.

    Args:
        rate: (N,) float, r = LR side / HR side.
        anchors: n >= 2 different rates.

    Returns:
        (N, n) float.

    Raises:
        ValueError: there are fewer than two anchors, or two are equal.
    """
    if len(anchors) < 2 or len(set(anchors)) != len(anchors):
        raise ValueError(f"Eq. 4 needs two or more different anchors, got {tuple(anchors)}")
    d = torch.stack([(rate - anchor).abs() for anchor in anchors], 1)  # a GPU waits for a copy of them
    return (1 - d / d.sum(1, keepdim=True)) / (len(anchors) - 1)


class WeightRegressor(nn.Module):
    """AlexNet with kernel 5 and stride 1 in its first max-pool, one more FC 1000 -> anchors, softmax (section III-B).

    At hr_size 128 its maps are 31/27/13/6, so FC1 sees 256*6*6 = 9216; at 64 the first
    convolution has stride 2 and padding 4, which gives the same maps and parameters.

    Args:
        anchors: number of weights.
        width: factor on every channel count (1.0 = the paper's).
        hr_size: side of the input, 64 or 128.

    (N, 3, H, H) float in [-1, 1] -> (N, anchors) float, rows summing to 1.
    """

    def __init__(self, anchors: int = 3, width: float = 1.0, hr_size: int = 128):
        super().__init__()

        def w(channels: int) -> int:
            return max(8, round(channels * width))

        stride, padding = (4, 2) if hr_size == 128 else (2, 4)
        self.features = nn.Sequential(
            nn.Conv2d(3, w(64), 11, stride, padding), nn.ReLU(inplace=True), nn.MaxPool2d(5, 1),
            nn.Conv2d(w(64), w(192), 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
            nn.Conv2d(w(192), w(384), 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(w(384), w(256), 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(w(256), w(256), 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Dropout(0.5), nn.Linear(w(256) * 6 * 6, w(4096)), nn.ReLU(inplace=True),
            nn.Dropout(0.5), nn.Linear(w(4096), w(4096)), nn.ReLU(inplace=True),
            nn.Linear(w(4096), w(1000)),
            nn.Linear(w(1000), anchors),
        )  # fmt: skip

    def logits(self, ls: Tensor) -> Tensor:
        """(N, anchors) before the softmax: what the cross-entropy of Eq. 12 takes."""
        return self.classifier(self.features(ls).flatten(1))

    def forward(self, ls: Tensor, logits: bool = False) -> Tensor:
        """Eq. 5: the weights W, or the ``logits``, of which they are the softmax."""
        out = self.logits(ls)
        return out if logits else out.softmax(1)
