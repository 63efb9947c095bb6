"""Photos for the demo's dataset, and small faces for it to restore."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from ufvnet.files import check_ours, write_atomically

from .dataset import DatasetView, decode

FACE = (160, 25, 320, 225)
"""The face in scikit-image's astronaut: left, top, right, bottom."""

KIND = "demo"
SHEET = "before-after"
"""Folder of the picture that the demo shows first."""


def demo_folders(out: Path, photos: Path | None) -> list[Path]:
    """The folders in ``out`` that the demo itself fills, checked; whatever fills the others checks them.

    Args:
        out: where the demo writes.
        photos: the user's; if None, the demo writes some itself.

    Raises:
        ConfigError: one holds files of somebody else, or overlaps the photos.
    """
    folders = [out / SHEET, out / "small-faces", *([] if photos else [out / "photos"])]
    for folder in folders:
        check_ours("out", folder, KIND, [] if photos is None else [("photos", photos)])
    return folders


def jittered_photos(folder: Path, count: int = 60, seed: int = 0) -> Path:
    """Photos made of the one face photo that scikit-image ships: cut, turned, mirrored, brightened.

    Numbers that are measured on them only show that the pipeline works.

    Raises:
        ImportError: scikit-image is not installed (``pip install ufvnet[demo]``).
    """
    from skimage.data import astronaut

    photo, rng = Image.fromarray(astronaut()), np.random.default_rng(seed)
    for i in range(count):
        left, top, right, bottom = np.array(FACE) + rng.integers(-14, 15, 4) + (-14, -14, 14, 14)
        turned = photo.rotate(rng.uniform(-8, 8), Image.Resampling.BICUBIC, center=(240, 125))
        cut = turned.crop((int(left), max(0, int(top)), int(right), int(bottom)))
        size = int(rng.integers(260, 360))
        cut = cut.resize((size, round(size * cut.height / cut.width)), Image.Resampling.BICUBIC)
        cut = ImageOps.mirror(cut) if rng.integers(2) else cut
        cut = ImageEnhance.Brightness(cut).enhance(rng.uniform(0.8, 1.15))
        cut = ImageEnhance.Color(cut).enhance(rng.uniform(0.6, 1.2))
        _save(cut, folder / f"photo-{i:03d}.jpg", "JPEG")
    return folder


def small_faces(view: DatasetView, folder: Path, count: int = 16) -> Path:
    """The first faces of a view as PNG files to restore, at the view's scales in turn."""
    import pyarrow.parquet as pq

    rows = pq.ParquetFile(view.shards[0]).read_row_group(0).slice(0, count).to_pylist()
    for i, row in enumerate(rows):
        k = view.ks[i % len(view.ks)]
        image = Image.fromarray(decode(row[f"lr_{k}"]))
        _save(image, folder / f"face-{i:03d}-{image.width}px.png", "PNG")
    return folder


def _save(image: Image.Image, path: Path, kind: str) -> None:
    write_atomically(path, lambda p: image.save(p, kind, quality=92))
