"""LR images of a built dataset as PNG files, for methods that read folders, such as those in MATLAB."""

from __future__ import annotations

from pathlib import Path

from ufvnet.errors import ConfigError
from ufvnet.files import below, check_ours, claim, write_bytes
from ufvnet.imaging.resize import lr_side

from .dataset import Dataset

KIND = "exported faces"


def export(dataset: Dataset, out: Path, view: str = "MR8", split: str = "test", hr: bool = False) -> int:
    """Write ``<out>/<px>/<face id>.png`` for every face and scale of a view; returns the number of files.

    The bytes are those that the dataset stores. A method that writes its results under the same names into a folder
    ``<name>/<test set>/`` is evaluated as ``{name: ..., images: <name>}``. Characters that no file's name can have are
    escaped (``ufvnet.files.below``).

    Args:
        dataset: to export.
        out: the folder.
        view: MR3, MR7 or MR8.
        split: of the dataset.
        hr: also write the HR images, to ``<out>/hr``.

    Raises:
        ConfigError: no such split or view, ``out`` holds files of somebody else, or a folder in it is a symbolic link.
    """
    import pyarrow.parquet as pq

    chosen = dataset.view(view, split)
    shards = chosen.shards
    check_ours("out", out, KIND, [("dataset", dataset.root)])
    claim(out, KIND)
    folders = {f"lr_{k}": str(lr_side(chosen.hr_size, k)) for k in chosen.ks} | ({"hr": "hr"} if hr else {})
    written = 0
    for shard in shards:
        for group in pq.ParquetFile(shard).iter_batches(columns=["face_id", *folders], batch_size=100):
            for face in group.to_pylist():
                for column, folder in folders.items():
                    write_bytes(image_file(out, folder, face["face_id"]), face[column]["bytes"])
                    written += 1
    return written


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
