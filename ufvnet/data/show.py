"""``ufvnet data show``: a dataset's card in lines, and a contact sheet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from ufvnet.files import write_atomically

from .bicubic import SIXTEENTHS
from .reader import Dataset, DatasetView, decode

COLUMNS = ("hr", *(f"lr_{k}" for k in reversed(SIXTEENTHS)))
GAP = 2


def describe(dataset: Dataset) -> Iterator[str]:
    """The card, a line each."""
    card = dataset.card
    yield f"{card['name']}: {dataset.root}"
    yield f"  HR {card['hr_size']}x{card['hr_size']}, LR by {card['degradation']['name']} v" + (
        f"{card['degradation']['version']} ({card['degradation']['summary']})"
    )
    yield f"  {card['photos']:,} photos:"
    for status, number in card["counts"].items():
        if number:
            yield f"    {number:8,} {status}"
    for split, number in card["faces"].items():
        yield f"  {split}: {number:,} faces, fingerprint {card['fingerprints'][split][:16]}"
    pairs = card["near_duplicates"]
    if pairs is not None:
        yield f"  look alike: {pairs['within']:,} within a split, {pairs['across']:,} across (near_duplicates.parquet)"
    yield "  made with " + ", ".join(f"{name} {version}" for name, version in card["versions"].items())


def contact_sheet(dataset: Dataset, file: Path, faces: int = 8) -> Path:
    """Write a PNG: some faces of each split, spread over it, each at HR and at every LR size, enlarged to HR.

    Raises:
        ConfigError: the dataset has no faces.
    """
    size = dataset.hr_size
    splits = [s for s, n in dataset.card["faces"].items() if n]
    rows = [row for s in splits for row in _faces(dataset.select(SIXTEENTHS, s), max(1, faces // len(splits)))]
    step = size + GAP
    sheet = Image.new("RGB", (len(COLUMNS) * step, max(1, len(rows)) * step), "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            sheet.paste(image.resize((size, size), Image.Resampling.NEAREST), (x * step, y * step))
    write_atomically(file, lambda p: sheet.save(p, "PNG"))
    return file


def _faces(view: DatasetView, number: int) -> Iterator[list[Image.Image]]:
    total = len(view)
    for i in range(min(number, total)):
        row = view.face(i * total // min(number, total))
        yield [Image.fromarray(decode(row[column])) for column in COLUMNS]
