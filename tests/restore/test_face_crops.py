"""Which faces are restored: by their size, in every way of restoring alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ufvnet.faces.crop import crop_box
from ufvnet.restore.face_crops import box_of, choose_crops, clip_box, side, side_limit, size_class


def test_crops_from_4_pixels_to_below_the_limit_are_restored_by_their_longer_side() -> None:
    boxes = [(0, 0, length, 2) for length in (3, 4, 63, 64, 200)]
    choice = choose_crops(boxes, 64)
    assert choice.chosen == (1, 2)
    assert choice.notes == (
        "2 faces of at least 64 pixels left as found", "1 face of fewer than 4 pixels left as found"
    )  # fmt: skip
    assert [size_class(side(box), 64) for box in boxes] == ["tiny", "small", "small", "large", "large"]
    assert choose_crops([], 64) == choose_crops([], 8)


def test_the_limit_is_the_model_s_output_size_or_what_is_asked_for_if_that_is_smaller() -> None:
    assert [side_limit(128, asked) for asked in (None, 64, 128, 256)] == [128, 64, 128, 128]


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
