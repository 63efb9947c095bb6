"""The README.md of a built dataset: its card in words, under what the Hugging Face Hub and ``datasets`` read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ufvnet.files import printed, write_text
from ufvnet.front_matter import NO_LICENCE, with_front_matter
from ufvnet.remote import AnyPath

README = "README.md"
MARK = "<!-- Made by `ufvnet build`; remove this line to keep a text of your own. -->"
"""Line of a README that a build may replace."""
LARGEST = 2**20
SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}
"""The Hub's names for numbers of rows, by the number that they stay below."""

USE = """## Use

```python
import datasets

datasets.load_dataset("path/of/this/folder")  # faces by split; a second configuration, `photos`, has a row per photo
```

`hr` is the face, `lr_1` ... `lr_8` are its reductions to 1/16 ... 8/16 of that size. With ufvnet,
`ufvnet.data.open("path/of/this/folder")` reads them as arrays.
"""


def write_readme(root: Path, card: dict[str, Any]) -> None:
    """Write the README of a dataset, unless a file is there that no build wrote."""
    file = root / README
    if file.is_symlink() or (file.exists() and not is_made(file)):
        return
    text = dataset_readme(card)
    if not file.exists() or file.read_text() != text:
        write_text(file, text)


def is_made(file: AnyPath) -> bool:
    """True if a build wrote this README."""
    try:
        return file.is_file() and file.stat().st_size <= LARGEST and MARK.encode() in file.read_bytes()
    except OSError:
        return False


def dataset_readme(card: dict[str, Any]) -> str:
    """The README of a dataset whose card (dataset.json) this is; it depends on the card alone."""
    size, degradation = card["hr_size"], card["degradation"]
    statuses = "\n".join(f"| `{status}` | {count:,} |" for status, count in card["counts"].items() if count)
    splits = "\n".join(f"| {printed(split)} | {count:,} |" for split, count in card["faces"].items())
    text = (
        f"{MARK}\n\n# {card['name']}\n\n"
        f"Faces of {size}x{size} pixels and their reductions, cut from {card['photos']:,} photographs by "
        f"`ufvnet build`. Reduced by `{degradation['name']}`, version {degradation['version']}: "
        f"{printed(degradation['summary'])}.\n\n"
        "The terms of the photographs bind its use, and so do the rights of the people on them.\n\n"
        f"| split | faces |\n|---|---|\n{splits}\n\n| photographs | number |\n|---|---|\n{statuses}\n\n{USE}"
    )
    return with_front_matter(_fields(card), text)


def _fields(card: dict[str, Any]) -> dict[str, Any]:
    faces = sum(card["faces"].values())
    files = [
        {"split": _split_name(split), "path": f"faces/split={split}/*.parquet"}
        for split, count in card["faces"].items()
        if count
    ]
    photos = {"config_name": "photos", "data_files": [{"split": "photos", "path": "photos/*.parquet"}]}
    return {
        "pretty_name": card["name"],
        "task_categories": ["image-to-image"],
        "tags": ["super-resolution", "face-super-resolution", "ufvnet"],
        "size_categories": [next((name for limit, name in SIZES.items() if faces < limit), "n>1M")],
        **NO_LICENCE,
        "configs": [*([{"config_name": "faces", "default": True, "data_files": files}] if files else []), photos],
    }


def _split_name(split: str) -> str:
    """A split's name as ``datasets`` allows it: word characters, and not ``all``, which means every split."""
    name = re.sub(r"\W", "_", split)
    return "all_faces" if name.lower() == "all" else name
