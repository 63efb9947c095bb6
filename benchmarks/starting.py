"""How long small commands take from start to end: ``python -m benchmarks.starting [ROUNDS]``.

``ufvnet --help``; a restored picture, alone and in a folder; a build of ten photos with Prefect and with ``--direct``,
beside a flow that does nothing; an evaluation of bicubic and ufvnet-lite on two faces. Each in turn, ROUNDS (5) times;
prints the medians of wall-clock and CPU seconds, children included. The Prefect home is there already. Fails if the two
builds write different bytes. 6 minutes of two cores.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from PIL import Image

from ufvnet.data.sample import jittered_photos

PHOTOS = 10
TRIVIAL = "from prefect import flow\n@flow\ndef trivial():\n    return 1\ntrivial()\n"
DATASET = "name: ten\nsource: {kind: folder, root: photos, fractions: {train: 0.8, test: 0.2}}\nout: OUT\n"
EVALUATION = "name: two\nmodels: [bicubic, ufvnet-lite]\ndatasets: [{name: ten, path: direct/ten}]\nout: OUT\n"
UFVNET = (sys.executable, "-P", "-m", "ufvnet.cli")


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _prepare(folder)
        times: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for number in range(rounds + 1):  # the first round fills caches and the Prefect home
            for name, command in _commands(number).items():
                measured = _timed(command, folder)
                if number:
                    times[name].append(measured)
        print("| command | wall, s | CPU, s |\n|---|---|---|")
        for name, values in times.items():
            wall, cpu = (statistics.median(column) for column in zip(*values))
            print(f"| {name} | {wall:.2f} | {cpu:.2f} |")
        sys.exit(None if _same(folder) else "the builds with and without Prefect differ")


def _prepare(folder: Path) -> None:
    jittered_photos(folder / "photos", PHOTOS)
    (folder / "trivial.py").write_text(TRIVIAL)
    for way in ("prefect", "direct"):
        (folder / f"{way}.yaml").write_text(DATASET.replace("OUT", way))
    (folder / "small").mkdir()
    Image.open(folder / "photos" / "photo-000.jpg").resize((24, 28)).save(folder / "small" / "face.png")


def _commands(number: int) -> dict[str, tuple[str, ...]]:
    """Each round's commands; what they write is new in each round."""
    return {
        "`ufvnet --help`": (*UFVNET, "--help"),
        "restore one picture": (*UFVNET, "restore", "small/face.png", f"face-{number}.png"),
        "restore a folder of one picture": (*UFVNET, "restore", "small", f"restored-{number}"),
        "a flow that does nothing": (sys.executable, "trivial.py"),
        "build ten photos": (*UFVNET, "build", "prefect.yaml"),
        "build ten photos, --direct": (*UFVNET, "build", "direct.yaml", "--direct"),
        "evaluate two faces, --direct": (*UFVNET, "evaluate", f"evaluation-{number}.yaml", "--direct"),
    }


def _timed(command: tuple[str, ...], folder: Path) -> tuple[float, float]:
    """(wall-clock seconds, CPU seconds with children) of a command that must succeed."""
    if "build" in command:
        shutil.rmtree(folder / Path(command[5]).stem, ignore_errors=True)
    for part in command:
        if part.startswith("evaluation-"):
            (folder / part).write_text(EVALUATION.replace("OUT", Path(part).stem))
    environment = os.environ | {"PREFECT_HOME": str(folder / "home"), "PYTHONPATH": str(Path(__file__).parents[1])}
    environment["PYTHONDONTWRITEBYTECODE"] = ""  # an installed package is compiled once, not in each process
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _same(folder: Path) -> bool:
    files = {way: sorted((folder / way / "ten").glob("*/**/part-*.parquet")) for way in ("prefect", "direct")}
    names = [[p.relative_to(folder / way) for p in paths if "timings" not in p.parts] for way, paths in files.items()]
    contents = [[(folder / way / name).read_bytes() for name in names[0]] for way in files]
    return bool(names[0]) and names[0] == names[1] and contents[0] == contents[1]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
