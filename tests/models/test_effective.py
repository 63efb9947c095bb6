"""The estimate of how many pixels a face's content needs."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from ufvnet.data.sample import FACE
from ufvnet.models.effective import GAUSSIAN, SIDE, WEIGHTS, EffectiveSize, effective_sizes


@pytest.fixture(scope="module")
def face() -> Image.Image:
    from skimage.data import astronaut

    return Image.fromarray(astronaut()).crop(FACE)


def enlarged(face: Image.Image, size: int, large: int) -> Image.Image:
    small = face.resize((size, size), Image.Resampling.BICUBIC)
    return small.resize((large, large), Image.Resampling.BICUBIC)


def test_faces_have_the_size_that_they_were_enlarged_from_whatever_they_were_enlarged_to(face: Image.Image) -> None:
    sizes = (12, 16, 24, 32, 48)
    for large in (140, 256, 512):
        estimates = effective_sizes([enlarged(face, size, large) for size in sizes])
        assert np.abs(np.log2(np.array(estimates) / sizes)).max() < 0.5


def test_a_crop_that_is_not_square_has_a_size_along_its_longer_side(face: Image.Image) -> None:
    half = enlarged(face, 40, 300).crop((0, 60, 300, 260))
    (estimate,) = effective_sizes([half])
    assert abs(np.log2(estimate / 40)) < 0.5


def test_an_estimate_is_at_most_the_side_of_the_crop_and_nothing_is_said_of_a_flat_picture(face: Image.Image) -> None:
    small = face.convert("L").resize((60, 60), Image.Resampling.BICUBIC)
    assert effective_sizes([small]) == [60]
    assert effective_sizes([Image.new("RGB", (300, 200))]) == [pytest.approx(300 * 128 / 200)]
    assert effective_sizes([]) == []


def test_a_blur_counts_as_the_reduction_that_damps_the_same_detail(face: Image.Image) -> None:
    large = face.resize((256, 256), Image.Resampling.BICUBIC)
    (estimate,) = effective_sizes([large.filter(ImageFilter.GaussianBlur(GAUSSIAN * 256 / 24))])
    assert 17 < estimate < 34


def test_the_network_is_small() -> None:
    convolutions = [layer for layer in EffectiveSize().modules() if isinstance(layer, torch.nn.Conv2d)]
    sides = [SIDE // 4, SIDE // 4, SIDE // 8, SIDE // 8, SIDE // 16]
    assert sum(layer.weight.numel() * side**2 for layer, side in zip(convolutions, sides, strict=True)) < 0.05e9
    assert sum(p.numel() for p in EffectiveSize().parameters()) < 200_000
    assert WEIGHTS.stat().st_size < 2**20


def test_the_exact_size_stands_out_where_a_whole_picture_was_enlarged_even_after_jpeg(face: Image.Image) -> None:
    pictures = []
    for size, way in ((21, Image.Resampling.BICUBIC), (37, Image.Resampling.BILINEAR), (61, Image.Resampling.LANCZOS)):
        small = face.resize((size, size), Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        small.resize((256, 256), way).save(buffer, "JPEG", quality=75)
        pictures.append(Image.open(buffer).convert("RGB"))
    assert effective_sizes(pictures) == [21, 37, 61]


def test_a_flat_picture_smaller_than_the_networks_input_and_one_flat_in_the_middle_are_sharp() -> None:
    edges = Image.new("L", (200, 60))
    edges.paste(255, (0, 0, 20, 60))
    assert effective_sizes([Image.new("RGB", (99, 99), "grey"), Image.new("RGB", (70, 50))]) == [99, 70]
    assert 0 < effective_sizes([edges])[0] <= 200
