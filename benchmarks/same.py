"""Compares the results of two versions of the code.

``python -m benchmarks.same COMMIT [--photos FOLDER] [--keep FOLDER]`` builds a dataset, trains the tiny networks for a
few steps on CPU, restores a folder and evaluates, by the command line of this working tree and by that of COMMIT, each
from its own checkout and with its own Prefect home. It prints what is equal and what differs, and fails unless these
are equal:

- sha256 of the faces' shards; the photos' shards in all columns except ``reason`` and ``key``;
- sha256 of each weight tensor;
- sha256 of every restored picture, by name; the manifest in all columns except ``reason``, ``seconds`` and ``key``;
- every number in the evaluation's CSV tables, except times.

It takes 4 minutes on two cores. Without ``--photos`` it uses photos made from scikit-image's astronaut.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from PIL import Image
from safetensors.numpy import load_file

from ufvnet.data.sample import jittered_photos

REPO = Path(__file__).parents[1]
ENGLISH = ["reason", "seconds", "key"]
"""Columns that may change: texts, times, fingerprints of settings and code."""
TIMES = ("cost",)
"""Tables of times, which differ between any two runs."""
DATASET = """
name: faces
source: {kind: folder, root: PHOTOS, fractions: {train: 0.6, val: 0.1, test: 0.3}}
out: data
hr_size: 64
shard_size: 20
limit: 40
near_duplicates: report
cluster: {workers: 2}
"""
RECIPE = """
name: ufvnet
model: ufvnet
preset: tiny
dataset: data/faces
device: cpu
out: models
runs: runs
recipe: {batch_size: 8, anchor_steps: 3, regressor_steps: 3, steps: 6, checkpoint_every: 3, validate_every: 3,
         validation_faces: 4, identity_init: true}
"""
EVALUATION = """
name: scores
models: [bicubic, models/ufvnet]
datasets: [{name: faces, path: data/faces, split: test}]
cluster: {workers: 1}
"""

Result = dict[str, dict[str, Any]]
"""Part -> name -> the value that is compared."""


def run(checkout: Path, work: Path, photos: Path) -> Result:
    """Run everything with the code of one checkout, in a separate folder."""
    for name, text in (("dataset", DATASET), ("recipe", RECIPE), ("evaluation", EVALUATION)):
        (work / f"{name}.yaml").write_text(text.replace("PHOTOS", "photos"))
    shutil.copytree(photos, work / "photos")
    (work / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    ufvnet = _command(checkout, work)
    ufvnet("build", "dataset.yaml", allowed=(0, 1))  # one photo is broken
    ufvnet("train", "recipe.yaml")
    ufvnet("evaluate", "evaluation.yaml")
    ufvnet("data", "export", "data/faces", "mixed/crops", "--split", "test")
    _photographs(work / "photos", work / "mixed")
    for model in ("ufvnet-lite", "models/ufvnet"):
        ufvnet("restore", "mixed", f"restored/{Path(model).name}", "--model", model, allowed=(0, 1))
    ufvnet(
        "restore", "mixed", "restored/native", "--mode", "photo", "--size", "native", "--format", "webp", allowed=(0, 1)
    )
    ufvnet("restore", "data/faces/faces/split=test/part-00000.parquet", "restored/table", "--image-column", "lr_3")
    return {
        "faces": {_name(p, work): _sha256(p) for p in sorted(work.glob("data/faces/faces/*/*.parquet"))},
        "photos": dict(_rows(work.glob("data/faces/photos/*.parquet"), work)),
        "weights": dict(_tensors(work)),
        "restored": {_name(p, work): _sha256(p) for p in sorted(work.glob("restored/**/*.[pw][ne][gb]*"))},
        "rows": dict(_rows(work.glob("restored/*/manifest.parquet"), work)),
        "tables": dict(_csv(work / "evaluations" / "scores")),
    }


def _command(checkout: Path, work: Path) -> Callable[..., None]:
    home = work / "home"
    environment = os.environ | {
        "PYTHONPATH": str(checkout), "PREFECT_HOME": str(home), "OMP_NUM_THREADS": "1", "NO_COLOR": "1",
    }  # fmt: skip

    def call(*arguments: str, allowed: tuple[int, ...] = (0,)) -> None:
        command = [sys.executable, "-P", "-m", "ufvnet.cli", *arguments]
        child = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
        if child.returncode not in allowed:
            sys.exit(f"{checkout.name}: {' '.join(arguments)} ended with {child.returncode}:\n{child.stderr[-3000:]}")

    return call


def _photographs(photos: Path, folder: Path) -> None:
    """Pictures of several forms for a folder run: small photos, a grey one, one with alpha, one that is broken."""
    names = sorted(p for p in photos.iterdir() if p.suffix.lower() in (".jpg", ".png") and p.name != "broken.jpg")[:9]
    for number, path in enumerate(names):
        image = Image.open(path).convert("RGB")
        image.thumbnail((40 + 30 * number,) * 2)
        canvas = Image.new("RGB", (400, 300), "slategrey")
        canvas.paste(image, (60, 20))
        (image if number < 3 else canvas).save(folder / f"photo-{number}.png")
        canvas.convert("L").save(folder / f"grey-{number}.jpg", quality=90)
    transparent = Image.open(folder / "photo-4.png").convert("RGBA")
    transparent.putalpha(Image.fromarray(np.tile(np.arange(400, dtype=np.uint16) % 256, (300, 1)).astype(np.uint8)))
    transparent.save(folder / "transparent.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no picture")


def _rows(tables: Iterator[Path], work: Path) -> Iterator[tuple[str, Any]]:
    for path in sorted(tables):
        table = pq.read_table(path)
        for row in table.drop_columns([name for name in ENGLISH if name in table.column_names]).to_pylist():
            yield f"{_name(path, work)}: {row['path']}", row


def _tensors(work: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(work.glob("models/*/model.safetensors")):
        for name, values in sorted(load_file(path).items()):
            yield f"{path.parent.name}: {name}", hashlib.sha256(values.tobytes()).hexdigest()


def _csv(folder: Path) -> Iterator[tuple[str, Any]]:
    for path in sorted(folder.glob("tables/*.csv")):
        if not path.stem.startswith(TIMES):
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
            for line, row in enumerate(table.itertuples(index=False)):
                yield f"{path.name}, line {line}", tuple(row)


def _name(path: Path, work: Path) -> str:
    return path.relative_to(work).as_posix()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def compare(now: Result, before: Result) -> bool:
    """Print what is equal, and the first differences; True if all is equal."""
    same = True
    for part, values in now.items():
        earlier = before[part]
        different = [name for name in sorted({*values, *earlier}) if values.get(name) != earlier.get(name)]
        print(
            f"{part}: {len(values):,}, of which {len(different):,} differ"
            if different
            else f"{part}: {len(values):,}, all equal"
        )
        for name in different[:5]:
            print(f"  {name}\n    now    {values.get(name)}\n    before {earlier.get(name)}")
        same &= not different and bool(values)
    return same


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("commit")
    parser.add_argument("--photos", type=Path, help="a folder of photographs with faces")
    parser.add_argument("--keep", type=Path, help="work here, keep the files, and reuse a result of COMMIT")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.keep or temporary).absolute()
        photos = options.photos or jittered_photos(folder / "photos", 40)
        shutil.rmtree(folder / "now", ignore_errors=True)
        (folder / "now").mkdir(parents=True)
        now = run(REPO, folder / "now", photos)
        before = _earlier(options.commit, folder, photos)
    sys.exit(0 if compare(now, before) else "the two do not do the same")


def _earlier(commit: str, folder: Path, photos: Path) -> Result:
    """The same with the code of a commit, in a separate clone; the result is kept next to it as a pickle."""
    kept = folder / f"{commit}.pickle"
    if kept.is_file():
        return pickle.loads(kept.read_bytes())
    checkout = folder / "checkout"
    subprocess.run(["git", "clone", "--quiet", "--shared", str(REPO), str(checkout)], check=True)
    subprocess.run(["git", "checkout", "--quiet", "--detach", commit], cwd=checkout, check=True)
    (folder / "before").mkdir()
    result = run(checkout, folder / "before", photos)
    kept.write_bytes(pickle.dumps(result))
    return result


if __name__ == "__main__":
    main()
