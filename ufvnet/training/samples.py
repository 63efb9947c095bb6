"""A PNG of validation faces during a training: I_LS and I_SR at each scale, next to I_HR."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ufvnet.files import write_atomically

FACES = 4
"""Number of faces in the picture, one per row."""


def write_samples(path: Path, ls: dict[int, np.ndarray], sr: dict[int, np.ndarray], hr: np.ndarray) -> None:
    """Write the picture atomically.

    Args:
        ls, sr: scale k -> (N, H, H, 3) uint8.
        hr: (N, H, H, 3) uint8.
    """
    columns = [image for k in ls for image in (ls[k], sr[k])] + [hr]
    rows = [np.concatenate([c[i] for c in columns], 1) for i in range(min(FACES, len(hr)))]
    write_atomically(path, lambda p: Image.fromarray(np.concatenate(rows)).save(p, format="PNG"))
