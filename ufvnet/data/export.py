"""LR images of a built dataset as PNG files, for methods that read folders (MATLAB's, say)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ufvnet.files import write_atomically

from .bicubic import lr_side
from .reader import Dataset


def export(dataset: Dataset, out: Path, view: str = "MR8", split: str = "test", hr: bool = False) -> int:
    """Write ``<out>/<px>/<face id>.png`` for every face and scale of a view; returns how many files.

    The bytes are those that the dataset stores. A method that writes its results under the same names into a folder
    ``<name>/<test set>/`` is evaluated as ``{name: ..., images: <name>}``.

    Args:
        hr: also write the HR images, to ``<out>/hr``.

    Raises:
        ConfigError: no such split or view.
    """
    import pyarrow.parquet as pq

    chosen = dataset.view(view, split)
    folders = {f"lr_{k}": str(lr_side(chosen.hr_size, k)) for k in chosen.ks} | ({"hr": "hr"} if hr else {})
    written = 0
    for shard in chosen.shards:
        for group in pq.ParquetFile(shard).iter_batches(columns=["face_id", *folders], batch_size=100):
            for face in group.to_pylist():
                for column, folder in folders.items():
                    png = face[column]["bytes"]
                    write_atomically(out / folder / f"{face['face_id']}.png", partial(Path.write_bytes, data=png))
                    written += 1
    return written
