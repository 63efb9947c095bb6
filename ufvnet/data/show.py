"""``ufvnet data show``: a dataset's card in lines, and a contact sheet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PIL import Image, PngImagePlugin

from ufvnet.errors import ConfigError
from ufvnet.files import below, printed, write_atomically
from ufvnet.imaging.resize import SIXTEENTHS

from .dataset import Dataset, DatasetView, decode

COLUMNS = ("hr", *(f"lr_{k}" for k in reversed(SIXTEENTHS)))
GAP = 2
MARK = "ufvnet contact sheet"
"""Name of the software in a sheet's PNG, so that a sheet replaces only sheets."""


def describe(dataset: Dataset) -> Iterator[str]:
    """The card in lines."""
    card = dataset.card
    yield f"{card['name']}: {printed(dataset.root)}"
    yield f"  HR {card['hr_size']}x{card['hr_size']}, LR by {card['degradation']['name']} v" + (
        f"{card['degradation']['version']} ({printed(card['degradation']['summary'])})"
    )
    yield f"  {card['photos']:,} photos:"
    for status, number in card["counts"].items():
        if number:
            yield f"    {number:8,} {printed(status)}"
    for split, number in card["faces"].items():
        yield f"  {split}: {number:,} faces, fingerprint {card['fingerprints'][split][:16]}"
    pairs = card["near_duplicates"]
    if pairs is not None:
        yield f"  look alike: {pairs['within']:,} within a split, {pairs['across']:,} across (near_duplicates.parquet)"
    yield "  made with " + printed(", ".join(f"{name} {version}" for name, version in card["versions"].items()))


def contact_sheet(dataset: Dataset, file: Path | None = None, faces: int = 8) -> Path:
    """Write a PNG with some faces of each split, each at HR and at every LR size, enlarged to HR.

    Args:
        dataset: whose faces are shown.
        file: the PNG; by default a file in the dataset's cache.
        faces: number of faces, shared by the splits.

    Raises:
        ConfigError: the file exists and is no contact sheet, or a file of the dataset is damaged.
    """
    if file is None:
        try:
            file = below(dataset.root, "cache/contact-sheet.png")
        except OSError as error:
            raise ConfigError(str(error)) from error
    elif file.is_symlink() or (file.exists() and not _is_sheet(file)):
        raise ConfigError(f"sheet = {printed(file)}: is there and is no contact sheet; name another file")
    size = dataset.hr_size
    splits = [s for s, n in dataset.card["faces"].items() if n]
    rows = [row for s in splits for row in _faces(dataset.select(SIXTEENTHS, s), max(1, faces // len(splits)))]
    step = size + GAP
    sheet = Image.new("RGB", (len(COLUMNS) * step, max(1, len(rows)) * step), "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            sheet.paste(image.resize((size, size), Image.Resampling.NEAREST), (x * step, y * step))
    marked = PngImagePlugin.PngInfo()
    marked.add_text("Software", MARK)
    write_atomically(file, lambda p: sheet.save(p, "PNG", pnginfo=marked))
    return file


def _is_sheet(file: Path) -> bool:
    try:
        with Image.open(file, formats=["PNG"]) as image:
            return image.info.get("Software") == MARK
    except (OSError, ValueError, SyntaxError):
        return False


def _faces(view: DatasetView, number: int) -> Iterator[list[Image.Image]]:
    total = len(view)
    for i in range(min(number, total)):
        row = view.face(i * total // min(number, total))
        yield [Image.fromarray(decode(row[column])) for column in COLUMNS]
