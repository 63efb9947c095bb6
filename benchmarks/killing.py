"""Ten times ``kill -9`` after a random number of pictures and ``--resume``, compared with an undisturbed run.

``python -m benchmarks.killing FOLDER`` makes 2,500 small pictures in FOLDER, restores them with and without the kills,
and fails unless all files and the manifests (except times) are equal, and at most one batch per kill was written twice:
the pictures that were in place but not yet in the journal. It takes 3 minutes on two cores.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from .restoring import BATCH, make_crops

PICTURES, KILLS = 2500, 10
NEW = (40, 300)
"""Range of the number of pictures that a run finishes before it is killed; each kill hits work on slow machines too."""


def main(folder: Path) -> None:
    folder.mkdir(parents=True)
    faces, whole, cut = make_crops(folder / "in", PICTURES), folder / "whole", folder / "cut"
    subprocess.run(_command(faces, whole), check=True)
    random.seed(7)
    times: dict[str, int] = {}
    twice = 0
    for number in range(KILLS):
        child = subprocess.Popen(_command(faces, cut, *["--resume"] * bool(number)), stderr=subprocess.DEVNULL)
        target = len(times) + random.randint(*NEW)
        while child.poll() is None and len(list(cut.glob("*.png"))) < target:
            time.sleep(0.02)
        child.kill()
        child.wait()
        time.sleep(0.5)  # its child process ends with it
        now = {path.name: path.stat().st_mtime_ns for path in cut.glob("*.png")}
        twice += sum(now.get(name) != at for name, at in times.items())
        times = now
        print(f"killed: {len(now):,} of {PICTURES:,} written", flush=True)
    subprocess.run(_command(faces, cut, "--resume"), check=True)
    twice += sum((cut / name).stat().st_mtime_ns != at for name, at in times.items())
    files = all(path.read_bytes() == (cut / path.name).read_bytes() for path in whole.glob("*.png"))
    manifest, other = (pd.read_parquet(out / "manifest.parquet").drop(columns="seconds") for out in (whole, cut))
    print(f"files equal: {files}; manifest equal: {manifest.equals(other)}; written twice: {twice}")
    sys.exit(not (files and manifest.equals(other) and twice <= KILLS * BATCH))


def _command(faces: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "ufvnet.cli", "restore", str(faces), str(out), "--mode", "aligned", *more]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
