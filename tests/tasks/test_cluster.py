"""Library functions on Dask: local cluster, existing scheduler, workers that die."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client, LocalCluster

from tasks import cluster
from tasks.cluster import check_cluster, map_jobs, map_on_cluster, workers_for
from ufvnet.config import Cluster, ConfigError


def _process(job: int) -> tuple[int, int]:
    return job, os.getpid()


def _die_once(marker: Path) -> str:
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return marker.name


def test_results_come_in_the_jobs_order_from_other_processes() -> None:
    seen: list[tuple[int, int]] = []
    results = map_on_cluster(_process, range(6), Cluster(workers=2), seen.append)
    assert [job for job, _ in results] == list(range(6))
    assert os.getpid() not in {pid for _, pid in results}
    assert sorted(seen) == sorted(results)


def test_the_scheduler_holds_few_jobs_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "AT_ONCE", 3)
    held, most, real = set[int](), list[int](), Client.submit

    def counting(client: Client, work: Any, job: int, **rest: Any) -> Any:
        held.add(job)
        most.append(len(held))
        return real(client, work, job, **rest)

    monkeypatch.setattr(Client, "submit", counting)
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as running:
        settings = Cluster(address=running.scheduler_address)
        results = map_on_cluster(_process, range(9), settings, lambda result: held.remove(result[0]))
    assert [job for job, _ in results] == list(range(9))
    assert max(most) == 3


@pytest.mark.kills
def test_a_job_whose_worker_is_killed_is_run_again(tmp_path: Path) -> None:
    markers = [tmp_path / "a", tmp_path / "b"]
    assert map_on_cluster(_die_once, markers, Cluster(workers=1)) == ["a", "b"]
    assert all(m.exists() for m in markers)


def test_an_existing_scheduler_is_used_by_address_and_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as running:
        address = running.scheduler_address
        assert map_on_cluster(_process, [1], Cluster(address=address)) == [(1, os.getpid())]
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", address)
        assert {pid for _, pid in map_on_cluster(_process, range(2), Cluster())} == {os.getpid()}


def test_a_cluster_class_is_started_with_its_arguments() -> None:
    kwargs = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    started = Cluster(cluster_class="distributed.LocalCluster", cluster_kwargs=kwargs)
    assert map_on_cluster(_process, [7], started) == [(7, os.getpid())]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"address": "tls://127.0.0.1:9"}, r"cluster\.address = tls://127\.0\.0\.1:9: TLS needs certificates"),
        (
            {"cluster_class": "distributed.LocalCluster", "cluster_kwargs": {"protocol": "tls://"}},
            r"cluster\.cluster_kwargs\.protocol = tls://: TLS needs certificates",
        ),
        ({"cluster_class": "nosuch.Cluster"}, r"cluster\.cluster_class = nosuch\.Cluster: cannot be imported"),
    ],
    ids=["address", "class-over-tls", "class"],
)
def test_what_cannot_be_used_of_a_cluster_is_refused_before_work(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        check_cluster(Cluster.model_validate(settings))


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    files = {"ca-file": "ca.pem", "client.cert": "cert.pem", "client.key": "key.pem"}
    settings = {f"distributed.comm.tls.{key}": str(tmp_path / name) for key, name in files.items()}
    with dask.config.set(settings), pytest.raises(ConfigError, match=r"tls://h:1: a file of Dask's settings"):
        check_cluster(Cluster(address="tls://h:1"))


def test_arguments_that_a_cluster_class_does_not_take_are_refused() -> None:
    wrong = Cluster(cluster_class="builtins.complex", cluster_kwargs={"workers": 2})
    with pytest.raises(ConfigError, match=r"cluster\.cluster_kwargs: builtins\.complex cannot be started with them"):
        map_on_cluster(_process, [1], wrong)


def test_an_unknown_cluster_class_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cluster\.cluster_class = nosuch\.Cluster: cannot be imported"):
        map_on_cluster(_process, [1], Cluster(cluster_class="nosuch.Cluster"))


def test_an_address_that_nobody_answers_at_is_refused_by_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    address = "tcp://127.0.0.1:9"
    with pytest.raises(ConfigError, match=rf"cluster\.address = {address}: no scheduler answers there in 1 s"):
        check_cluster(Cluster(address=address))
    with pytest.raises(ConfigError, match="no scheduler answers"):
        map_on_cluster(_process, [1], Cluster(address=address))


def test_no_jobs_start_no_cluster() -> None:
    assert map_on_cluster(_process, [], Cluster(cluster_class="nosuch.Cluster")) == []


def _started_with(name: str) -> str | None:
    """A variable as this process had it when it started, which is when the allocator reads its own."""
    variables = dict(pair.split(b"=", 1) for pair in Path("/proc/self/environ").read_bytes().split(b"\0") if pair)
    value = variables.get(name.encode())
    return None if value is None else value.decode()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("workers", [1, 2])
def test_processes_that_are_started_for_a_run_start_with_its_variables(workers: int) -> None:
    variables = {"MALLOC_MADE_UP_": "1", "MALLOC_INVENTED_": "2"}
    with workers_for(Cluster(workers=workers), workers, variables) as started:
        values = map_jobs(started, _started_with, list(variables) * workers)
    assert values == list(variables.values()) * workers
    assert [_started_with(name) for name in variables] == [None, None]


def test_what_a_lost_scheduler_had_not_done_is_done_when_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def scheduler() -> LocalCluster:
        return LocalCluster(n_workers=1, processes=False, dashboard_address=None, scheduler_port=port)

    done: list[str] = []
    lost, back = scheduler(), threading.Event()

    def on_done(name: str) -> None:
        done.append(name)
        if name == "first":
            threading.Thread(target=restart).start()

    def restart() -> None:
        lost.sync(lost.scheduler.close)
        (tmp_path / "go").touch()
        with suppress(TimeoutError):
            lost.close(timeout=1)
        with scheduler():
            back.wait(60)

    jobs = [(tmp_path, "first"), (tmp_path, "second")]
    assert map_on_cluster(_wait_to_go, jobs, Cluster(address=f"tcp://127.0.0.1:{port}"), on_done) == ["first", "second"]
    back.set()
    assert done == ["first", "second"]
    assert "is lost; waiting for it" in caplog.text


def _wait_to_go(job: tuple[Path, str]) -> str:
    """The name of a job; the second waits for a file."""
    folder, name = job
    while name == "second" and not (folder / "go").exists():
        time.sleep(0.05)
    return name
