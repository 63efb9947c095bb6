"""``python -m benchmarks.hostile``: every command that reads pictures over a folder of damaged and odd files.

Runs ``ufvnet restore`` for face crops and for photos, builds of the folder, and commands with lists and boxes in odd
encodings. Each is a process whose working directory is full of modules that must not be imported. Prints statuses, peak
memory and the slowest file, and fails if a file has no row, a traceback appears, or a file outside the output changed.

``python -m benchmarks.hostile FOLDER [SAMPLE]`` keeps the files that it makes; SAMPLE is how many of the odd files to
use.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import yaml
from PIL import Image

from ufvnet.files import escape_name

from .odd_files import put

REPO = Path(__file__).parents[1]
DECOYS = (
    "torch",
    "numpy",
    "PIL",
    "pandas",
    "pyarrow",
    "yaml",
    "json5",
    "sitecustomize",
    "usercustomize",
    "ufvnet_plugin",
)
SECONDS = 1800
"""Time limit of one command."""


@dataclass(frozen=True)
class Ran:
    """A command that ended: exit code (None: it had to be killed), all it printed, seconds, and the peak GiB of the
    largest of its processes."""

    name: str
    code: int | None
    printed: str
    seconds: float
    peak: float

    @property
    def tracebacks(self) -> int:
        return self.printed.count("Traceback (most recent call last)")


def main(folder: Path, sample: int | None = None, short: bool = False) -> list[str]:
    """Make the files, run the commands and print what became of them.

    Args:
        short: leave out the build of aligned faces, and the lists, boxes and landmarks in odd encodings; build without
            Prefect, whose server takes most of the time.

    Returns:
        The problems, one line each.
    """
    outside, inputs, wrong = _surroundings(folder), folder / "in", []
    for line in put(inputs, outside, sample=sample):
        print(f"not made: {line}")
    expected = sorted(_files(inputs))
    print(f"{len(expected)} files, of which {sum('/' in e for e in expected)} are in folders")
    before = _snapshot(folder)
    for mode in ("aligned", "photo"):
        out = folder / "out" / mode
        ran = _run(folder, f"restore --mode {mode}", "restore", inputs, out, "--mode", mode, "--device", "cpu")
        wrong += _problems(ran, out / "manifest.parquet", expected)
    config = {
        "name": "set",
        "out": str(folder / "out"),
        "source": {"kind": "folder", "root": str(inputs)},
        "hr_size": 64,
    }
    builds: dict[str, dict[str, object]] = {"build": {}, "build aligned": {"crop": {"align": True, "clip": "pad"}}}
    for name, changes in list(builds.items())[: 1 if short else 2]:
        path = folder / "out" / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config | changes | {"name": name.replace(" ", "-")}))
        ran = _run(folder, name, "build", path, *(["--direct"] if short else []))
        pictures = [e for e in expected if not e.endswith((".parquet", ".arrow"))]
        wrong += _problems(ran, folder / "out" / name.replace(" ", "-") / "photos", pictures)
    wrong += [f"touched: {path}" for path in sorted(_changed(before, _snapshot(folder)))]
    for name, arguments in () if short else _texts(folder):
        ran = _run(folder, name, *arguments)
        _print_counts(ran, Counter())
        wrong += _failed(ran)
    print(*(wrong or ["nothing is missing, no traceback, nothing outside the output was touched"]), sep="\n")
    return wrong


def _surroundings(folder: Path) -> Path:
    """Make files next to the input that no command may touch, and a working directory full of decoy modules."""
    for name in ("in", "out", "cwd", "outside", "texts"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    outside = folder / "outside"
    Image.new("RGB", (24, 24), "tan").save(outside / "private.png")
    (outside / "notes.txt").write_text("mine\n")
    for name in DECOYS:
        place = outside / f"imported-{name}"
        (folder / "cwd" / f"{name}.py").write_text(f"open({str(place)!r}, 'w').close()\nraise SystemExit('a decoy')\n")
    return outside


def _files(folder: Path) -> Iterator[str]:
    """Printable names of everything that is not a folder."""
    for root, folders, files in os.walk(folder):
        linked = [name for name in folders if os.path.islink(os.path.join(root, name))]
        for name in files:
            yield escape_name(os.path.relpath(os.path.join(root, name), folder))
        folders[:] = [name for name in folders if name not in linked]


def _snapshot(folder: Path) -> dict[str, tuple[object, ...]]:
    """Name -> kind, size, time and sha256 of everything except the outputs."""
    entries: dict[str, tuple[object, ...]] = {}
    for root, folders, files in os.walk(folder):
        if Path(root) == folder:
            folders.remove("out")
        for name in (*folders, *files):
            path = Path(root, name)
            info = path.lstat()
            plain = path.is_file() and not path.is_symlink()
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if plain else ""
            entries[escape_name(str(path.relative_to(folder)))] = (info.st_mode, info.st_size, info.st_mtime_ns, digest)
    return entries


def _changed(before: dict[str, tuple[object, ...]], after: dict[str, tuple[object, ...]]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def _run(folder: Path, name: str, *arguments: str | Path) -> Ran:
    """Run the public command in the folder of the decoys; only its first process gets ``-P``, which ignores them."""
    command = [sys.executable, "-P", "-m", "ufvnet.cli", *map(str, arguments)]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"}
    environment |= {"PYTHONPATH": str(REPO), "PREFECT_HOME": str(folder / "out" / "prefect"), "COLUMNS": "200"}
    started, log = time.perf_counter(), folder / "out" / f"{name.replace(' ', '')}.log"
    with log.open("wb") as output:
        child = subprocess.Popen(command, cwd=folder / "cwd", env=environment, stdin=subprocess.DEVNULL, stdout=output,
                                 stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip
        code, peak = _wait(child)
    printed = log.read_text(errors="backslashreplace")
    return Ran(name, code, printed, time.perf_counter() - started, peak)


def _wait(child: subprocess.Popen[bytes]) -> tuple[int | None, float]:
    """Exit code and peak GiB of the largest child process; after SECONDS all of them are killed."""
    end = time.monotonic() + SECONDS
    while True:
        ended, status, usage = os.wait4(child.pid, os.WNOHANG)
        if ended:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode, usage.ru_maxrss / 2**20
        if time.monotonic() > end:
            os.killpg(child.pid, 9)
            os.wait4(child.pid, 0)
            child.returncode = -9
            return None, 0.0
        time.sleep(0.1)


def _problems(ran: Ran, rows: Path, expected: list[str]) -> list[str]:
    """Print what became of the files of a run; returns its problems."""
    table = pq.read_table(rows).to_pylist() if rows.exists() else []
    _print_counts(ran, Counter(row["status"] for row in table))
    times = [(row["seconds"], row["path"]) for row in table if row.get("seconds") is not None]  # builds record no times
    if times:
        print("  slowest: {:.1f} s, {}".format(*max(times)))
    there = {row["path"] for row in table} | {row["path"].rpartition("#")[0] for row in table}
    missing = [f"{ran.name}: no row for {name}" for name in expected if name not in there]
    return [*_failed(ran), *missing]


def _print_counts(ran: Ran, statuses: Counter[str]) -> None:
    counts = ", ".join(f"{count} {status}" for status, count in statuses.most_common())
    print(f"{ran.name}: {counts or 'no rows'}; exit {ran.code}, {ran.tracebacks} tracebacks, "
          f"{ran.seconds:.0f} s, peak {ran.peak:.2f} GiB", flush=True)  # fmt: skip


def _failed(ran: Ran) -> list[str]:
    wrong = [f"{ran.name}: {ran.tracebacks} tracebacks"] if ran.tracebacks else []
    return wrong if ran.code in (0, 1, 2) else [*wrong, f"{ran.name}: exit code {ran.code}"]


TEXTS = {
    "mark": "\ufeff{}".encode(),
    "utf-16": "\ufeff{}".encode("utf-16-le"),
    "crlf": b"{}\r\n\r\n",
    "nul": b"{}\0",
    "latin": b"{}\xe9\xff",
    "separator": "{}\u2028\x85\x0c".encode(),
    "empty": b"",
    "long": b"{}," + b"9" * 100_000,
    "quote": b'"{}',
}
"""Forms in which an editor, or an accident, leaves a text file; {} stands for the intended content."""


def _texts(folder: Path) -> Iterator[tuple[str, list[str | Path]]]:
    """Commands that read boxes, landmarks and lists in each of these forms."""
    good = folder / "texts" / "in"
    good.mkdir()
    Image.new("RGB", (40, 40), "tan").save(good / "a.png")
    marks = ",".join(["file", *(f"{axis}{i}" for i in range(68) for axis in "xy")]) + "\na.png" + ",9" * 136
    wanted = {"boxes": "file,left,top,right,bottom\na.png,4,4,30,30\n", "landmarks": marks, "list": "a.png\n"}
    for form, around in TEXTS.items():
        for kind, text in wanted.items():
            file = folder / "texts" / f"{form}-{kind}.{'txt' if kind == 'list' else 'csv'}"
            wide = form == "utf-16"
            file.write_bytes(around.replace("{}".encode("utf-16-le"), text.encode("utf-16-le")) if wide
                             else around.replace(b"{}", text.encode()))  # fmt: skip
            out = folder / "out" / f"{form}-{kind}"
            if kind == "list":
                sets = [
                    f"name={form}",
                    f"out={out}",
                    f"source={{kind: folder, root: {good}, splits: {{test: {file}}}}}",
                ]
                command: list[str | Path] = ["build", REPO / "configs/datasets/folder.yaml"]
                yield f"{kind} {form}", [*command, *(part for s in sets for part in ("-s", s))]
            else:
                yield f"{kind} {form}", ["restore", good, out, f"--{kind}", file, "--device", "cpu"]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(bool(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)))
    with tempfile.TemporaryDirectory() as name:
        sys.exit(bool(main(Path(name))))
