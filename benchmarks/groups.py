"""Groups of UTKFace's faces for an evaluation: ``python -m benchmarks.groups DATASET OUT.csv``.

The file names of UTKFace hold its makers' guesses of age, gender and ethnicity (age_gender_ethnicity_date). Writes them
as the CSV that ``groups`` of a test set names (configs/evaluations/groups.yaml); photographs with another name are left
out.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from ufvnet import data

GENDERS = ("male", "female")
ETHNICITIES = ("White", "Black", "Asian", "Indian", "others")
AGES = (0, 18, 30, 45, 60, 75)
"""The first year of each group; the last has no end."""


def groups_of(photo: str) -> dict[str, str] | None:
    """The groups of a photograph by its name; None if the name has another form."""
    match = re.match(r"(\d+)_([01])_([0-4])_", Path(photo).name)
    if match is None:
        return None
    age, gender, ethnicity = (int(n) for n in match.groups())
    start = max(a for a in AGES if a <= age)
    end = next((f"-{a - 1}" for a in AGES if a > start), "+")
    return {"photo": photo, "age": f"{start}{end}", "gender": GENDERS[gender], "ethnicity": ETHNICITIES[ethnicity]}


def main(dataset: str, out: str) -> None:
    built = data.open(dataset)
    shards = [shard for split, n in built.card["faces"].items() if n for shard in built.view("MR8", split).shards]
    photos = sorted(
        {photo for shard in shards for photo in pq.read_table(shard, columns=["photo"])["photo"].to_pylist()}
    )
    pd.DataFrame([row for photo in photos if (row := groups_of(photo))]).to_csv(out, index=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
