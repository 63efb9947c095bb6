"""prefect.yaml on a real server with a worker: deployed, scheduled, triggered and run, on 127.0.0.1 only."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas import FlowRun
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType

pytestmark = pytest.mark.server

REPO = Path(__file__).parents[2]
COMMANDS = Path(sys.executable).parent
PHOTOS = 12

T = TypeVar("T")


@dataclass(frozen=True)
class Shell:
    """Commands of this interpreter's environment, run in the checkout; each in a process group of its own."""

    environment: dict[str, str]
    logs: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, command: str, *arguments: str | Path) -> tuple[subprocess.Popen[bytes], Path]:
        """Start a command; gives it and the file of all that it prints."""
        log = self.logs / f"{len(self.started)}-{command}.log"
        with log.open("wb") as output:
            process = subprocess.Popen([COMMANDS / command, *arguments], cwd=REPO, env=self.environment,
                                       stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                       start_new_session=True)  # fmt: skip
        self.started.append(process)
        return process, log

    def run(self, command: str, *arguments: str | Path, seconds: float = 300) -> tuple[int, str]:
        """Run a command to its end; gives its exit code and all that it printed."""
        process, log = self.start(command, *arguments)
        return process.wait(seconds), log.read_text()

    def kill(self) -> None:
        """End every process group that was started, the last one first."""
        for process in reversed(self.started):
            for ending, seconds in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
                _signal_group(process, ending)
                if eventually(lambda p=process: not _group_lives(p), seconds):  # type: ignore[misc]
                    break


def _signal_group(process: subprocess.Popen[bytes], ending: signal.Signals) -> None:
    try:
        os.killpg(process.pid, ending)
    except ProcessLookupError:
        return


def _group_lives(process: subprocess.Popen[bytes]) -> bool:
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def eventually(found: Callable[[], T], seconds: float) -> T:
    """Poll until it gives something true, or for so long; gives what it gave last."""
    deadline = time.monotonic() + seconds
    while not (result := found()) and time.monotonic() < deadline:
        time.sleep(0.25)
    return result


@contextmanager
def shell(folder: Path, port: int) -> Iterator[Shell]:
    """Commands that know only the server on this port, and whose proxy for every other host is a closed port."""
    folder.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.upper().startswith(("PREFECT_", "DASK_"))}
    nowhere = {name: "http://127.0.0.1:9" for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")}
    environment |= nowhere | {
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
    }
    running = Shell(environment, folder)
    try:
        yield running
    finally:
        running.kill()


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    """Whether the server is up."""
    try:
        return httpx.get(f"{url}/health", trust_env=False, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def runs_of(client: SyncPrefectClient, deployment: str, state: StateType, from_schedule: bool) -> list[FlowRun]:
    """The deployment's runs in a state, either those that its schedule made or all others."""
    runs = client.read_flow_runs(
        deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[deployment])),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[state]))),
    )
    return [r for r in runs if bool(r.auto_scheduled) == from_schedule]


@pytest.mark.kills
def test_deployments_are_scheduled_triggered_and_run_by_a_worker(tmp_path: Path, photos: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    config = tmp_path / "faces.yaml"
    fractions = {"train": 0.5, "val": 0.25, "test": 0.25}
    config.write_text(json.dumps({  # JSON is YAML
        "name": "faces", "out": str(tmp_path / "data"), "hr_size": 64, "shard_size": 6, "cluster": {"workers": 2},
        "source": {"kind": "folder", "root": str(photos), "fractions": fractions},
    }))  # fmt: skip
    with ExitStack() as stack:
        commands = stack.enter_context(shell(tmp_path / "prefect", port))
        server, server_log = commands.start("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port))
        assert eventually(lambda: answers(url) or server.poll() is not None, 180), server_log.read_text()
        assert server.poll() is None, server_log.read_text()
        client = stack.enter_context(SyncPrefectClient(url, httpx_settings={"trust_env": False}))

        creating = [commands.start("prefect", "work-pool", "create", f"{kind}-pool", "--type", "process")
                    for kind in ("cpu", "gpu")]  # fmt: skip
        for process, log in creating:
            assert process.wait(120) == 0, log.read_text()
        worker, worker_log = commands.start("prefect", "worker", "start", "--pool", "cpu-pool", "--limit", "2")
        code, printed = commands.run("prefect", "--no-prompt", "deploy", "--all")
        assert code == 0, printed

        declared = {d["name"]: d for d in yaml.safe_load((REPO / "prefect.yaml").read_text())["deployments"]}
        deployed = {d.name: d for d in client.read_deployments()}
        names = {"build-datasets", "verify-datasets", "train", "evaluate", "super-resolve", "reproduce"}
        assert set(deployed) == set(declared) == names
        pools = {name: d["work_pool"]["name"] for name, d in declared.items()}
        assert {name: d.work_pool_name for name, d in deployed.items()} == pools
        assert [getattr(s.schedule, "cron", None) for s in deployed["train"].schedules if s.active] == ["0 3 * * 0"]
        automations = {a.name for a in client.read_automations() if a.enabled}
        assert automations == {"train-after-build", "evaluate-after-train"}

        scheduled = eventually(lambda: runs_of(client, "train", StateType.SCHEDULED, from_schedule=True), 90)
        assert scheduled, f"the cron schedule made no run\n{server_log.read_text()}"
        assert not runs_of(client, "train", StateType.SCHEDULED, from_schedule=False)

        code, printed = commands.run("ufvnet", "run", "build-datasets", "-p", f"config={config}", "--watch")
        assert code == 0, printed + worker_log.read_text()
        card = json.loads((tmp_path / "data" / "faces" / "dataset.json").read_text())
        assert sum(card["faces"].values()) == card["counts"]["ok"] > 0

        code, printed = commands.run("prefect", "deployment", "run", "build-datasets/build-datasets", "--watch",
                                     "-p", f"config={config}")  # fmt: skip
        assert code == 0, printed + worker_log.read_text()
        assert re.search(r"([1-9]\d*) of \1 shards were there already", worker_log.read_text())
        assert len(runs_of(client, "build-datasets", StateType.COMPLETED, from_schedule=False)) == 2

        counts = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["dataset-counts"])))
        assert [sum(row["photos"] for row in json.loads(str(a.data))) for a in counts] == [PHOTOS, PHOTOS]

        triggered = eventually(lambda: runs_of(client, "train", StateType.SCHEDULED, from_schedule=False), 60)
        assert triggered, f"no training followed the build\n{server_log.read_text()}"

        code, printed = commands.run("ufvnet", "run", "nonsense")
        assert code == 2
        assert "0 deployments are named 'nonsense'" in printed
        assert "Traceback" not in printed
        assert worker.poll() is None, worker_log.read_text()
