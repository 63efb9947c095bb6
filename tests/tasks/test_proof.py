"""Workers that see other files or compute otherwise than the coordinator: found out before their first job."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from distributed import Client, LocalCluster

from tasks.cluster import map_jobs
from ufvnet.config import BuildConfig, load
from ufvnet.data.build import scan, shard_writer
from ufvnet.data.build.assembly import finish_dataset
from ufvnet.data.build.folder import dataset_root
from ufvnet.data.build.resolved import resolve
from ufvnet.data.build.shard_writer import build_shard
from ufvnet.data.build.shards import plan_shards
from ufvnet.data.build.verify import verify
from ufvnet.errors import PipelineError
from ufvnet.proof import proof

REPO = Path(__file__).parents[2]
DASK = Path(sys.executable).parent / "dask"
OTHER_RESIZE = """
import PIL.Image
real = PIL.Image.Image.resize
PIL.Image.Image.resize = lambda self, size, resample=None, *rest, **more: real(self, size, PIL.Image.Resampling.BOX)
"""


class Cluster:
    """A Dask scheduler in this process, and workers, each a process of the dask command."""

    def __init__(self, folder: Path, address: str):
        self.folder, self.address = folder, address
        self.processes: list[subprocess.Popen[bytes]] = []

    def worker(self, before: tuple[str, ...] = (), **environment: str) -> subprocess.Popen[bytes]:
        log = (self.folder / "dask-worker.log").open("ab")
        every = os.environ | {"PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"} | environment
        words = ("worker", self.address, "--nthreads", "1", "--no-dashboard", "--no-nanny")
        command = [*before, str(DASK), *words]
        self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, env=every))
        return self.processes[-1]

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        for one in (*psutil.Process(process.pid).children(recursive=True), process):
            one.kill()
        process.wait()
        self.processes.remove(process)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as scheduler:
        made = Cluster(tmp_path, scheduler.scheduler_address)
        yield made
        for process in list(made.processes):
            made.stop(process)


@pytest.fixture
def config(tmp_path: Path, photos: Path) -> Path:
    """The file of a build of six photos."""
    for photo in sorted(photos.iterdir())[6:]:
        photo.unlink()
    path = tmp_path / "faces.yaml"
    source = {"root": str(photos), "fractions": {"train": 1.0}}
    raw = {"name": "faces", "source": source, "out": str(tmp_path / "data"), "hr_size": 64, "shard_size": 2}
    path.write_text(yaml.safe_dump(raw))
    return path


def _with_folder_hidden(folder: Path) -> tuple[str, ...]:
    """How a command starts for which another, empty folder lies over this one."""
    hide = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(folder))
    if subprocess.run([*hide, "true"], capture_output=True).returncode:
        pytest.skip("a process cannot have mounts of its own here")
    return hide


def _digests(root: Path) -> dict[str, str]:
    files = [p for p in root.rglob("*") if p.is_file()]
    return {p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _built(config: Path, out: Path) -> dict[str, str]:
    """The dataset's bytes as this process builds it, but for the timings and the card, which names folders."""
    settings = load(BuildConfig, config, [f"out={out}"])
    build = resolve(settings)
    shards = plan_shards(build)
    finish_dataset(build, shards, [build_shard(s) for s in shards])
    return _lasting(_digests(dataset_root(settings)))


def _lasting(digests: dict[str, str]) -> dict[str, str]:
    return {n: d for n, d in digests.items() if not n.startswith("timings/") and n != "dataset.json"}


def _on(address: str, config: Path) -> None:
    """Scan and build as the pipeline's task does, without Prefect."""
    settings = load(BuildConfig, config)
    build = resolve(settings)
    jobs = scan.scan_jobs(build)
    build.root.mkdir(parents=True, exist_ok=True)
    with proof(scan.proof_files(jobs), build.root) as proven, Client(address, timeout=30) as client:
        scanned = map_jobs(client, scan.scan, jobs, proof=proven, objection=scan.objection)
        shards = plan_shards(build, (hashes for of_job in scanned for hashes in of_job))
        reports = map_jobs(client, build_shard, shards, proof=proven, objection=shard_writer.objection)
    finish_dataset(build, shards, reports)


def test_a_worker_with_an_empty_folder_over_the_photos_costs_nothing(
    config: Path, cluster: Cluster, photos: Path, tmp_path: Path, prefect_home: Path
) -> None:
    hide = _with_folder_hidden(photos)
    shutil.copytree(prefect_home, tmp_path / "prefect")
    _built(config, tmp_path / "data")
    before = _digests(tmp_path / "data")
    blind = cluster.worker(before=hide)
    environment = os.environ | {
        "PYTHONPATH": str(REPO), "PREFECT_HOME": str(tmp_path / "prefect"), "DASK_SCHEDULER_ADDRESS": cluster.address,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "ufvnet.cli", "build", str(config), "-s", "min_face=20"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPO, env=environment)
    assert done.returncode == 1, done.stderr[-3000:]
    why = [line for line in done.stderr.splitlines() if line.startswith("ufvnet: ")]
    assert len(why) == 1
    assert "no worker can do this: the one at tcp://" in why[0]
    assert f"does not see the source: {photos}" in why[0]
    assert "Traceback" not in done.stderr
    assert _digests(tmp_path / "data") == before
    cluster.stop(blind)
    cluster.worker()
    _on(cluster.address, config)
    assert _digests(tmp_path / "data") == before
    assert verify(tmp_path / "data" / "faces") == []


REFUSED = {
    "another resize": "it has reduction of a test image",
    "other code": "it has code of ufvnet",
    "an output of its own": "it does not see the output",
}
"""What workers have that get no job, and a part of what is said of each."""


def test_workers_that_compute_or_write_otherwise_get_no_job_and_another_one_does_them(
    config: Path, cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data" / "faces").mkdir(parents=True)
    hide = _with_folder_hidden(tmp_path / "data")
    resize, code = (tmp_path / name for name in ("resize", "code"))
    resize.mkdir()
    (resize / "sitecustomize.py").write_text(OTHER_RESIZE)
    code.mkdir()
    subprocess.run(["cp", "-r", REPO / "ufvnet", code], check=True)
    with (code / "ufvnet" / "imaging" / "resize.py").open("a") as file:
        file.write("\n# changed\n")
    with Client(cluster.address, timeout=30) as client:
        cluster.worker(PYTHONPATH=f"{resize}:{REPO}")
        cluster.worker(PYTHONPATH=f"{code}:{REPO}")
        cluster.worker(before=hide)
        client.wait_for_workers(len(REFUSED), timeout=60)
        with pytest.raises(PipelineError, match=r"no worker can do this: the one at tcp://.* \(3 workers were tried\)"):
            _on(cluster.address, config)
        for fault, why in REFUSED.items():
            said = [line for line in caplog.messages if why in line]
            assert len(said) == 1, fault
            assert "gets no more of this run: " in said[0]
        assert not list((tmp_path / "data" / "faces").iterdir())
        cluster.worker()
        client.wait_for_workers(len(REFUSED) + 1, timeout=60)
    _on(cluster.address, config)
    assert _lasting(_digests(tmp_path / "data" / "faces")) == _built(config, tmp_path / "reference")


def test_a_photo_that_only_one_worker_cannot_read_is_read_elsewhere(
    config: Path, cluster: Cluster, photos: Path, tmp_path: Path
) -> None:
    victim = sorted(photos.iterdir())[1]
    proven = [p for p in sorted(photos.iterdir()) if p != victim]
    hide = ("unshare", "-m", "sh", "-c", 'mount --bind /dev/null "$0" && exec "$@"', str(victim))
    if subprocess.run([*hide, "true"], capture_output=True).returncode:
        pytest.skip("a process cannot have mounts of its own here")
    cluster.worker(before=hide)
    settings = load(BuildConfig, config)
    jobs = scan.scan_jobs(resolve(settings))
    with proof(proven[:1]) as seen, Client(cluster.address, timeout=30) as client:
        with pytest.raises(PipelineError, match=rf"cannot read {victim.name}, which the coordinator reads"):
            map_jobs(client, scan.scan, jobs, proof=seen, objection=scan.objection)
        cluster.worker()
        client.wait_for_workers(2, timeout=60)
        found = map_jobs(client, scan.scan, jobs, proof=seen, objection=scan.objection)
    assert found == [scan.scan(job) for job in jobs]


def test_an_output_folder_that_is_removed_meanwhile_is_one_line(config: Path, cluster: Cluster, tmp_path: Path) -> None:
    cluster.worker()
    settings = load(BuildConfig, config)
    dataset_root(settings).mkdir(parents=True)
    jobs = scan.scan_jobs(resolve(settings))
    with proof(scan.proof_files(jobs), dataset_root(settings)) as proven, Client(cluster.address, timeout=30) as client:
        map_jobs(client, scan.scan, jobs, proof=proven)
        shards = plan_shards(resolve(settings))
        subprocess.run(["rm", "-r", dataset_root(settings)], check=True)
        with pytest.raises(PipelineError, match="was removed while it was written; run this again"):
            map_jobs(client, build_shard, shards, proof=proven)
    assert not dataset_root(settings).exists()
