"""What docs/operations.md sets up, on three hosts: server and scheduler, CPU worker, worker of the GPU pool."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas import FlowRun
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName

from .hosts import OPERATOR, Host, Program, eventually
from .webhook import webhook_server

REPO = Path(__file__).parents[2]
COMMANDS = Path(sys.executable).parent
CODE = ("ufvnet", "flows", "tasks", "configs", "prefect.yaml", "automations.yaml", "pyproject.toml")
SERVER, SCHEDULER = 4200, 8786


@dataclass(frozen=True)
class Site:
    """The hosts, what runs on them, and the operator's view of it."""

    folder: Path
    head: Host
    cpu: Host
    gpu: Host
    client: SyncPrefectClient
    notifications: list[str]
    """Texts that the webhook received."""
    webhook: str

    @property
    def scheduler(self) -> str:
        """Address of the Dask scheduler."""
        return f"tcp://{self.head.address}:{SCHEDULER}"

    @property
    def small_disk(self) -> Path:
        """A disk of its own, whose size can be changed."""
        return self.folder / "full"

    def environment(self, home: str, version: str = "v1") -> dict[str, str]:
        """Variables of a program of this site that runs the code of a version."""
        kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(("PREFECT_", "DASK_", "UFVNET_"))}
        (self.folder / "homes" / home).mkdir(parents=True, exist_ok=True)
        return kept | {
            "PYTHONPATH": str(self.folder / version), "PREFECT_HOME": str(self.folder / "homes" / home),
            "PREFECT_API_URL": f"http://{self.head.address}:{SERVER}/api", "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_WORKER_QUERY_SECONDS": "2",
            "UFVNET_CHECKOUT": str(self.folder / "current"), "OMP_NUM_THREADS": "1",
            "PATH": f"{COMMANDS}:{os.environ['PATH']}",
        }  # fmt: skip

    def command(self, *command: str, version: str = "v1") -> str:
        """Run a command as the operator; gives what it printed.

        Raises:
            RuntimeError: it failed.
        """
        done = subprocess.run(command, cwd=self.folder / version, env=self.environment("operator", version),
                              capture_output=True, text=True, check=False)  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    def install(self, version: str, edits: Mapping[str, str] | None = None) -> None:
        """Put a version of the code into a folder of its own, which every host sees; edits append to files."""
        for name in CODE:
            source, target = REPO / name, self.folder / version / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
        pull = (REPO / "deploy" / "pull.yaml").read_text()
        for name, text in {"prefect.yaml": pull, **(edits or {})}.items():
            with (self.folder / version / name).open("a") as file:
                file.write(text)

    def make_current(self, version: str) -> None:
        """Let every host find a version where UFVNET_CHECKOUT says; runs that are on keep theirs."""
        link = self.folder / "next"
        link.symlink_to(version)
        link.replace(self.folder / "current")

    def deploy(self, version: str, parameters: Mapping[str, Mapping[str, Any]]) -> None:
        """Deploy a version, with this site's parameters in place of the defaults."""
        self.command("ufvnet", "deploy", "--webhook", self.webhook, version=version)
        for name, values in parameters.items():
            found = self.client.read_deployment_by_name(f"{name}/{name}")
            self.client.update_deployment(found.id, DeploymentUpdate(parameters=dict(values)))

    def start(self, deployment: str, **parameters: Any) -> UUID:
        """Start a run of a deployment, with its parameters unless others are given."""
        found = self.client.read_deployment_by_name(f"{deployment}/{deployment}")
        return self.client.create_flow_run_from_deployment(found.id, parameters=parameters).id

    def runs(self, deployment: str) -> list[FlowRun]:
        """Every run of a deployment that was due."""
        by_name = DeploymentFilter(name=DeploymentFilterName(any_=[deployment]))
        runs = self.client.read_flow_runs(deployment_filter=by_name, limit=200)
        return [run for run in runs if run.state is None or run.state.name not in ("Scheduled", "Late")]

    def state(self, run: UUID) -> str:
        """The name of a run's state; empty while the server does not answer."""
        try:
            return self.client.read_flow_run(run).state_name or ""
        except httpx.HTTPError:
            return ""

    def states(self, run: UUID) -> list[str]:
        """The names of all states that a run had."""
        return [state.name or "" for state in self.client.read_flow_run_states(run)]

    def becomes(self, run: UUID, *states: str, seconds: float = 600) -> str:
        """Wait until a run has one of these states; gives the one that it has at last."""
        eventually(lambda: self.state(run) in states, seconds)
        return self.state(run)


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Everything started, nothing deployed."""
    notifications: list[str] = []
    with ExitStack() as stack:
        webhook = stack.enter_context(webhook_server(notifications, OPERATOR))
        head, cpu, gpu = (Host(name, i, folder / "hosts" / name) for i, name in enumerate(("head", "cpu", "gpu"), 2))
        url = f"http://{head.address}:{SERVER}/api"
        client = stack.enter_context(SyncPrefectClient(url, httpx_settings={"trust_env": False, "timeout": 20}))
        here = Site(folder, head, cpu, gpu, client, notifications, webhook)
        here.install("v1")
        here.make_current("v1")
        here.small_disk.mkdir()  # before any program starts, which would not see it otherwise
        subprocess.run(["mount", "-t", "tmpfs", "drill", here.small_disk], check=True)
        stack.callback(lambda: subprocess.run(["umount", here.small_disk], check=True))
        stack.callback(_stop, gpu, cpu, head)
        start_server(here)
        start_scheduler(here)
        for host in (cpu, gpu):
            here.command("prefect", "work-pool", "create", f"{host.name}-pool", "--type", "process")
            start_workers(here, host)
        yield here


def _stop(*hosts: Host) -> None:
    for program in (program for host in hosts for program in reversed(host.programs.values())):
        program.stop(signal.SIGKILL)


def start_server(here: Site) -> None:
    """PostgreSQL, where it is installed, and Prefect's server on it; waits until it answers.

    Raises:
        RuntimeError: it does not answer.
    """
    head, environment = here.head, here.environment("head")
    if database := start_postgres(here):
        environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database
    head.start("server", "prefect", "server", "start", "--host", head.address, "--port", str(SERVER),
               environment=environment, folder=here.folder)  # fmt: skip
    if not eventually(lambda: answers(here), 300):
        raise RuntimeError(f"the server does not answer: {head.programs['server'].log.read_text()[-3000:]}")


def start_postgres(here: Site) -> str | None:
    """A database of this site on the head; gives its URL, or None where PostgreSQL is not installed."""
    if shutil.which("initdb") is None:
        return None
    head, data = here.head, here.folder / "postgres"
    as_user = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")
    data.mkdir()
    shutil.chown(data, "postgres", "postgres")
    subprocess.run([*as_user, "initdb", "-D", str(data), "-U", "prefect", "-A", "trust"], check=True,
                   stdout=subprocess.DEVNULL, cwd="/")  # fmt: skip
    head.start("postgres", *as_user, "postgres", "-D", str(data), "-h", "127.0.0.1", "-k", "",
               environment=os.environ, folder=Path("/"))  # fmt: skip
    create = ["ip", "netns", "exec", head.name, "createdb", "-h", "127.0.0.1", "-U", "prefect", "prefect"]
    eventually(lambda: subprocess.run(create, capture_output=True, check=False).returncode == 0, 60)
    return "postgresql+asyncpg://prefect@127.0.0.1:5432/prefect"


def answers(here: Site) -> bool:
    """Whether the server is up."""
    try:
        return here.client.request("GET", "/health").status_code == 200
    except httpx.HTTPError:
        return False


def start_scheduler(here: Site) -> None:
    """The Dask scheduler, whose page only its own host sees."""
    here.head.start("scheduler", "dask", "scheduler", "--host", here.head.address, "--port", str(SCHEDULER),
                    "--dashboard-address", "127.0.0.1:8787", environment=here.environment("head"),
                    folder=here.folder)  # fmt: skip


def start_workers(here: Site, host: Host) -> None:
    """A Prefect worker for the pool of this host, and a Dask worker."""
    host.start("worker", "prefect", "worker", "start", "--pool", f"{host.name}-pool", "--limit", "2",
               environment=here.environment(host.name), folder=here.folder / "v1")  # fmt: skip
    start_dask_worker(here, host, "dask", 9000, "v1")


def start_dask_worker(here: Site, host: Host, name: str, port: int, version: str) -> Program:
    """A Dask worker of one process that runs the code of a version."""
    return host.start(name, "dask", "worker", here.scheduler, "--host", host.address, "--nworkers", "1",
                      "--nthreads", "1", "--worker-port", str(port), "--nanny-port", str(port + 100),
                      "--dashboard-address", "127.0.0.1:0", "--local-directory", str(host.folder),
                      environment=here.environment(host.name, version), folder=host.folder)  # fmt: skip
