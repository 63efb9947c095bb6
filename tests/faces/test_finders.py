"""Finding faces: which are found, in what order, and with which landmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ufvnet.faces.finders import finder


def _photo(photos: Path, number: int = 0) -> Image.Image:
    return Image.open(sorted(photos.iterdir())[number]).convert("RGB")


def test_faces_come_largest_first_and_a_small_one_is_found_in_a_large_photo(photos: Path) -> None:
    large = _photo(photos)
    small = _photo(photos, 1).resize((150, 170), Image.Resampling.BICUBIC)
    both = Image.new("RGB", (1400, 900), "grey")
    both.paste(large, (900, 400))
    both.paste(small, (100, 100))
    faces = finder.find_faces(both, every=True)
    assert len(faces) >= 2
    assert faces[0].area > faces[1].area
    assert faces[0].landmarks[:, 0].mean() > 900
    alone = Image.new("RGB", (1400, 900), "grey")
    alone.paste(small, (100, 100))
    assert finder.find_faces(alone)[0].landmarks[:, 0].mean() < 260
    at = finder.find_faces(both, at=(175.0, 190.0))
    assert at[0].landmarks[:, 0].mean() < 260
    assert finder.find_faces(both, at=(700.0, 20.0)) == []


def test_landmarks_of_the_reduced_search_are_those_of_the_photo(photos: Path) -> None:
    for number in range(4):
        photo = _photo(photos, number)
        enlarged = photo.resize((photo.width * 3, photo.height * 3), Image.Resampling.BICUBIC)
        apart = finder.find_faces(enlarged)[0].landmarks / 3 - finder.find_faces(photo)[0].landmarks
        assert np.linalg.norm(apart, axis=1).mean() < 0.03 * photo.width
