"""Gain over bicubic by group of people: ``python -m benchmarks.groups MODEL DATASET [--split test] [--sizes 16,32]``.

For ``utkface-held`` (configs/datasets/utkface-held.yaml): no training has seen the tenth of it in the split ``test``,
and its file names hold its makers' guesses of age, gender and ethnicity. Prints one row per group: number of faces, and
for each damage the mean gain and the share of faces that become worse. Groups far below the mean (under 0.8 of its
gain) are in bold.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ufvnet import data
from ufvnet.models import load
from ufvnet.models.inference import channels_last

from .real import gains

GENDERS = ("male", "female")
ETHNICITIES = ("White", "Black", "Asian", "Indian", "others")
AGES = (18, 30, 45, 60, 75)
"""The first year of each group; the last has no end."""
FAR_BELOW = 0.8


def groups(face_id: str) -> list[str]:
    """The groups of a face by its name, ``age_gender_ethnicity_date``; an empty list if the name has another form."""
    match = re.match(r"(\d+)_([01])_([0-4])_", face_id)
    if match is None:
        return []
    age, gender, ethnicity = (int(n) for n in match.groups())
    start = max((a for a in AGES if a <= age), default=0)
    end = next((str(a - 1) for a in AGES if a > start), "")
    return [f"age {start}-{end}", GENDERS[gender], ETHNICITIES[ethnicity]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--sizes", default="16,32")
    parser.add_argument("--damage", default="clean,mixed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    arrays = data.open(options.dataset).view("MR8", options.split).arrays()
    hr, network = np.asarray(arrays.hr), channels_last(load(options.model)[0])
    sizes, names = [int(s) for s in options.sizes.split(",")], options.damage.split(",")
    gain_by_damage = {name: np.mean([gains(network, hr, name, side) for side in sizes], 0) for name in names}
    faces = pd.DataFrame({"group": [[*groups(i), "all"] for i in arrays.face_ids], **gain_by_damage}).explode("group")
    print(f"| group | faces | {' | '.join(names)} |")
    print("|---" * (len(names) + 2) + "|")
    for group, rows in faces.groupby("group"):
        cells = [_cell(rows[name], gain_by_damage[name]) for name in names]
        print(f"| {group} | {len(rows)} | {' | '.join(cells)} |")


def _cell(gain: pd.Series, everyone: np.ndarray) -> str:
    text = f"{gain.mean():+.2f} ({(gain < 0).mean():.0%})"
    return f"**{text}**" if gain.mean() < FAR_BELOW * everyone.mean() else text


if __name__ == "__main__":
    main()
