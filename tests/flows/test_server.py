"""prefect.yaml on a real server with a worker: deployed, scheduled, triggered and run, on 127.0.0.1 only."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import httpx
import psutil
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas import FlowRun
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.events.schemas.automations import AutomationCore
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling, Crashed, Late, Pending, Running, Scheduled
from prefect.workers.process import ProcessWorker

from benchmarks.drill.webhook import webhook_server
from tasks.automations import deploy_automations
from tasks.deployments import run_deployment
from ufvnet.config import ConfigError, TrainConfig, load
from ufvnet.models import create
from ufvnet.training.publish import publish
from ufvnet.training.stages import resolve_parts

pytestmark = pytest.mark.server

REPO = Path(__file__).parents[2]
COMMANDS = Path(sys.executable).parent
PHOTOS = 12
PATIENCE = 240
"""Seconds to wait for what takes a few: Prefect on SQLite has locked itself out for a minute, once in ten runs."""
CANCELLED_IN = 10
"""Seconds in which a cancelled training must have ended: twice what is promised, as other tests run beside this one."""

DECLARED = yaml.safe_load((REPO / "automations.yaml").read_text())["automations"]

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
        time.sleep(0.5)
    return result


@contextmanager
def shell(folder: Path, port: int, home: Path) -> Iterator[Shell]:
    """Commands that know only the server on this port, and whose proxy for every other host is a closed port.

    The server begins with a copy of the Prefect home.
    """
    folder.mkdir()
    shutil.copytree(home, folder / "home")
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


@dataclass(frozen=True)
class Deployed:
    """A server to which the checkout is deployed, with a worker for each pool; and what its webhook received."""

    client: SyncPrefectClient
    commands: Shell
    folder: Path
    build: Path
    """Configuration of a build of PHOTOS photos."""
    logs: dict[str, Path]
    workers: list[subprocess.Popen[bytes]]
    notifications: list[str]

    def account(self) -> str:
        """What server and workers printed, for messages."""
        return "\n".join(log.read_text()[-3000:] for log in self.logs.values())

    def start(self, deployment: str, **parameters: object) -> UUID:
        """Start a run of a deployment, of whatever a worker makes."""
        found = self.client.read_deployment_by_name(f"{deployment}/{deployment}")
        return self.client.create_flow_run_from_deployment(found.id, parameters=dict(parameters)).id

    def becomes(self, run: UUID, state: str, seconds: float = PATIENCE) -> FlowRun:
        """The run, when its state has this name."""
        eventually(lambda: self.client.read_flow_run(run).state_name == state, seconds)
        found = self.client.read_flow_run(run)
        assert found.state_name == state, f"{found.state}\n{self.account()}"
        return found


@pytest.fixture(scope="module")
def deployed(
    tmp_path_factory: pytest.TempPathFactory, put_photos: Callable[[Path, int], list[Path]], prefect_home: Path
) -> Iterator[Deployed]:
    """Everything that prefect.yaml and automations.yaml declare, on a server of this machine."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    url, config, received = f"http://127.0.0.1:{port}/api", folder / "faces.yaml", list[str]()
    put_photos(folder / "photos", PHOTOS)
    fractions = {"train": 0.5, "val": 0.25, "test": 0.25}
    config.write_text(json.dumps({  # JSON is YAML
        "name": "faces", "out": str(folder / "data"), "hr_size": 64, "shard_size": 6, "cluster": {"workers": 2},
        "source": {"kind": "folder", "root": str(folder / "photos"), "fractions": fractions},
    }))  # fmt: skip
    with ExitStack() as stack:
        commands = stack.enter_context(shell(folder / "prefect", port, prefect_home))
        server, server_log = commands.start("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port))
        assert eventually(lambda: answers(url) or server.poll() is not None, 180), server_log.read_text()
        assert server.poll() is None, server_log.read_text()
        client = stack.enter_context(SyncPrefectClient(url, httpx_settings={"trust_env": False}))
        for kind in ("cpu", "gpu"):  # as `prefect work-pool create --type process` does
            template = ProcessWorker.get_default_base_job_template()
            client.create_work_pool(WorkPoolCreate(name=f"{kind}-pool", type="process", base_job_template=template))
        webhook = stack.enter_context(webhook_server(received))
        code, printed = commands.run("ufvnet", "deploy", "--webhook", webhook)
        assert code == 0, printed
        started = {kind: commands.start("prefect", "worker", "start", "--pool", f"{kind}-pool", "--limit", "2")
                   for kind in ("cpu", "gpu")}  # fmt: skip
        logs = {"server": server_log} | {kind: log for kind, (_, log) in started.items()}
        yield Deployed(client, commands, folder, config, logs, [p for p, _ in started.values()], received)
        assert all(worker.poll() is None for worker, _ in started.values())


@pytest.mark.kills
def test_everything_that_is_declared_is_deployed_and_scheduled(deployed: Deployed) -> None:
    client = deployed.client
    declared = {d["name"]: d for d in yaml.safe_load((REPO / "prefect.yaml").read_text())["deployments"]}
    there = {d.name: d for d in client.read_deployments()}
    names = {"build-datasets", "verify-datasets", "train", "evaluate", "super-resolve", "reproduce"}
    assert set(there) == set(declared) == names
    pools = {name: d["work_pool"]["name"] for name, d in declared.items()}
    assert {name: d.work_pool_name for name, d in there.items()} == pools
    assert [getattr(s.schedule, "cron", None) for s in there["train"].schedules if s.active] == ["0 3 * * 0"]
    automations = {a["name"] for a in DECLARED}
    enabled = {a.name for a in client.read_automations() if a.enabled}
    assert enabled == {"train-after-build", "evaluate-after-train", *automations}
    scheduled = eventually(lambda: runs_of(client, "train", StateType.SCHEDULED, from_schedule=True), PATIENCE)
    assert scheduled, f"the cron schedule made no run\n{deployed.account()}"


@pytest.mark.kills
def test_deploying_again_removes_what_is_no_longer_declared_and_leaves_what_users_made_or_paused(
    deployed: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    client = deployed.client
    pager = DECLARED[-1] | {"name": "ufvnet-my-pager", "actions": [{"type": "do-nothing"}]}
    mine = client.create_automation(AutomationCore.model_validate(pager))
    deploy_automations(client, [*DECLARED, pager | {"name": "ufvnet-of-yesterday"}])
    there = {automation.name: automation.id for automation in client.read_automations()}
    client.pause_automation(there["ufvnet-late"])
    hasten(client)
    enabled = {automation.name: automation.enabled for automation in client.read_automations()}
    client.resume_automation(there["ufvnet-late"])
    client.delete_automation(mine)
    assert there.keys() - enabled.keys() == {"ufvnet-of-yesterday"}
    assert {name for name, is_enabled in enabled.items() if not is_enabled} == {"ufvnet-late"}
    assert "automation ufvnet-of-yesterday: removed" in capsys.readouterr().out


@pytest.mark.kills
def test_a_build_runs_and_its_training_gets_what_was_built(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    client, commands = deployed.client, deployed.commands
    code, printed = commands.run("ufvnet", "run", "build-datasets", "-p", f"config={deployed.build}", "--watch")
    assert code == 0, printed + deployed.account()
    root = deployed.folder / "data" / "faces"
    card = json.loads((root / "dataset.json").read_text())
    assert sum(card["faces"].values()) == card["counts"]["ok"] > 0

    (triggered,) = eventually(lambda: _triggered(client, "train"), PATIENCE) or [None]
    assert triggered is not None, f"no training followed the build\n{deployed.account()}"
    passed = {key: triggered.parameters[key] for key in ("dataset", "fingerprint")}
    assert passed == {"dataset": str(root), "fingerprint": card["fingerprints"]["train"]}
    skipped = deployed.becomes(triggered.id, "Skipped")
    assert skipped.state is not None
    assert skipped.state.message == f"ufvnet-tiny is trained on data/aaf64, not on {root}"

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    unknown = pytest.raises(ConfigError, match=r"^0 deployments are named 'nonsense'")
    with temporary_settings({PREFECT_API_URL: str(client.api_url)}), unknown:
        run_deployment("nonsense", [], watch=False)


def _triggered(client: SyncPrefectClient, deployment: str) -> list[FlowRun]:
    """The runs of a deployment that its trigger made."""
    by_name = DeploymentFilter(name=DeploymentFilterName(any_=[deployment]))
    return [run for run in client.read_flow_runs(deployment_filter=by_name) if "dataset" in run.parameters]


@pytest.mark.kills
def test_dead_runs_come_back_and_failed_ones_are_notified_once(deployed: Deployed) -> None:
    client = deployed.client
    hasten(client, "ufvnet-dead-runs")
    assert len(client.read_automations()) == len(DECLARED) + 2

    # A run whose machine died: Running, and it has said only once that it lives.
    found = client.read_deployment_by_name("build-datasets/build-datasets")
    later = Scheduled(scheduled_time=datetime.now(UTC) + timedelta(days=1))
    zombie = client.create_flow_run_from_deployment(found.id, parameters={"config": str(deployed.build)}, state=later)
    for state in (Pending(), Running()):
        client.set_flow_run_state(zombie.id, state, force=True)
    related = [  # as in Prefect's own heartbeats, which do not tell the deployment's name
        {"prefect.resource.id": f"prefect.flow.{found.flow_id}", "prefect.resource.role": "flow",
         "prefect.resource.name": "build-datasets"},
        {"prefect.resource.id": f"prefect.deployment.{found.id}", "prefect.resource.role": "deployment"},
    ]  # fmt: skip
    client.request("POST", "/events", json=[{
        "occurred": datetime.now(UTC).isoformat(), "id": str(uuid4()), "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{zombie.id}"}, "related": related,
    }])  # fmt: skip

    wrong = deployed.start("build-datasets", config="nowhere.yaml")
    ended = deployed.start("build-datasets", config=str(deployed.build), overrides=["name=ended"])
    deployed.becomes(ended, "Running")
    _end(deployed.workers[0], str(ended), deployed)
    failed = deployed.becomes(wrong, "Failed")
    assert failed.state is not None
    assert "nowhere.yaml: cannot be read" in str(failed.state.message)
    for run in (zombie.id, ended):
        assert deployed.becomes(run, "Completed").run_count == 2
        names = [state.name for state in client.read_flow_run_states(run)]
        assert names.index("Crashed") < names.index("AwaitingRetry") < names.index("Completed")
    assert eventually(lambda: deployed.notifications, PATIENCE), deployed.account()
    assert [text.split("\n")[0] for text in deployed.notifications] == ["ufvnet: build-datasets failed"]
    assert "nowhere.yaml: cannot be read" in deployed.notifications[0]
    hasten(client)


def test_what_is_notified_is_counted_by_no_other_automation() -> None:
    triggers = {raw["name"]: raw["trigger"] for raw in DECLARED}
    notifying = {raw["name"] for raw in DECLARED if raw["actions"][0]["type"] == "send-notification"}
    reactive = {name: trigger for name, trigger in triggers.items() if trigger["posture"] == "Reactive"}
    assert notifying >= set(reactive) >= {"ufvnet-failed", "ufvnet-given-up"}
    for name, trigger in reactive.items():
        others = [pattern for other, raw in triggers.items() if other != name for pattern in raw["expect"]]
        assert not [event for event in trigger["expect"] for pattern in others if fnmatchcase(event, pattern)]


def hasten(client: SyncPrefectClient, *automations: str) -> None:
    """Deploy the automations so that these wait for ten seconds only, and all others as they are declared."""
    sooner = [raw | {"trigger": raw["trigger"] | {"within": 10}} if raw["name"] in automations else raw
              for raw in DECLARED]  # fmt: skip
    assert deploy_automations(client, sooner) == [raw["name"] for raw in DECLARED]


def _end(worker: subprocess.Popen[bytes], run: str, deployed: Deployed) -> None:
    """Send SIGTERM to the process of a run, as its worker's machine does when it is shut down."""
    for process in psutil.Process(worker.pid).children(recursive=True):
        with suppress(psutil.Error):
            if process.environ().get("PREFECT__FLOW_RUN_ID") == run and "prefect" in " ".join(process.cmdline()):
                process.terminate()
                return
    raise AssertionError(f"no process of the run\n{deployed.account()}")


@pytest.mark.kills
def test_late_runs_given_up_runs_and_worse_models_are_notified_once_each(deployed: Deployed) -> None:
    client, before, before_it = deployed.client, len(deployed.notifications), datetime.now(UTC)
    tomorrow = before_it + timedelta(days=1)
    hasten(client, "ufvnet-late")
    training = endless(deployed, "worse", model="onesrg", replace="better")
    training["recipe"] = {"steps": 1, "batch_size": 4, "threads": 1, "validation_faces": 2}
    _, whole = resolve_parts(load(TrainConfig, training))
    publish(whole, create("onesrg", "tiny", 64), [{"step": 1, "psnr": 99.0}])
    config = training | {"recipe": {**training["recipe"], "seed": 1}}
    worse = deployed.start("train", config=config)

    found = client.read_deployment_by_name("build-datasets/build-datasets")
    late, given_up = (client.create_flow_run_from_deployment(found.id, state=Scheduled(scheduled_time=tomorrow)).id
                      for _ in range(2))  # fmt: skip
    client.set_flow_run_state(late, Late(scheduled_time=tomorrow), force=True)
    for _ in range(4):  # tries
        for state in (Scheduled(scheduled_time=tomorrow), Pending(), Running()):
            client.set_flow_run_state(given_up, state, force=True)
    client.set_flow_run_state(given_up, Crashed(message="It died again."))
    deployed.becomes(worse, "NotPublished")

    subjects = {"ufvnet: build-datasets is late", "ufvnet: build-datasets crashed and is not run again",
                "ufvnet: worse became worse and was not published"}  # fmt: skip
    eventually(lambda: len(deployed.notifications) - before >= len(subjects), PATIENCE)
    received = deployed.notifications[before:]
    assert sorted(text.split("\n")[0] for text in received) == sorted(subjects), deployed.account()
    assert any("It died again." in text for text in received)
    told = {"event": {"name": ["ufvnet.model.worse"]}, "occurred": {"since": before_it.isoformat()}}
    # the server stores events a little after its automations have seen them
    (event,) = eventually(
        lambda: client.request("POST", "/events/filter", json={"filter": told}).json()["events"], PATIENCE
    )
    names = {r["prefect.resource.role"]: r.get("prefect.resource.name") for r in event["related"]}
    assert (names["deployment"], names["flow"]) == ("train", "train")  # what triggers match
    for run in (late, given_up):
        client.delete_flow_run(run)
    hasten(client)


def endless(deployed: Deployed, name: str, **settings: Any) -> dict[str, Any]:
    """A training that takes long and writes no checkpoint by itself."""
    folder, for_ever = deployed.folder, 10**6
    recipe = {"steps": for_ever, "anchor_steps": for_ever, "regressor_steps": for_ever, "batch_size": 4, "threads": 1,
              "checkpoint_every": for_ever, "validate_every": for_ever}  # fmt: skip
    return {"name": name, "dataset": f"{folder}/data/faces", "preset": "tiny", "device": "cpu", "recipe": recipe,
            "out": f"{folder}/models", "runs": f"{folder}/runs", **settings}  # fmt: skip


def cancel(deployed: Deployed, run: UUID, *parts: str) -> None:
    """Cancel a run as soon as these parts are training: it must end within seconds, each part with a checkpoint."""
    runs = deployed.folder / "runs"

    def are_training() -> bool:
        return all(any(runs.glob(f"{part}*/tensorboard/*")) for part in parts)

    assert eventually(are_training, PATIENCE), deployed.account()
    deployed.client.set_flow_run_state(run, Cancelling())
    started = time.monotonic()
    state = deployed.becomes(run, "Cancelled", CANCELLED_IN).state
    print(f"cancelled in {time.monotonic() - started:.1f} s")
    assert state is not None
    assert state.message == "Stopped; another run goes on from what was finished."
    assert all(any(runs.glob(f"{part}*/checkpoint*")) for part in parts), list(runs.glob("*/*"))


@pytest.mark.kills
def test_a_training_is_cancelled_in_stage_1_with_checkpoints(deployed: Deployed) -> None:
    run = deployed.start("train", config=endless(deployed, "long", parallel=2))
    cancel(deployed, run, "anchor-2", "anchor-4")


def without_a_worker(deployed: Deployed, name: str) -> tuple[UUID, subprocess.Popen[bytes], Path]:
    """An endless training, started as a worker does it, but there is no worker: the run, its process and its log."""
    found = deployed.client.read_deployment_by_name("train/train")
    later = Scheduled(scheduled_time=datetime.now(UTC) + timedelta(days=1))
    parameters = {"config": endless(deployed, name, model="onesrg")}
    run = deployed.client.create_flow_run_from_deployment(found.id, parameters=parameters, state=later).id
    deployed.client.set_flow_run_state(run, Pending(), force=True)
    engine = replace(deployed.commands, environment=deployed.commands.environment | {"PREFECT__FLOW_RUN_ID": str(run)})
    return run, *engine.start("python", "-m", "prefect.engine")


@pytest.mark.kills
def test_a_training_is_cancelled_in_stage_2_by_itself_if_its_worker_no_longer_listens(deployed: Deployed) -> None:
    run, process, log = without_a_worker(deployed, "whole")
    cancel(deployed, run, "whole")
    assert process.wait(30) == 0, log.read_text()


@pytest.mark.kills
def test_a_training_that_lives_though_it_was_declared_dead_makes_room_for_the_next_try(deployed: Deployed) -> None:
    run, process, log = without_a_worker(deployed, "lives")
    assert eventually(lambda: any(deployed.folder.glob("runs/lives*/tensorboard/*")), PATIENCE), log.read_text()
    deployed.client.set_flow_run_state(run, Crashed(message="It no longer said that it lives."))
    assert process.wait(30) == 0, log.read_text()
    assert any(deployed.folder.glob("runs/lives*/checkpoint*"))
    assert deployed.client.read_flow_run(run).state_name in ("Crashed", "AwaitingRetry")
    deployed.client.delete_flow_run(run)
