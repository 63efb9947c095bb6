"""Reduced portraits whose faces are restored and pasted back, compared with bicubic inside the faces' boxes.

``python -m benchmarks.pasting FOLDER COUNT SHEET.png`` takes every n-th photo of a folder, COUNT in all. It prints a
row for each factor and writes a sheet of the first eight (reduced and enlarged by nearest, bicubic, pasted, photo).
The sheet shows faces: keep it out of the repository.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from ufvnet import Restorer

FACTORS = (2, 4, 8)
SHOWN = 8


def main(folder: Path, count: int, sheet: Path) -> None:
    restorer = Restorer.load(device="cpu")
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    paths = paths[:: max(1, len(paths) // count)][:count]
    print("| shrunk | portraits | face found | bicubic [dB] | pasted [dB] | gain [dB] | better |")
    print("|---|---|---|---|---|---|---|")
    rows: list[list[Image.Image]] = []
    for factor in FACTORS:
        scores = []
        for place, path in enumerate(paths):
            photo = Image.open(path).convert("RGB")
            width, height = (side // factor * factor for side in photo.size)
            photo = photo.crop((0, 0, width, height))
            small = photo.resize((width // factor, height // factor), Image.Resampling.BICUBIC)
            restored = restorer.photo(small, scale=factor)
            bicubic = small.resize(photo.size, Image.Resampling.BICUBIC)
            scores += [
                [psnr(image, photo, *(side * factor for side in box)) for image in (bicubic, restored.image)]
                for box in restored.boxes
            ]
            if place < SHOWN:
                rows.append([small.resize(photo.size, Image.Resampling.NEAREST), bicubic, restored.image, photo])
        before, after = np.mean(scores, axis=0)
        better = np.mean([pasted > plain for plain, pasted in scores])
        print(
            f"| {factor}x | {len(paths)} | {len(scores)} | {before:.2f} | {after:.2f} | "
            f"{after - before:+.2f} | {better:.0%} |"
        )
    paste(rows).save(sheet)


def psnr(image: Image.Image, truth: Image.Image, *box: int) -> float:
    """PSNR in dB of the RGB pixels in a box."""
    left, top, right, bottom = box
    a, b = (np.asarray(picture.crop((left, top, right, bottom))).astype(np.float64) for picture in (image, truth))
    return 10 * math.log10(255**2 / ((a - b) ** 2).mean())


def paste(rows: list[list[Image.Image]]) -> Image.Image:
    """Rows of pictures, pasted into one picture."""
    width, height = (max(image.size[i] for row in rows for image in row) for i in (0, 1))
    whole = Image.new("RGB", (4 * width * len(FACTORS), height * SHOWN), "white")
    for number, row in enumerate(rows):
        for column, image in enumerate(row):
            whole.paste(image, ((number // SHOWN * 4 + column) * width, number % SHOWN * height))
    return whole


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
