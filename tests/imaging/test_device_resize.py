"""Batches that are resized on a device, each image to a size of its own: Pillow's bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ufvnet.data import open as open_dataset
from ufvnet.imaging.device_resize import columns_come_first, enlarged, reduced
from ufvnet.imaging.resize import resize

ODD = [(6, 6), (7, 13), (64, 23), (33, 47), (63, 63), (35, 50), (50, 61), (5, 60)]
"""Heights and widths; of 64 x 64 pixels, (35, 50) is one that Pillow 13 resizes columns first."""


def _faces(built: Path) -> np.ndarray:
    faces = np.stack([*open_dataset(built).view("MR8", "val").column("hr")])
    extremes = np.random.default_rng(0).integers(0, 2, (2, *faces.shape[1:]), dtype=np.uint8) * 255  # overshoot
    return np.concatenate([faces, extremes])


def _by_pil(face: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(resize(Image.fromarray(face), width, height))


@pytest.mark.parametrize(
    "sizes", [[(4 * k, 4 * k) for k in range(1, 9)], ODD], ids=["the eight scales", "sizes in between, odd"]
)
def test_both_ways_are_pillow_s_bytes_in_one_batch_of_many_sizes(built: Path, sizes: list[tuple[int, int]]) -> None:
    faces = np.resize(_faces(built), (8, 64, 64, 3))
    small = reduced(torch.from_numpy(faces.transpose(0, 3, 1, 2).copy()), np.array(sizes))
    up = enlarged(small, np.array(sizes), 64)
    for i, (height, width) in enumerate(sizes):
        expected = _by_pil(faces[i], height, width)
        assert np.array_equal(small[i, :, :height, :width].permute(1, 2, 0).numpy(), expected)
        assert not small[i, :, height:].any()
        assert not small[i, :, :, width:].any()
        assert np.array_equal(up[i].permute(1, 2, 0).numpy(), _by_pil(expected, 64, 64))


def test_where_pillow_does_columns_first_is_found_by_asking_it() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    size = (4, 60)  # where the height shrinks most
    image = torch.from_numpy(noise.transpose(2, 0, 1).copy())[None]
    assert np.array_equal(reduced(image, np.array([size]))[0].permute(1, 2, 0).numpy(), _by_pil(noise, *size))
    assert not columns_come_first(64, 16, 16)
    assert not columns_come_first(64, 16, 12)
