"""Faces found and false by every finder that can be used here: ``python -m benchmarks.finding PHOTOS``.

PHOTOS is a folder with ``images/`` and ``boxes.csv`` (file, left, top, right, bottom: brows to chin, in pixels). The
photos are searched as they are, halved and quartered; seconds are of one thread's CPU. ``--crops FOLDER`` also counts
single portraits in which a face is found, and how far the crops from each finder lie from HOG's. ``--false FOLDER``
writes the false finds there, to look at: a face that boxes.csv does not have counts as false.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ufvnet.faces.crop import crop_box
from ufvnet.faces.finders import FINDERS, Finder

REDUCED = (1, 2, 4)
HEIGHTS = (0, 10, 14, 20, 30, 45, 70, 10_000)
SAME = 0.3
"""Intersection over union from which on a find is the face of boxes.csv."""

Sides = tuple[float, ...]


@dataclass
class Counts:
    """What a finder found on the photos in one size."""

    found: int = 0
    false: int = 0
    seconds: float = 0.0
    megapixels: float = 0.0
    by_height: dict[int, list[bool]] = field(default_factory=lambda: defaultdict(list))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--crops", type=Path, action="append", default=[], metavar="FOLDER")
    parser.add_argument("--false", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    finders = []
    for finder in FINDERS:
        reason = finder.why_unusable()
        print(f"{finder.NAME}: not measured, {reason}" if reason else f"{finder.NAME}: {finder.VERSION}")
        if reason is None:
            finder.load()
            finders.append(finder)
    _print_photos(given.photos, finders, given.false)
    for folder in given.crops:
        _print_crops(folder, finders)


def _print_photos(folder: Path, finders: Sequence[Finder], falses: Path | None) -> None:
    truth = boxes_of(folder / "boxes.csv")
    print("\n| finder | size | found | false | s / megapixel |\n|---|---|---|---|---|")
    by_height: dict[str, dict[int, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for reduced in REDUCED:
        counts = {finder.NAME: Counts() for finder in finders}
        for path in sorted((folder / "images").iterdir()):
            photo = _reduced(Image.open(path).convert("RGB"), reduced)
            faces = [tuple(v / reduced for v in box) for box in truth[path.name]]
            for finder in finders:  # photo by photo, so that a busy machine slows all alike
                false = _count(counts[finder.NAME], finder, photo, faces)
                if falses is not None:
                    _write(falses, f"{finder.NAME}-{reduced}-{path.stem}", photo, false)
        for name, count in counts.items():
            speed = count.seconds / count.megapixels
            print(f"| {name} | 1/{reduced} | {count.found} | {count.false} | {speed:.2f} |", flush=True)
            for height, hits in count.by_height.items():
                by_height[name][height] += hits
    total = sum(map(len, truth.values()))
    print(f"\nOf {total} faces in each size; all sizes together by the height of the face in pixels:\n")
    print("| finder | " + " | ".join(f"{a}-{b}" for a, b in itertools.pairwise(HEIGHTS)) + " |")
    print("|---" * len(HEIGHTS) + "|")
    for name, hits_of in by_height.items():
        cells = (f"{sum(hits_of[h])} of {len(hits_of[h])}" for h in HEIGHTS[:-1])
        print(f"| {name} | " + " | ".join(cells) + " |")


def boxes_of(path: Path) -> dict[str, list[Sides]]:
    boxes = defaultdict(list)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            boxes[row["file"]].append(tuple(float(row[edge]) for edge in ("left", "top", "right", "bottom")))
    return boxes


def _reduced(photo: Image.Image, times: int) -> Image.Image:
    size = (max(1, photo.width // times), max(1, photo.height // times))
    return photo if times == 1 else photo.resize(size, Image.Resampling.BICUBIC)


def _count(counts: Counts, finder: Finder, photo: Image.Image, truth: Sequence[Sides]) -> list[Sides]:
    """Add what a finder finds in a photo; returns the false finds."""
    started = time.process_time()
    finds: list[Sides] = [face.box for face in finder.find_small_faces(photo)]
    counts.seconds += time.process_time() - started
    counts.megapixels += photo.width * photo.height / 1e6
    pairs = sorted(((_common(a, b), i, j) for i, a in enumerate(truth) for j, b in enumerate(finds)), reverse=True)
    hit: dict[int, int] = {}
    for common, i, j in pairs:
        if common >= SAME and i not in hit and j not in hit.values():
            hit[i] = j
    for i, box in enumerate(truth):
        height = max(h for h in HEIGHTS if h <= box[3] - box[1])
        counts.by_height[height].append(i in hit)
    false = [find for j, find in enumerate(finds) if j not in hit.values()]
    counts.found += len(hit)
    counts.false += len(false)
    return false


def _common(a: Sides, b: Sides) -> float:
    """Intersection over union."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inside = max(0.0, width) * max(0.0, height)
    return inside / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside)


def _write(folder: Path, name: str, photo: Image.Image, boxes: Sequence[Sides]) -> None:
    """Write each box with as much around it, 256 pixels wide."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (left, top, right, bottom) in enumerate(boxes):
        margin = (right - left) / 2
        part = photo.crop((round(left - margin), round(top - margin), round(right + margin), round(bottom + margin)))
        part.resize((256, 256), Image.Resampling.BICUBIC).save(folder / f"{name}-{number}.png")


def _print_crops(folder: Path, finders: Sequence[Finder]) -> None:
    """Portraits with a face found, CPU-milliseconds each, and distances of the crops' corners from HOG's."""
    crops: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    seconds: dict[str, float] = defaultdict(float)
    paths = list(_portraits(folder))
    for path in paths:
        photo = Image.open(path).convert("RGB")
        for finder in finders:
            started = time.process_time()
            faces = finder.find_faces(photo)
            seconds[finder.NAME] += time.process_time() - started
            if faces:
                crops[finder.NAME][path.name] = np.array(crop_box(faces[0].landmarks, *photo.size))
    print(f"\n{folder.name}, {len(paths)} portraits; corners' largest distance from HOG's, as a share of its crop:\n")
    print("| finder | found | ms each | median | 95 % | worst |\n|---|---|---|---|---|---|")
    for finder in finders:
        mine, theirs = crops[finder.NAME], crops["hog"]
        apart = [np.abs(mine[n] - theirs[n]).max() / (theirs[n][2] - theirs[n][0]) for n in mine if n in theirs]
        median, most, worst = np.quantile(apart, [0.5, 0.95, 1])
        each = 1000 * seconds[finder.NAME] / len(paths)
        print(f"| {finder.NAME} | {len(mine)} | {each:.1f} | {median:.1%} | {most:.1%} | {worst:.1%} |", flush=True)


def _portraits(folder: Path) -> Iterator[Path]:
    """The portraits of ``test.txt`` where a folder has such a list, else all."""
    images, names = folder / "images", folder / "test.txt"
    if names.is_file():
        yield from (images / name for name in names.read_text().splitlines())
    else:
        yield from sorted(images.iterdir())


if __name__ == "__main__":
    main()
