"""Which faces are restored: by their size, in every way of restoring alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from ufvnet.faces.crop import crop_box
from ufvnet.restore.face_crops import CropRule, box_of, clip_box


@pytest.fixture(scope="module")
def head() -> Image.Image:
    """A sharp head, 200 pixels wide."""
    from skimage.data import astronaut

    return Image.fromarray(astronaut()).crop((125, 0, 325, 200))


def blank(*sides: int) -> list[Image.Image]:
    return [Image.new("RGB", (side, 2)) for side in sides]


def test_crops_from_4_pixels_to_below_the_limit_are_restored_by_their_longer_side() -> None:
    choice = CropRule(64, effective_size=False).choose(blank(3, 4, 63, 64, 200))
    assert list(choice.chosen) == [1, 2]
    assert choice.left == (3, 4)
    assert choice.notes == (
        "2 faces of at least 64 pixels left as found", "1 face of fewer than 4 pixels left as found"
    )  # fmt: skip
    assert not CropRule(64).choose([]).chosen


def test_a_large_face_is_restored_from_its_content_if_that_is_small(head: Image.Image) -> None:
    enlarged = head.resize((32, 32), Image.Resampling.BICUBIC).resize((512, 512), Image.Resampling.BICUBIC)
    enlarged = enlarged.crop((0, 100, 512, 412))
    choice = CropRule(128).choose([enlarged, head])
    assert list(choice.chosen) == [0]
    assert choice.left == (1,)
    width, height = choice.chosen[0].pixels.size
    assert 24 <= width <= 42
    assert height == round(width * 312 / 512)
    assert width == round(choice.effective[0])
    assert choice.effective[1] > 80
    assert choice.notes[0] == "1 face reduced to the size of its content first"
    assert not CropRule(128, effective_size=False).choose([enlarged, head]).chosen


def test_max_face_is_the_limit_whatever_the_faces_hold(head: Image.Image) -> None:
    enlarged = head.resize((32, 32), Image.Resampling.BICUBIC).resize((200, 200), Image.Resampling.BICUBIC)
    assert not CropRule(128, max_face=100).choose([enlarged]).chosen
    choice = CropRule(128, max_face=201).choose([enlarged, head, head.resize((201, 201))])
    assert list(choice.chosen) == [0, 1]
    assert max(choice.chosen[0].pixels.size) < 45
    assert choice.chosen[1].pixels.size == (112, 112), "the largest that models learn from"
    forced = CropRule(128, max_face=201, effective_size=False).choose([enlarged])
    assert forced.chosen[0].pixels.size == (112, 112)
    assert not forced.effective


def test_boxes_are_rounded_and_clipped_to_the_picture() -> None:
    assert clip_box((-3, 1.4, 20.6, 99), (30, 40)) == (0, 1, 21, 40)


@pytest.mark.parametrize(
    ("box", "message"),
    [((5, 0, 5, 9), "left must be below right"), ((0.2, 0, 0.4, 9), "left must be below right"),
     ((30, 0, 40, 9), "outside the 30x40 image"), ((0, -9, 9, 0), "outside the 30x40 image")],
)  # fmt: skip
def test_empty_boxes_and_boxes_outside_the_picture_are_refused(box: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clip_box(box, (30, 40))


def test_landmarks_have_the_crop_box_that_datasets_are_built_with() -> None:
    points = np.array([(10 + i % 10, 12 + i // 10) for i in range(68)], dtype=float)
    assert box_of(points, (30, 40)) == crop_box(points, 30, 40)
