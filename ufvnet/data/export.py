"""LR images of a built dataset as PNG files, for methods that read folders, such as those in MATLAB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ufvnet.config.lr_images import CLEAN, CROP, split_damage
from ufvnet.errors import ConfigError
from ufvnet.files import below, check_ours, claim, write_bytes
from ufvnet.imaging.png import encode

from .dataset import Dataset
from .lr_images import LRKind, Size, check_made, columns, face_under, size_of, stored_sizes

KIND = "exported faces"


def export(
    dataset: Dataset,
    out: Path,
    view: str = "MR8",
    split: str = "test",
    hr: bool = False,
    damage: Sequence[str] = (CLEAN,),
    sizes: Sequence[int | str] = (),
) -> int:
    """Write ``<out>/<size>/<face id>.png`` for every face and LR image; returns the number of files.

    A damage has a folder of its own above its sizes: ``<out>/jpeg75/20x28``. The images are those that ``ufvnet
    evaluate`` scores. A method that writes its results under the same names into a folder ``<name>/<test set>/`` is
    evaluated as ``{name: ..., images: <name>}``. Characters that no file's name can have are escaped
    (``ufvnet.files.below``).

    Args:
        dataset: to export.
        out: the folder.
        view: MR3, MR7 or MR8.
        split: of the dataset.
        hr: also write the HR images, to ``<out>/hr``; those of ``crop``, which are cut again, to ``<out>/crop/hr``.
        damage: names of damage (docs/method.md section 8).
        sizes: e.g. 24 or "20x28"; the scales of the view if there are none.

    Raises:
        ConfigError: no such split, view, damage or size, the faces cannot have these, ``out`` holds files of somebody
            else, a folder in it is a symbolic link, or a photograph is not there.
    """
    import pyarrow.parquet as pq

    chosen = dataset.view(view, split)
    wanted = _sizes(damage, sizes) or stored_sizes(chosen.hr_size, chosen.ks)
    check_made("", dataset, damage, wanted)
    photos = dataset.photos if CROP in damage else None
    if photos is not None:
        chosen.originals(photos)
    shards = chosen.shards
    check_ours("out", out, KIND, [("dataset", dataset.root)])
    claim(out, KIND)
    names, written = list(dict.fromkeys(c for name in damage for c in columns(name, wanted, chosen.hr_size))), 0
    for shard in shards:
        for group in pq.ParquetFile(shard).iter_batches(columns=names, batch_size=100):
            for record in group.to_pylist():
                for folder, content in _images(record, damage, wanted, hr, chosen.hr_size, photos):
                    write_bytes(image_file(out, folder, record["face_id"]), content)
                    written += 1
    return written


def _sizes(damage: Sequence[str], sizes: Sequence[int | str]) -> tuple[Size, ...]:
    """
    Raises:
        ConfigError: no such damage or size.
    """
    try:
        for name in damage:
            split_damage(name)
        return tuple(map(size_of, sizes))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _images(
    record: dict[str, Any], damage: Sequence[str], sizes: Sequence[Size], hr: bool, hr_size: int, photos: Path | None
) -> Iterator[tuple[str, bytes]]:
    """The folder and the PNG of each image of a face; what the dataset stores has the stored bytes."""
    if hr:
        yield "hr", record["hr"]["bytes"]
    for name in damage:
        face = face_under(name, record, hr_size, photos)
        if face is None:
            continue
        if hr and name == CROP:
            yield f"{CROP}/hr", encode(Image.fromarray(face.hr))
        for size in sizes:
            stored = record.get(f"lr_{size.stored(hr_size)}") if name == CLEAN else None
            yield LRKind(name, size).folder, stored["bytes"] if stored else encode(Image.fromarray(face.lr(size)))


def image_file(out: Path, folder: str, face_id: str) -> Path:
    """The file that a face's image is exported to.

    Raises:
        ConfigError: a folder on the way is a symbolic link.
    """
    try:
        file = below(out, f"{folder}/{face_id}")
    except OSError as error:
        raise ConfigError(f"out = {error}") from error
    return file.with_name(f"{file.name}.png")
