"""Lists of UTKFace's older people, so that a training sees them more often: ``python -m benchmarks.older DATASET OUT``.

Writes OUT/45.txt and OUT/60.txt: the photographs of the dataset's training split whose file name guesses that age or
more. configs/datasets/utkface-45.yaml and utkface-60.yaml build them; a training on all three sees these faces twice
and three times.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.parquet as pq

from ufvnet import data
from ufvnet.files import make_folder, write_bytes

from .groups import groups_of

AGES = (45, 60)


def main(dataset: str, out: str) -> None:
    make_folder(Path(out))
    shards = data.open(dataset).view("MR8", "train").shards
    photos = sorted({p for shard in shards for p in pq.read_table(shard, columns=["photo"])["photo"].to_pylist()})
    ages = {photo: int(Path(photo).name.partition("_")[0]) for photo in photos if groups_of(photo)}
    for least in AGES:
        older = [photo for photo, age in ages.items() if age >= least]
        write_bytes(Path(out) / f"{least}.txt", "".join(f"{photo}\n" for photo in older).encode())
        print(f"{least}.txt: {len(older):,} of {len(photos):,} photographs")


if __name__ == "__main__":
    main(*sys.argv[1:])
