"""What a first run shows: ``python -m benchmarks.photos PHOTOS OUTPUT`` restores PHOTOS/images with nothing set.

PHOTOS is a folder as ``benchmarks.finding`` takes it. Of each photo: faces of boxes.csv whose crop (1.3 times the
shorter side of the box) is under 128 pixels, those of them that were restored, the median crop of the restored faces,
PSNR of RGB between the output and the photo enlarged by bicubic to the same size, in the crops of the restored faces
and in their boxes, and the seam: the mean difference, in levels, between the two on the outermost pixels of a crop.
``--look FOLDER`` writes each restored face beside its bicubic there, to look at.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.finding import Sides, boxes_of

CROP, SMALL = 1.3, 128
"""A face's crop is so many times the shorter side of its box; faces with a smaller crop than SMALL are restored."""
VISIBLE, MEDIAN = 42.0, 64.0
"""PSNR in dB below which a restored photo looks restored, asked of photos with restored faces of this median crop."""


def main() -> None:
    """Restore and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--look", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    command = [sys.executable, "-m", "ufvnet.cli", "restore", str(given.photos / "images"), str(given.output)]
    subprocess.run(command, check=True)
    rows = pq.read_table(given.output / "manifest.parquet").to_pylist()
    truth = boxes_of(given.photos / "boxes.csv")
    print("\n| photo | small faces | restored | median crop | crops, dB | boxes, dB | seam |")
    print("|---" * 7 + "|")
    small = restored = 0
    dull = []
    for row in rows:
        faces = [face for face in row["faces"] or () if face["restored"]]
        wanted = [box for box in truth[row["path"]] if CROP * min(box[2] - box[0], box[3] - box[1]) < SMALL]
        hit = [box for box in wanted if any(_holds(face, box) for face in faces)]
        small, restored = small + len(wanted), restored + len(hit)
        line = [row["path"], f"{len(wanted)}", f"{len(hit)}"]
        if faces:
            before, after = _pair(given.photos / "images", given.output, row)
            scale = row["output_width"] / row["width"]
            crops = [_edges(face) for face in faces]
            median = statistics.median(max(c[2] - c[0], c[3] - c[1]) for c in crops)
            inner = [box for box in truth[row["path"]] if any(_holds(face, box) for face in faces)] or crops
            levels = [_psnr(before, after, parts, scale) for parts in (crops, inner)]
            line += [
                f"{median:.0f}",
                *(f"{level:.1f}" for level in levels),
                f"{_seam(before, after, crops, scale):.2f}",
            ]
            if median <= MEDIAN and max(levels) >= VISIBLE:
                dull.append(row["path"])
            if given.look is not None:
                _write(given.look, row["path"], before, after, crops, scale)
        print("| " + " | ".join([*line, *[""] * (7 - len(line))]) + " |")
        for box in wanted:
            if box not in hit:
                print(f"  missing in {row['path']}: {box}", file=sys.stderr)
    print(f"\n{restored} of {small} small faces restored; no visible difference: {', '.join(dull) or 'none'}")


def _holds(face: Mapping[str, Any], box: Sides) -> bool:
    """True if the middle of a box lies in the middle half of a face's crop."""
    left, top, right, bottom = _edges(face)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return abs(x - (left + right) / 2) < (right - left) / 4 and abs(y - (top + bottom) / 2) < (bottom - top) / 4


def _edges(face: Mapping[str, Any]) -> Sides:
    return face["left"], face["top"], face["right"], face["bottom"]


def _pair(images: Path, output: Path, row: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The photo enlarged by bicubic, and its output, (h, w, 3) float64."""
    after = Image.open(output / row["output"]).convert("RGB")
    before = Image.open(images / row["path"]).convert("RGB").resize(after.size, Image.Resampling.BICUBIC)
    return np.asarray(before, np.float64), np.asarray(after, np.float64)


def _part(image: np.ndarray, box: Sides, scale: float) -> np.ndarray:
    left, top, right, bottom = (round(v * scale) for v in box)
    return image[max(0, top) : bottom, max(0, left) : right]


def _psnr(before: np.ndarray, after: np.ndarray, boxes: Sequence[Sides], scale: float) -> float:
    """Of all pixels of the boxes together."""
    errors = [((_part(before, box, scale) - _part(after, box, scale)) ** 2).ravel() for box in boxes]
    return float(10 * np.log10(255**2 / np.concatenate(errors).mean()))


def _seam(before: np.ndarray, after: np.ndarray, boxes: Sequence[Sides], scale: float) -> float:
    """The largest mean difference on the edge of a box, which the photo goes on beyond."""
    worst = 0.0
    for box in boxes:
        apart = np.abs(_part(before, box, scale) - _part(after, box, scale)).mean(2)
        worst = max(worst, float(np.concatenate([apart[0], apart[-1], apart[:, 0], apart[:, -1]]).mean()))
    return worst


def _write(
    folder: Path, name: str, before: np.ndarray, after: np.ndarray, crops: Sequence[Sides], scale: float
) -> None:
    """Each face with half as much around it: the photo enlarged by bicubic, and the output beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (left, top, right, bottom) in enumerate(crops):
        margin = (right - left) / 4
        wider = (left - margin, top - margin, right + margin, bottom + margin)
        pair = np.concatenate([_part(image, wider, scale) for image in (before, after)], 1)
        Image.fromarray(pair.astype(np.uint8)).save(folder / f"{Path(name).stem}-{number}.png")


if __name__ == "__main__":
    main()
