"""``Restorer``: a trained model over PIL images of any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from ufvnet.data.bicubic import rate_of, resize
from ufvnet.models.inference import best_device, ready
from ufvnet.models.srg import to_network, to_pixels
from ufvnet.models.store import read_card


@dataclass(frozen=True)
class Restored:
    """A restored face: image (H x H RGB), rate r of the input, weights of the anchors or None."""

    image: Image.Image
    rate: float
    weights: tuple[float, ...] | None


@dataclass(frozen=True)
class Restorer:
    """Super-resolves face crops to the model's output size.

    >>> restorer = Restorer.load("models/ufvnet")  # doctest: +SKIP
    >>> restorer(Image.open("small-face.png")).save("face.png")  # doctest: +SKIP
    """

    network: nn.Module
    hr_size: int
    fingerprint: str
    device: torch.device

    @classmethod
    def load(cls, model: Path | str, device: str = "auto") -> Restorer:
        """A model folder, ready on a device.

        Raises:
            ConfigError: no model there, or no such device.
        """
        card = read_card(Path(model))
        network = ready(str(model), card["fingerprint"], card["hr_size"], device)
        return cls(network, card["hr_size"], card["fingerprint"], best_device(device))

    def __call__(self, image: Image.Image) -> Image.Image:
        """One face crop of any size to hr_size x hr_size RGB."""
        return self.batch([image])[0].image

    @torch.inference_mode()
    def batch(self, images: Sequence[Image.Image]) -> list[Restored]:
        """Face crops of any sizes in one forward pass."""
        rgb = [image.convert("RGB") for image in images]
        rates = [rate_of(image, self.hr_size) for image in rgb]
        stacked = np.stack([np.asarray(resize(image, self.hr_size)) for image in rgb])
        ls = to_network(torch.from_numpy(stacked.transpose(0, 3, 1, 2).copy())).to(self.device)
        rate = torch.tensor(rates, dtype=torch.float32, device=self.device)
        if getattr(self.network, "rate_by_axis", False):
            sides = [[image.height / self.hr_size, image.width / self.hr_size] for image in rgb]
            rate = torch.tensor(sides, dtype=torch.float32, device=self.device)
        output = self.network(ls.contiguous(memory_format=torch.channels_last), rate)
        pixels = to_pixels(output.sr).permute(0, 2, 3, 1).cpu().numpy()
        weights = [None] * len(rgb) if output.weights is None else [tuple(w) for w in output.weights.tolist()]
        return [Restored(Image.fromarray(p), r, w) for p, r, w in zip(pixels, rates, weights)]
