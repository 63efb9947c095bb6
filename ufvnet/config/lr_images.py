"""LR images by name: damage and sizes on which methods are scored (docs/method.md section 8)."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

NAMES = (
    "clean", "jpeg90", "jpeg75", "jpeg50", "jpeg30", "noise5", "noise10", "blur1", "blur2", "area", "lanczos",
    "bilinear", "nearest", "cv2-cubic", "mixed", "crop", "grey",
)  # fmt: skip
"""Those of docs/method.md section 8 that trainings may contain."""
UNSEEN = ("gif", "jpeg2000", "sharpened")
"""Kinds that a training's chain does not contain and that no choice of weights depends on."""
CLEAN, CROP = "clean", "crop"
"""The face as it was built, and the face cut again from its photograph, both reduced by PIL bicubic."""

SMALLEST, LARGEST = 6, 110
"""Sides in pixels of LR images that can be scored."""


def split_damage(name: str) -> tuple[str, int | None]:
    """A damage's kind and its amount: ``jpeg75`` is ("jpeg", 75), ``mixed`` is ("mixed", None).

    Raises:
        ValueError: unknown name.
    """
    if numbered := re.fullmatch(r"(jpeg|noise|blur)([1-9]\d?|100)", name):
        return numbered[1], int(numbered[2])
    if name in NAMES + UNSEEN:
        return name, None
    raise ValueError(
        f"damage {name!r}: must be one of {', '.join(NAMES + UNSEEN)}, or jpeg, noise or blur with another number from "
        "1 to 100"
    )


def width_and_height(size: int | str) -> tuple[int, int]:
    """The sides of a size in pixels: 11 and "11" are (11, 11), "20x28" is (20, 28).

    Raises:
        ValueError: it is none, or a side is out of range.
    """
    sides = re.fullmatch(r"(\d+)(?:[x×](\d+))?", str(size))
    width, height = (int(side) for side in (sides[1], sides[2] or sides[1])) if sides else (0, 0)
    if not all(SMALLEST <= side <= LARGEST for side in (width, height)):
        raise ValueError(
            f"size {size!r}: must be a side, or width x height such as 20x28, with sides from {SMALLEST} to {LARGEST} "
            "pixels"
        )
    return width, height


def _checked_damage(name: str) -> str:
    split_damage(name)
    return name


def _plain_size(size: int | str) -> int | str:
    width, height = width_and_height(size)
    return width if width == height else f"{width}x{height}"


DamageName = Annotated[str, AfterValidator(_checked_damage)]
Size = Annotated[int | str, AfterValidator(_plain_size)]
"""A side in pixels, or "width x height" for images that are not square."""
