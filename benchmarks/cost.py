"""How cost grows with size: CPU seconds and peak memory of whole commands.

``python -m benchmarks.cost`` needs about 10 minutes, ``python -m benchmarks.cost restore`` measures that command alone
(3.5 CPU-minutes). ``python -m benchmarks.planning`` does the sizes for which there are no photographs here. CPU seconds
include those of all processes that a command starts, so other work on the machine changes them little.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.building import PHOTOS
from benchmarks.restoring import make_crops

SIZES = (500, 2_000, 7_000)


def build(folder: Path) -> None:
    """Build the first photos of a folder, and build them again, when only their bytes are read."""
    for size in SIZES:
        photos = folder / f"photos-{size}"
        photos.mkdir()
        for file in sorted(PHOTOS.iterdir())[:size]:
            (photos / file.name).symlink_to(file.absolute())
        config = folder / f"{size}.json"
        settings = {
            "name": f"set-{size}",
            "out": str(folder),
            "source": {"root": str(photos)},
            "cluster": {"workers": 1},
        }
        config.write_text(json.dumps(settings))
        _measure(f"build of {size:,} photos", size, "build", str(config), "--direct")
        _measure(f"the same again, {size:,} photos", size, "build", str(config), "--direct")


def evaluate(folder: Path) -> None:
    """Score bicubic on all faces of the datasets that ``build`` left, at all eight sizes."""
    for size in SIZES:
        card = json.loads((folder / f"set-{size}" / "dataset.json").read_text())
        faces = card["faces"]["train"]
        sets = [{"name": "set", "path": str(folder / f"set-{size}"), "split": "train"}]
        config = folder / f"evaluate-{size}.json"
        settings = {"name": f"e-{size}", "out": str(folder), "models": ["bicubic"], "datasets": sets}
        config.write_text(json.dumps(settings | {"cluster": {"workers": 1}}))
        _measure(f"evaluate bicubic on {faces:,} faces", faces, "evaluate", str(config), "--direct")


def restore(folder: Path) -> None:
    """Restore small crops with the shipped model."""
    for size in SIZES:
        crops = make_crops(folder / f"crops-{size}", size)
        settings = ("--mode", "aligned", "--device", "cpu", "--threads", "1")
        _measure(f"restore of {size:,} crops", size, "restore", str(crops), str(folder / f"out-{size}"), *settings)


def _measure(what: str, count: int, *command: str) -> None:
    """Run a command of ours; prints a row: its CPU seconds, those per item, its peak memory."""
    child = subprocess.Popen([sys.executable, "-m", "ufvnet.cli", *command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    seconds = usage.ru_utime + usage.ru_stime
    row = f"| {what} | {seconds:.1f} | {1000 * seconds / count:.2f} | {usage.ru_maxrss / 1024:,.0f} |"
    print(row if child.returncode in (0, 1) else f"{what}: exit code {child.returncode}", flush=True)


def main() -> None:
    """Measure the commands that are named, or all of them; evaluating needs what building left."""
    measures = {"build": build, "evaluate": evaluate, "restore": restore}
    chosen = [measures[name] for name in sys.argv[1:] or measures]
    print("| what | CPU s | CPU ms per item | MiB at most |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        for measure in chosen:
            measure(Path(name))


if __name__ == "__main__":
    main()
