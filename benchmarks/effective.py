"""Large faces that hold the content of small ones: ``python -m benchmarks.effective DATASET SPLIT [--faces 100]``.

Faces are cut anew from their photographs, reduced to some sizes and enlarged to 256 and 512 pixels, with and without
JPEG, or blurred. Prints how many of them are restored, what their effective size is estimated to be, and the mean gain
of the whole way (estimated, reduced, restored, pasted back at the size it came in) over leaving them, in dB of luma
against the sharp face; and how many sharp faces are touched. benchmarks/effective.md has the results.
"""

from __future__ import annotations

import argparse
import functools
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ufvnet import Restorer, data
from ufvnet.data.damage import steps
from ufvnet.data.damage.recut import Original
from ufvnet.metrics import luma, psnr
from ufvnet.models.effective import GAUSSIAN

SIZES, LARGE = (16, 24, 32, 48, 64), (256, 512)
LEAST = 160
"""Pixels; a square around a face is widened to this, so that it surely holds more than the model's output."""
MOST = 60.0
"""dB; a sharp face that is left equals the truth."""

Make = Callable[[Image.Image], tuple[Image.Image, Image.Image]]
"""A sharp face to the picture that is to be restored and the truth of the same size."""


def square(original: Original) -> Image.Image:
    """The face at its photograph's resolution, RGB, at least LEAST pixels wide and inside the photograph."""
    photo = original.read()
    left, top, right, bottom = original.box
    side = min(max(right - left, bottom - top, LEAST), *photo.size)
    corner = [round(v - side / 2) for v in ((left + right) / 2, (top + bottom) / 2)]
    x, y = (min(max(0, v), length - side) for v, length in zip(corner, photo.size))
    return photo.crop((x, y, x + side, y + side))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def resized(image: Image.Image, side: int, way: str = "bicubic") -> Image.Image:
    return image.resize((side, side), Image.Resampling[way.upper()])


def enlarged(face: Image.Image, size: int, large: int, way: str, before: int, after: int) -> tuple[Image.Image, ...]:
    """Reduced to ``size``, perhaps JPEG, enlarged to ``large``, perhaps JPEG; qualities of 0 are none."""
    small = resized(face, size)
    small = jpeg(small, before) if before else small
    picture = resized(small, large, way)
    return jpeg(picture, after) if after else picture, resized(face, large)


def blurred(face: Image.Image, size: int) -> tuple[Image.Image, ...]:
    """Blurred to an effective size, at its own resolution."""
    kernel = steps.gaussian(GAUSSIAN * face.width / size)
    return Image.fromarray(steps.blurred(np.asarray(face), kernel)), face


def sharp(face: Image.Image, large: int, after: int) -> tuple[Image.Image, ...]:
    """As it is, or reduced; perhaps JPEG."""
    picture = resized(face, large) if large else face
    return jpeg(picture, after) if after else picture, picture


def cases() -> Iterator[tuple[str, Make]]:
    for large in LARGE:
        for after in (0, 75):
            for size in SIZES:
                make = functools.partial(enlarged, size=size, large=large, way="bicubic", before=0, after=after)
                yield f"{size} → {large}{f', JPEG {after}' if after else ''}", make  # type: ignore[misc]
    for way, before, after in (("bilinear", 0, 0), ("lanczos", 0, 0), ("nearest", 0, 0), ("bicubic", 75, 0)):
        for size in (24, 48):
            make = functools.partial(enlarged, size=size, large=512, way=way, before=before, after=after)
            yield f"{size}{f' JPEG {before}' if before else ''} → 512 {way}", make  # type: ignore[misc]
    for size in (24, 40, 64):
        yield f"blurred to {size}", functools.partial(blurred, size=size)  # type: ignore[misc]
    for large, after in ((0, 0), (0, 90), (0, 75), (0, 50), (128, 0), (128, 75)):
        name = f"sharp{f', {large} px' if large else ''}{f', JPEG {after}' if after else ''}"
        yield name, functools.partial(sharp, large=large, after=after)  # type: ignore[misc]


def measure(restorer: Restorer, faces: list[Image.Image], make: Make) -> dict[str, float]:
    """touched, low, estimate, high (10, 50, 90 % of the effective sizes), gain, worse."""
    sizes, gains, touched = [], [], []
    for face in faces:
        picture, truth = make(face)
        done = restorer.photo(picture, [(0, 0, *picture.size)])
        sizes.append(done.effective_sizes[0])
        after, before, y = (luma(np.asarray(image))[None] for image in (done.image, picture, truth))
        touched.append(done.faces[0] is not None)
        gains.append(min(MOST, float(psnr(after, y)[0])) - min(MOST, float(psnr(before, y)[0])))
    low, middle, high = np.percentile(np.array(sizes, float), (10, 50, 90))
    gain = np.array(gains)
    return {
        "touched": float(np.mean(touched)), "low": low, "estimate": middle, "high": high, "gain": gain.mean(),
        "worse": float((gain < 0).mean()),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("split")
    parser.add_argument("--model", default="ufvnet-lite")
    parser.add_argument("--faces", type=int, default=100)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = data.open(options.dataset)
    originals = dataset.view("MR3", options.split).arrays(dataset.photos).originals
    faces = [square(original) for original in originals[:: max(1, len(originals) // options.faces)][: options.faces]]
    restorer = Restorer.load(options.model, "cpu")
    print("| face | restored | effective size, 10 to 90 % | gain over leaving | worse |\n|---|---|---|---|---|")
    for name, make in cases():
        if options.only in name:
            row = measure(restorer, faces, make)
            print(
                f"| {name} | {row['touched']:.0%} | {row['estimate']:.0f} ({row['low']:.0f} to {row['high']:.0f}) | "
                f"{row['gain']:+.2f} dB | {row['worse']:.0%} |", flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
