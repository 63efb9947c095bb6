"""A picture that kills the process is a failed row, and the others are restored."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from restore_settings import config_of

from ufvnet.children import KEEP_MEMORY
from ufvnet.config import ConfigError, RestoreConfig
from ufvnet.restore import Restorer
from ufvnet.restore.folder.run import restore_folder
from ufvnet.restore.supervise import FRUITLESS, supervise
from ufvnet.restore.trial import crash_in_trial

DEADLY = """
import ctypes
from PIL import Image
real, save = Image.open, Image.Image.save
def open(file, *rest, **named):
    if hasattr(file, "getvalue") and b"deadly" in file.getvalue():
        ctypes.string_at(0)
    return real(file, *rest, **named)
def dying(image, *rest, **named):
    if image.size == (99, 99):
        ctypes.string_at(0)
    return save(image, *rest, **named)
Image.open, Image.Image.save = open, dying
"""
DEADLY_ONES = (3, 4, 30)
NO_TORCH = """
import os, signal, sys
class Finder:
    def find_spec(self, name, *rest):
        if name == "torch":
            os.kill(os.getpid(), signal.SIGKILL)
sys.meta_path.insert(0, Finder())
"""
NO_FORK = """
import os
del os.fork, os.forkpty, os.pwrite, os.getppid
"""
SLOW = """
import time
from PIL import Image
real = Image.open
Image.open = lambda *given, **named: time.sleep(0.2) or real(*given, **named)
"""


def put_faces(folder: Path, count: int) -> Path:
    folder.mkdir()
    for i in range(count):
        text = PngInfo()
        if i in DEADLY_ONES:
            text.add_text("comment", "deadly")
        Image.new("RGB", (12 + i % 20, 20), (200, 6 * i, 90)).save(folder / f"{i:02d}.png", pnginfo=text)
    return folder


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    return put_faces(tmp_path / "in", 40)


def start(
    faces: Path, model: Path, site: str, *more: str, into: str = "out", stderr: int = subprocess.PIPE
) -> subprocess.Popen[str]:
    """The command, in interpreters that run ``site`` first."""
    folder = model.parent if faces.is_file() else faces.parent
    (folder / "site").mkdir(exist_ok=True)
    (folder / "site" / "sitecustomize.py").write_text(site)
    path = os.pathsep.join(filter(None, [str(folder / "site"), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", "ufvnet.cli", "restore", str(faces), str(folder / into), "--model", str(model),
         "--mode", "aligned", *more],
        env={**os.environ, "PYTHONPATH": path}, stderr=stderr, text=True,
    )  # fmt: skip


def wait(running: subprocess.Popen[str], out: Path) -> None:
    """Until something is finished, or one more than there was."""
    deadline, before = time.monotonic() + 120, len(list(out.glob("*.png")))
    while len(list(out.glob("*.png"))) == before and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


@pytest.mark.kills
def test_pictures_that_kill_the_process_fail_and_the_others_are_restored(faces: Path, model: Path) -> None:
    with start(faces, model, DEADLY) as running:
        _, said = running.communicate(timeout=300)
    assert running.returncode == 1, said
    assert "the process died (SIGSEGV); going on" in said
    rows = pd.read_parquet(faces.parent / "out" / "manifest.parquet").set_index("path")
    failed = rows[rows["status"] != "restored"]
    assert sorted(failed.index) == ["03.png", "04.png", "30.png"]
    assert set(failed["status"]) == {"failed"}
    assert set(failed["reason"]) == {"it kills the process that restores it (SIGSEGV)"}
    left = {path.name for path in (faces.parent / "out").iterdir() if path.suffix != ".png"}
    assert left == {"manifest.parquet", "summary.json"}


@pytest.mark.kills
def test_a_crash_is_survived_where_processes_cannot_be_split(faces: Path, model: Path) -> None:
    """As on Windows."""
    for number in range(4, 40):
        (faces / f"{number:02d}.png").unlink()
    with start(faces, model, DEADLY + NO_FORK) as running:
        _, said = running.communicate(timeout=300)
    assert running.returncode == 1, said
    assert "the process died (SIGSEGV); going on" in said
    rows = pd.read_parquet(faces.parent / "out" / "manifest.parquet").set_index("path")
    assert dict(rows["status"]) == {
        "00.png": "restored", "01.png": "restored", "02.png": "restored", "03.png": "failed",
    }  # fmt: skip


@pytest.mark.kills
def test_a_run_ends_when_the_process_that_waits_for_it_is_killed(faces: Path, model: Path) -> None:
    with start(faces, model, SLOW) as running:
        wait(running, faces.parent / "out")
        (worker,) = psutil.Process(running.pid).children()
        running.kill()
        assert running.wait() == -signal.SIGKILL
        worker.wait(timeout=60)
    assert not (faces.parent / "out" / "manifest.parquet").exists()


@dataclass(frozen=True)
class Watched:
    """A run on a terminal that was sent SIGHUP, which its caller had ignored, as nohup does."""

    folder: Path
    code: int
    shown: bytes
    variables: list[str]
    """MALLOC_TRIM_THRESHOLD_ of the process that waits and of the one that restores."""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Watched:
    import pty

    folder = tmp_path_factory.mktemp("watched")
    put_faces(folder / "in", 40)
    site = f"""
import ctypes, os
find = ctypes.CDLL.__getattr__
def watched(library, name):
    if name == "mallopt":
        open({str(folder / "mallopt")!r}, "a").close()
    return find(library, name)
ctypes.CDLL.__getattr__ = watched
with open({str(folder / "processes")!r}, "a") as file:
    file.write(f"{{os.environ.get('MALLOC_TRIM_THRESHOLD_')}}\\n")
"""
    ours, theirs = pty.openpty()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name in KEEP_MEMORY:
                patch.delenv(name, raising=False)  # which all processes of tests have
            patch.setenv("TERM", "xterm")
            patch.setenv("COLUMNS", "100")
            running = start(folder / "in", model, site + SLOW, stderr=theirs)
    finally:
        signal.signal(signal.SIGHUP, before)
    os.close(theirs)
    with running:
        wait(running, folder / "out")
        running.send_signal(signal.SIGHUP)
        shown = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while part := os.read(ours, 2**16):
                shown += part
    os.close(ours)
    return Watched(folder, running.returncode, shown, (folder / "processes").read_text().splitlines())


needs_terminal = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX terminal")


@needs_terminal
def test_the_process_that_restores_shows_its_progress_on_the_terminal(watched: Watched) -> None:
    assert watched.code == 0
    assert b"restore" in watched.shown
    assert b" of 40" in watched.shown


def test_an_output_that_would_end_with_the_child_process_is_refused(faces: Path, model: Path) -> None:
    config = RestoreConfig(input=faces, output="memory://restored", model=model)
    with pytest.raises(ConfigError, match=r"^output = memory://restored: ends with the process that restores"):
        supervise(config)


@needs_terminal
@pytest.mark.kills
def test_a_signal_that_is_ignored_stays_ignored(watched: Watched) -> None:
    """As nohup has it."""
    assert watched.code == 0, watched.shown
    assert len(list((watched.folder / "out").glob("*.png"))) == 40


@needs_terminal
def test_memory_settings_are_those_of_the_process_that_restores(watched: Watched) -> None:
    assert watched.variables == ["None", KEEP_MEMORY["MALLOC_TRIM_THRESHOLD_"]]
    assert not (watched.folder / "mallopt").exists(), "libraries that it loads set none"


def test_memory_settings_are_not_those_of_a_caller(
    faces: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller, e.g. a notebook, keeps the memory settings that it has."""
    asked, find = list[str](), ctypes.CDLL.__getattr__
    monkeypatch.setattr(ctypes.CDLL, "__getattr__", lambda library, name: asked.append(name) or find(library, name))
    before = dict(os.environ)
    restore_folder(config_of(faces, model, output=tmp_path / "again"))
    Restorer.load(model, "cpu")(Image.open(faces / "00.png"))
    assert dict(os.environ) == before
    assert "mallopt" not in asked


def test_a_picture_that_kills_the_process_as_it_is_written_fails(faces: Path, model: Path) -> None:
    for number in DEADLY_ONES:
        (faces / f"{number:02d}.png").unlink()
    Image.new("RGB", (33, 33)).save(faces / "99.png")
    with start(faces, model, DEADLY, "--scale", "3", "--format", "jpeg") as running:
        _, said = running.communicate(timeout=300)
    assert running.returncode == 1, said
    rows = pd.read_parquet(faces.parent / "out" / "manifest.parquet").set_index("path")
    assert rows[rows["status"] != "restored"].index.tolist() == ["99.png"]


@pytest.mark.kills
def test_one_picture_that_kills_the_process_is_told_at_once(faces: Path, model: Path) -> None:
    with start(faces / "03.png", model, DEADLY, into="out.png") as running:
        _, said = running.communicate(timeout=300)
    assert running.returncode == 1
    assert said.strip() == f"{faces / '03.png'}: failed (it kills the process that restores it (SIGSEGV))"


@pytest.mark.kills
def test_a_process_that_dies_before_it_finishes_anything_is_given_up(faces: Path, model: Path) -> None:
    with start(faces, model, NO_TORCH) as running:  # which the process that waits must not import
        _, said = running.communicate(timeout=300)
    assert running.returncode == 128 + signal.SIGKILL
    assert said.count("the process died (SIGKILL)") == FRUITLESS
    assert "without finishing a picture" in said


@pytest.mark.kills
def test_asked_to_stop_a_run_stops_and_can_be_resumed(faces: Path, model: Path) -> None:
    out, resume = faces.parent / "out", list[str]()
    for number in (signal.SIGINT, signal.SIGTERM):
        before = signal.signal(number, signal.SIG_DFL)  # which a job in the background may have inherited as ignored
        try:
            started = start(faces, model, SLOW, *resume)
        finally:
            signal.signal(number, before)
        with started as running:
            wait(running, out)
            running.send_signal(number)
            _, said = running.communicate(timeout=60)
        assert running.returncode == 128 + number, said
        assert "the process died" not in said
        assert 0 < len(list(out.glob("*.png"))) < 40
        resume = ["--resume"]
    with start(faces, model, "", "--resume") as running:
        running.communicate(timeout=120)
    assert running.returncode == 0
    assert len(list(out.glob("*.png"))) == 40


@pytest.mark.kills
def test_a_trial_runs_nothing_in_the_working_directory_and_only_one_that_ends_well_counts(
    faces: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    for name in ("torch", "ufvnet", "pickle", "PIL", "random", "typing_extensions"):
        (here / f"{name}.py").write_text(f"open({str(here / 'ran')!r}, 'a').write({name!r})")
    monkeypatch.chdir(here)
    order = (config_of(faces, model), "00.png", faces / "00.png", ".png")
    assert crash_in_trial(*order) is None
    assert not (here / "ran").exists()
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")])))
    for ending in ("sys.exit(0)", "sys.exit(3)", "os._exit(0)"):
        (site / "sitecustomize.py").write_text(f"import os, sys\nif '-m' in sys.orig_argv: {ending}")
        assert "did not live to its end" in (crash_in_trial(*order) or ""), ending


@pytest.mark.parametrize("what", ["out", "out/.ufvnet/manifest.jsonl"])
def test_a_run_whose_output_is_removed_stops_at_once_with_one_line(faces: Path, model: Path, what: str) -> None:
    out = faces.parent / "out"
    with start(faces, model, SLOW) as running:
        wait(running, out)
        lost = faces.parent / what
        lost.unlink() if lost.is_file() else lost.rename(faces.parent / "moved")
        _, said = running.communicate(timeout=120)
    assert running.returncode == 1
    assert "was removed or moved away while restoring" in said
    assert said.count("\n") == 1, said
