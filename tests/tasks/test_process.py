"""One process for jobs that need no cluster: it is replaced when it dies, asked again when it raises."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tasks import process
from tasks.cluster import map_on_cluster, workers_for
from tasks.process import OneProcess
from ufvnet.config import Cluster
from ufvnet.data.sample import jittered_photos
from ufvnet.errors import PipelineError
from ufvnet.proof import Refusal, proof


def _threads(_: object) -> tuple[int, str | None]:
    return os.getpid(), os.environ.get("OMP_NUM_THREADS")


def _die(marker: Path) -> str:
    deaths = len(marker.read_text()) if marker.exists() else 0
    if deaths < 3:
        marker.write_text("x" * (deaths + 1))
        os.kill(os.getpid(), signal.SIGKILL)
    return marker.name


def _raise_once(marker: Path) -> str:
    if not marker.exists():
        marker.touch()
        raise OSError("a share that was away for a moment")
    return marker.name


def _ctrl_c_waits() -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])


class _AsItArrives:
    """A job that arrives as what ``_ctrl_c_waits`` says while the process imports what it needs."""

    def __reduce__(self) -> tuple[object, tuple[()]]:
        return _ctrl_c_waits, ()


def _then_and_now(then: object) -> tuple[object, bool]:
    return then, _ctrl_c_waits()


def _always_die(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fail(_: object) -> None:
    raise ValueError("no number")


def _refuse(_: object) -> Refusal:
    return Refusal("does not see the source: photos/a.jpg cannot be read there")


@pytest.mark.skipif(sys.platform == "win32", reason="signals cannot wait there")
def test_ctrl_c_waits_while_the_process_imports_and_not_in_its_jobs() -> None:
    """In an import it would show a traceback, after the command's own line."""
    with OneProcess({}) as one:
        assert one.run(_then_and_now, _AsItArrives()) == (True, False)
    assert not _ctrl_c_waits()


def test_one_local_worker_is_a_process_with_one_thread_and_more_are_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with workers_for(Cluster(workers=4), 1) as workers:
        assert isinstance(workers, OneProcess)
        pid, threads = workers.run(_threads, 0)
    assert pid != os.getpid()
    assert threads == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    with workers_for(Cluster(workers=2), 2) as workers:
        assert not isinstance(workers, OneProcess)


@pytest.mark.kills
def test_a_job_whose_process_dies_is_done_by_the_next_one(tmp_path: Path) -> None:
    assert map_on_cluster(_die, [tmp_path / "a", tmp_path / "b"], Cluster(workers=1)) == ["a", "b"]


@pytest.mark.kills
def test_a_job_that_kills_every_process_ends_the_run_in_one_sentence() -> None:
    with OneProcess({}, tries=2) as workers, pytest.raises(PipelineError, match="died 2 times"):
        workers.run(_always_die, 0)


def test_a_job_that_raises_is_tried_again_and_its_last_error_is_raised(tmp_path: Path) -> None:
    assert map_on_cluster(_raise_once, [tmp_path / "a"], Cluster(workers=1)) == ["a"]
    with pytest.raises(ValueError, match="no number"):
        map_on_cluster(_fail, [0], Cluster(workers=1))


def test_a_process_that_refuses_a_job_ends_the_run_with_its_reason(tmp_path: Path) -> None:
    with proof([], tmp_path) as proven, pytest.raises(PipelineError, match="does not see the source"):
        map_on_cluster(_refuse, [0], Cluster(workers=1), proof=proven)


@pytest.mark.kills
def test_the_process_ends_when_its_parent_is_killed() -> None:
    code = (
        "import os, threading, time\nfrom tasks.process import OneProcess\nworkers = OneProcess({})\n"
        "print(workers.run(eval, 'os.getpid()'.replace('os', '__import__(\"os\")')), flush=True)\n"
        "workers.run(time.sleep, 600)"
    )
    repo = Path(process.__file__).parents[1]
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=repo)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    assert not psutil.wait_procs([child], timeout=30)[1]


@pytest.mark.kills
def test_a_direct_build_that_is_interrupted_says_that_it_can_go_on(tmp_path: Path, repo: Path) -> None:
    jittered_photos(tmp_path / "photos", 15)
    (tmp_path / "b.yaml").write_text("name: b\nsource: {kind: folder, root: photos}\nshard_size: 5\nout: data\n")
    command = [sys.executable, "-m", "ufvnet.cli", "build", "b.yaml", "--direct"]
    environment = {**os.environ, "PYTHONPATH": str(repo)}
    heed = "import os, signal, sys; signal.signal(2, signal.default_int_handler); os.execv(sys.argv[1], sys.argv[1:])"
    script = [sys.executable, "-c", heed]
    build = subprocess.Popen([*script, *command], cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment)
    until = time.monotonic() + 120
    while not (tmp_path / "data" / "b" / "photos").exists() and build.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    build.send_signal(signal.SIGINT)
    assert "ufvnet: stopped; the same command continues" in build.communicate(timeout=60)[1]
    assert build.returncode == 128 + signal.SIGINT
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, env=environment).returncode == 0
