"""ufvnet-lite with its weights fixed to 1/3, as a method: ``python: benchmarks/lite_equal.py:restore``."""

from __future__ import annotations

import numpy as np
import torch

from ufvnet.imaging.upscale import upscale
from ufvnet.models import to_network, to_pixels
from ufvnet.models.store import load

MODEL = "ufvnet-lite"


@torch.inference_mode()
def restore(lr: np.ndarray, side: int) -> np.ndarray:
    """(N, h, w, 3) uint8 -> (N, H, H, 3) uint8."""
    network = load(MODEL)[0]
    ls = to_network(upscale(torch.from_numpy(np.ascontiguousarray(lr.transpose(0, 3, 1, 2))), side))
    n = len(network.anchors)  # type: ignore[arg-type]
    rate = torch.full((len(lr),), lr.shape[1] / side)
    output = network(ls.contiguous(memory_format=torch.channels_last), rate, torch.full((len(lr), n), 1 / n))
    return to_pixels(output.sr).permute(0, 2, 3, 1).numpy()
