"""Builds that are killed anywhere, or whose disk is full, end as undisturbed ones. UFVNET_KILLS=20 kills more often."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from ufvnet.config import BuildConfig, load
from ufvnet.data.build.assembly import finish_dataset
from ufvnet.data.build.resolved import resolve
from ufvnet.data.build.shard_writer import build_shard
from ufvnet.data.build.shards import plan_shards
from ufvnet.data.build.verify import verify

KILLS = int(os.environ.get("UFVNET_KILLS", "2"))
SEED = int(os.environ.get("UFVNET_KILL_SEED", "0"))
REPO = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

PutPhotos = Callable[[Path, int], list[Path]]
PutLists = Callable[[Path, dict[str, int]], dict[str, Path]]


def _digests(root: Path) -> dict[str, str]:
    """sha256 of every file of a dataset but the timings and the card, which names folders."""
    files = [p for p in root.rglob("*") if p.is_file() and "timings" not in p.parts and p.name != "dataset.json"]
    return {p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, put_photos: PutPhotos, put_lists: PutLists) -> dict[str, Any]:
    """96 photos, which no test changes."""
    photos = tmp_path_factory.mktemp("faults") / "photos"
    put_photos(photos, 96)
    return {"root": str(photos), "splits": {s: str(p) for s, p in put_lists(photos, {"train": 80, "test": 16}).items()}}


def _config(source: dict[str, Any], out: Path) -> dict[str, Any]:
    """A build in some 16 shards."""
    return {"name": "faces", "source": source, "out": str(out), "hr_size": 64, "shard_size": 6}


@pytest.fixture
def config(tmp_path: Path, source: dict[str, Any]) -> Path:
    """The file of a build into the folder ``data``."""
    path = tmp_path / "faces.yaml"
    path.write_text(yaml.safe_dump(_config(source, tmp_path / "data")))
    return path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, source: dict[str, Any]) -> dict[str, str]:
    """The digests of the dataset as this process builds it."""
    out = tmp_path_factory.mktemp("undisturbed")
    build = resolve(load(BuildConfig, _config(source, out)))
    shards = plan_shards(build)
    finish_dataset(build, shards, [build_shard(s) for s in shards])
    return _digests(out / "faces")


class Cluster:
    """A Dask scheduler and two workers, each a process of the dask command, started anew where one was killed."""

    def __init__(self, folder: Path, environment: dict[str, str]):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.folder, self.environment = folder, environment
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []

    def mend(self) -> None:
        """Start whatever does not run."""
        if self.scheduler is None or self.scheduler.poll() is not None:
            self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard")
        self.workers = [w for w in self.workers if w.poll() is None]
        while len(self.workers) < 2:
            self.workers.append(self._start("worker", self.address, "--nthreads", "1", "--no-dashboard", "--no-nanny"))

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"dask-{words[0]}.log").open("ab")
        # in another folder than the flow: nothing may depend on where a worker stands
        return subprocess.Popen([BIN / "dask", *words], stdout=log, stderr=log, cwd=self.folder, env=self.environment)

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            if process is not None:
                _kill_tree(process.pid)


def _kill_tree(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(pid)
        for process in (*family.children(recursive=True), family):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture
def environment(tmp_path: Path, prefect_home: Path) -> dict[str, str]:
    shutil.copytree(prefect_home, tmp_path / "prefect")
    return os.environ | {
        "PREFECT_HOME": str(tmp_path / "prefect"), "OMP_NUM_THREADS": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }  # fmt: skip


@pytest.fixture
def cluster(tmp_path: Path, environment: dict[str, str]) -> Iterator[Cluster]:
    made = Cluster(tmp_path, environment)
    made.mend()
    yield made
    made.stop()


def _start_flow(config: Path, cluster: Cluster, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        return subprocess.Popen(
            [BIN / "ufvnet", "build", str(config)], stdout=out, stderr=out, cwd=REPO,
            env=cluster.environment | {"DASK_SCHEDULER_ADDRESS": cluster.address},
        )  # fmt: skip


def _await_moment(flow: subprocess.Popen[bytes], root: Path, chance: random.Random, cluster: Cluster) -> None:
    """A random moment: of the whole run, or (mostly) of the time in which shards are built."""
    until = time.monotonic() + chance.uniform(0, 20)
    if chance.random() < 0.7:
        while flow.poll() is None and not any(root.glob("diary/*")):
            cluster.mend()
            time.sleep(0.02)
        until = time.monotonic() + chance.uniform(0, 1.5)
    while flow.poll() is None and time.monotonic() < until:
        cluster.mend()
        time.sleep(0.02)


def _finish(flow: subprocess.Popen[bytes], cluster: Cluster) -> int:
    """The flow's exit code; whoever runs a cluster starts a worker that has ended again."""
    until = time.monotonic() + 300
    while flow.poll() is None and time.monotonic() < until:
        cluster.mend()
        time.sleep(0.2)
    assert flow.returncode is not None, "the build hangs"
    return flow.returncode


@pytest.mark.kills
def test_a_build_killed_anywhere_ends_as_an_undisturbed_one(
    tmp_path: Path, config: Path, undisturbed: dict[str, str], cluster: Cluster
) -> None:
    chance, root, log = random.Random(SEED), tmp_path / "data" / "faces", tmp_path / "flow.log"
    flow = _start_flow(config, cluster, log)
    victims = ["worker", "scheduler", "flow"]
    for number in range(KILLS):
        _await_moment(flow, root, chance, cluster)
        victim = victims[number % 3] if number < 3 else chance.choice(victims)
        if victim == "flow":
            _kill_tree(flow.pid)
        elif victim == "scheduler" and cluster.scheduler is not None:
            os.kill(cluster.scheduler.pid, signal.SIGKILL)
            cluster.scheduler.wait()
        else:
            cluster.workers[0].kill()
        time.sleep(0.5)
        if flow.poll() is not None:
            for shard in sorted(root.glob("photos/part-*.parquet")):  # so that there is always something to do
                if chance.random() < 0.5:
                    shard.unlink()
            flow = _start_flow(config, cluster, log)
    code = _finish(flow, cluster)
    if code:  # one that lost its scheduler more often than it is retried fails, and is run again
        code = _finish(_start_flow(config, cluster, log), cluster)
    assert code == 0, log.read_text()[-4000:]
    assert verify(root) == []
    assert _digests(root) == undisturbed
    assert sorted(p.name for p in root.iterdir()) == [
        "README.md", "dataset.json", "faces", "near_duplicates.parquet", "photos", "timings",
    ]  # fmt: skip


def test_a_full_disk_is_one_clear_error_and_a_rerun_with_room_goes_on(
    tmp_path: Path, config: Path, undisturbed: dict[str, str], environment: dict[str, str]
) -> None:
    disk = tmp_path / "data"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=800k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        command = [BIN / "ufvnet", "build", str(config)]
        full = subprocess.run(command, capture_output=True, text=True, cwd=REPO, env=environment)
        built = len(list(disk.glob("faces/photos/part-*.parquet")))
        assert full.returncode == 1
        assert "No space left on device" in full.stderr
        assert "make room and run this again; what is finished stays" in full.stderr
        assert not (disk / "faces" / "dataset.json").exists()
        assert 0 < built < 18
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        # what goes on are files, so that the rerun needs neither Prefect nor Dask
        again = [*command, "--direct", "-s", "cluster.workers=1"]
        done = subprocess.run(again, capture_output=True, text=True, cwd=REPO, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        assert verify(disk / "faces") == []
        assert _digests(disk / "faces") == undisturbed
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
