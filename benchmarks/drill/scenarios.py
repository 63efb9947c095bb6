"""What the drill does to the site, one function each; a scenario notes what it saw, and what was wrong."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import psutil
from prefect.client.schemas.schedules import SCHEDULE_TYPES, RRuleSchedule
from prefect.states import Cancelling

from ufvnet.data.sample import jittered_photos

from . import site as sites
from .hosts import Host, eventually
from .site import Site

GOOD = ("Completed", "CompletedWithFailures")


@dataclass
class Drill:
    """The site, what runs on it, and the report."""

    site: Site
    photos: int
    pictures: int
    steps: int
    away: float
    """Seconds for which a host, a scheduler or the server is away."""
    saw: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.site.folder

    def note(self, text: str) -> None:
        """Something that was seen."""
        self.saw.append(text)

    def check(self, holds: bool, text: str) -> None:
        """Something that must hold."""
        if not holds:
            self.wrong.append(text)

    @contextmanager
    def notified(self, *subjects: str) -> Iterator[None]:
        """Check that the webhook receives exactly these subjects, in any order."""
        before = len(self.site.notifications)
        yield
        eventually(lambda: len(self.site.notifications) - before >= len(subjects), 60 if subjects else 0)
        time.sleep(5)  # one too many would arrive now
        received = [text.split("\n")[0] for text in self.site.notifications[before:]]
        self.check(sorted(received) == sorted(subjects), f"notifications {received}, expected {[*subjects]}")
        self.note(f"{len(received)} notifications")

    def ended(self, run: UUID, *wanted: str, seconds: float = 900) -> None:
        """Check that a run comes to a state, by default to its good end."""
        wanted = wanted or GOOD
        last = self.site.becomes(run, *wanted, *GOOD, "Failed", "Cancelled", seconds=seconds)
        states = " → ".join(self.site.states(run))
        self.note(states)
        self.check(last in wanted, f"the run ended as {last}, not as {' or '.join(wanted)}: {states}")

    # The configurations of this site. Every step of the chain names what the one before it wrote.

    def build(self, out: str = "data") -> dict[str, Any]:
        """A build of the photos on the site's cluster."""
        fractions = {"train": 0.5, "val": 0.25, "test": 0.25}
        return {"name": "faces", "out": str(self.folder / out), "hr_size": 64, "shard_size": 4,
                "source": {"kind": "folder", "root": str(self.folder / "photos"), "fractions": fractions},
                "cluster": {"address": self.site.scheduler}}  # fmt: skip

    def training(self, out: str = "models", steps: int | None = None) -> dict[str, Any]:
        """A training of two stages on what was built."""
        recipe = {"steps": steps or self.steps, "anchor_steps": self.steps // 4, "regressor_steps": self.steps // 4,
                  "batch_size": 4, "threads": 1, "checkpoint_every": 20, "validate_every": self.steps,
                  "validation_faces": 2}  # fmt: skip
        return {"name": "drilled", "dataset": str(self.folder / "data" / "faces"), "preset": "tiny", "device": "cpu",
                "anchors": [2, 8], "parallel": 2, "recipe": recipe, "out": str(self.folder / out),
                "runs": str(self.folder / out / "runs")}  # fmt: skip

    def evaluation(self) -> dict[str, Any]:
        """Bicubic enlargement on the test split; the trigger adds the trained model."""
        return {"name": "drilled", "models": ["bicubic"], "out": str(self.folder / "evaluations"),
                "datasets": [{"name": "faces", "path": str(self.folder / "data" / "faces")}],
                "cluster": {"address": self.site.scheduler}}  # fmt: skip

    def restoring(self, out: str) -> dict[str, Any]:
        """Restoring of the small pictures on the site's cluster."""
        return {"input": str(self.folder / "small"), "output": str(self.folder / out), "mode": "aligned",
                "resume": True, "device": "cpu", "cluster": {"address": self.site.scheduler}}  # fmt: skip

    def parameters(self) -> dict[str, dict[str, Any]]:
        """The parameters of the deployments on this site."""
        configs = {"build-datasets": self.build(), "train": self.training(), "evaluate": self.evaluation(),
                   "super-resolve": self.restoring("restored")}  # fmt: skip
        return {name: {"config": config} for name, config in configs.items()}


def same_files(whole: Path, other: Path, pattern: str) -> str | None:
    """How two folders differ in their files of a pattern; None if they are byte for byte equal."""
    names, others = ({p.relative_to(f) for p in f.rglob(pattern)} for f in (whole, other))
    if names != others or not names:
        return f"{other.name}: {len(names - others)} files of {len(names)} are missing, {len(others - names)} too many"
    changed = [name for name in names if (whole / name).read_bytes() != (other / name).read_bytes()]
    return f"{other.name}: {len(changed)} of {len(names)} files differ" if changed else None


def check_restored(drill: Drill, out: str) -> None:
    """Every picture once, as an undisturbed run without a cluster wrote it."""
    whole, other = drill.folder / "undisturbed", drill.folder / out
    difference = same_files(whole, other, "*.png")
    drill.check(difference is None, str(difference))
    rows = [pd.read_parquet(f / "manifest.parquet").drop(columns="seconds") for f in (whole, other)]
    rows = [table.sort_values("path", ignore_index=True) for table in rows]
    drill.check(rows[0].equals(rows[1]), f"{out}: the manifests differ ({len(rows[0])} and {len(rows[1])} rows)")
    drill.note(f"{len(rows[1])} rows")


def chain(drill: Drill) -> None:
    """A schedule fires; build, train and evaluate follow each other by triggers, each once."""
    site = drill.site
    found = site.client.read_deployment_by_name("build-datasets/build-datasets")
    at = datetime.now(UTC) + timedelta(seconds=90)  # the server plans ahead, once a minute
    once = f"DTSTART:{at:%Y%m%dT%H%M%SZ}\nRRULE:FREQ=YEARLY;COUNT=1"
    rule: SCHEDULE_TYPES = RRuleSchedule(rrule=once, timezone="UTC")
    with drill.notified():
        site.client.create_deployment_schedules(found.id, [(rule, True)])
        for name in ("build-datasets", "train", "evaluate"):
            runs = eventually(lambda name=name: site.runs(name), 300)  # type: ignore[misc]
            drill.check(len(runs) == 1, f"{len(runs)} runs of {name}")
            for run in runs[:1]:
                drill.note(name)
                drill.ended(run.id)
    drill.check(all(len(site.runs(name)) == 1 for name in ("build-datasets", "train", "evaluate")), "a run too many")
    report = drill.folder / "evaluations" / "drilled" / "report.html"
    drill.check(report.is_file() and "drilled" in report.read_text(), "no report of the trained model")


def restore(drill: Drill) -> None:
    """Every picture restored on the cluster, as without it."""
    started = time.monotonic()
    with drill.notified():
        drill.ended(drill.site.start("super-resolve"), seconds=3600)
    drill.note(f"{drill.pictures} pictures in {time.monotonic() - started:.0f} s")
    check_restored(drill, "restored")


def _disturbed(drill: Drill, out: str, disturb: Callable[[], None]) -> None:
    """Restore to a folder; disturb it when a fifth is written; see that it comes to a good end with the same files."""
    with drill.notified():
        run = drill.site.start("super-resolve", config=drill.restoring(out))
        written = eventually(lambda: len(list((drill.folder / out).rglob("*.png"))) >= drill.pictures // 5, 300, 0.1)
        drill.check(written, f"{out}: nothing was written")
        drill.note(f"disturbed when {drill.site.state(run)}")
        disturb()
        drill.ended(run)
    check_restored(drill, out)


def cut_worker(drill: Drill) -> None:
    """The host of a Dask worker is cut off for a minute."""
    _disturbed(drill, "cut-worker", lambda: _cut(drill, drill.site.cpu))


def cut_flow(drill: Drill) -> None:
    """The host on which the flow runs is cut off for a minute."""
    _disturbed(drill, "cut-flow", lambda: _cut(drill, drill.site.gpu))


def _cut(drill: Drill, host: Host) -> None:
    host.cut()
    time.sleep(drill.away)
    host.join()


def scheduler(drill: Drill) -> None:
    """The Dask scheduler is killed; its service manager starts it again."""

    program = drill.site.head.programs["scheduler"].process
    assert program is not None
    _disturbed(drill, "scheduler", program.kill)


def server(drill: Drill) -> None:
    """Prefect's server is away for longer than its client tries again (62 s), and restarted."""

    def restart() -> None:
        program = drill.site.head.programs["server"]
        program.stop()
        time.sleep(max(drill.away, 100))
        program.start()
        drill.check(eventually(lambda: sites.answers(drill.site), 300), "the server did not come back")

    _disturbed(drill, "server", restart)


def cancel(drill: Drill) -> None:
    """A training is cancelled on a server that was away while it ran; it ends within five seconds."""
    program, site = drill.site.head.programs["server"], drill.site
    with drill.notified():
        run = site.start("train", config=drill.training("cancelled", 10**6))
        drill.check(_is_training(drill, "cancelled", "whole"), "stage 2 did not begin")
        program.stop()
        time.sleep(drill.away)
        program.start()
        eventually(lambda: sites.answers(site), 300)
        time.sleep(20)
        site.client.set_flow_run_state(run, Cancelling())
        started = time.monotonic()
        drill.ended(run, "Cancelled", seconds=60)
        seconds = time.monotonic() - started
    drill.note(f"cancelled in {seconds:.1f} s")
    drill.check(seconds < 5, f"cancelled only after {seconds:.1f} s")


def _is_training(drill: Drill, out: str, part: str, seconds: float = 300) -> bool:
    """Wait until a part trains: until it has written a checkpoint."""
    name = "drilled" if part == "whole" else part
    return eventually(lambda: any((drill.folder / out / "runs").glob(f"{name}*/checkpoint*")), seconds, 0.1)


def sigterm(drill: Drill) -> None:
    """SIGTERM to a training, as when its machine is shut down: it is run again, to the same model."""
    with drill.notified():
        run = drill.site.start("train", config=drill.training("terminated"))
        drill.check(_is_training(drill, "terminated", "whole"), "stage 2 did not begin")
        _signal_run(drill.site.gpu, run, signal.SIGTERM)
        drill.check(drill.site.becomes(run, "Crashed", "AwaitingRetry", seconds=60) != "", "no state")
        drill.ended(run)
    states = drill.site.states(run)
    drill.check("Crashed" in states and "AwaitingRetry" in states, "the run was not interrupted")
    difference = same_files(
        drill.folder / "models" / "drilled", drill.folder / "terminated" / "drilled", "*.safetensors"
    )
    drill.check(difference is None, str(difference))


def check_model(drill: Drill, out: str) -> None:
    """The trained network is byte for byte that of the chain, which nothing disturbed."""
    difference = same_files(drill.folder / "models" / "drilled", drill.folder / out / "drilled", "*.safetensors")
    drill.check(difference is None, str(difference))
    drill.note("the same model")


def _signal_run(host: Host, run: UUID, how: signal.Signals) -> None:
    """Send a signal to the process of a run, which its worker started."""
    worker = host.programs["worker"].process
    assert worker is not None
    for process in psutil.Process(worker.pid).children(recursive=True):
        try:
            if process.environ().get("PREFECT__FLOW_RUN_ID") == str(run) and "prefect" in " ".join(process.cmdline()):
                process.send_signal(how)
                return
        except psutil.Error:
            continue
    raise RuntimeError(f"{run} has no process on {host.name}")


def dead_host(drill: Drill) -> None:
    """The machine of a training loses power: worker, run and all; it comes back, and the run goes on."""
    gpu = drill.site.gpu
    with drill.notified():
        run = drill.site.start("train", config=drill.training("dead"))
        drill.check(_is_training(drill, "dead", "whole"), "stage 2 did not begin")
        worker = gpu.programs["worker"].process
        assert worker is not None
        children = psutil.Process(worker.pid).children(recursive=True)
        gpu.programs["worker"].stop(signal.SIGKILL)
        for process in children:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        drill.site.becomes(run, "Crashed", "AwaitingRetry", seconds=300)
        gpu.programs["worker"].start()
        drill.ended(run)
    drill.check("Crashed" in drill.site.states(run), "the run was not found dead")
    check_model(drill, "dead")


def disk_full(drill: Drill) -> None:
    """The disk of a build is full: it fails with that reason; with room, it goes on."""
    small = drill.site.small_disk
    subprocess.run(["mount", "-o", "remount,size=100k", small], check=True)
    with drill.notified("ufvnet: build-datasets failed"):
        run = drill.site.start("build-datasets", config=drill.build("full"))
        drill.ended(run, "Failed")
    message = drill.site.client.read_flow_run(run).state
    drill.check("No space left" in str(message and message.message), f"the reason is {message and message.message}")
    subprocess.run(["mount", "-o", "remount,size=100m", small], check=True)
    with drill.notified():
        drill.ended(drill.site.start("build-datasets", config=drill.build("full")))
    for rows in ("faces", "photos"):  # beside them lie timings, which differ
        difference = same_files(drill.folder / "data" / "faces" / rows, small / "faces" / rows, "part-*.parquet")
        drill.check(difference is None, str(difference))


def redeploy(drill: Drill) -> None:
    """A new version is deployed while a run is on: the run ends with its own, the next run has the new one."""
    site = drill.site
    site.install("v2", {"flows/super_resolve.py": '\nprint("the code of v2", flush=True)\n'})
    log = site.gpu.programs["worker"].log

    def deploy() -> None:
        site.make_current("v2")
        site.deploy("v2", drill.parameters())

    _disturbed(drill, "redeployed", deploy)
    drill.check("the code of v2" not in log.read_text(), "the new version ran before it was deployed")
    with drill.notified():
        drill.ended(site.start("super-resolve", config=drill.restoring("new")))
    drill.check("the code of v2" in log.read_text(), "the old version ran after the new one was deployed")
    check_restored(drill, "new")
    site.make_current("v1")
    site.deploy("v1", drill.parameters())


def other_version(drill: Drill) -> None:
    """A Dask worker of another version joins: it gets nothing of the run, which says so."""
    site = drill.site
    site.install("v3", {"ufvnet/errors.py": "\nVERSION = 3\n"})
    dask = sites.start_dask_worker(site, site.cpu, "v3", 9005, "v3")
    try:
        eventually(lambda: "Registered to" in dask.log.read_text(), 60)
        with drill.notified():
            drill.ended(site.start("super-resolve", config=drill.restoring("mixed")))
        check_restored(drill, "mixed")
        log = site.gpu.programs["worker"].log.read_text()
        drill.check("gets no more of this run: it has code of ufvnet" in log, "nothing said that a worker was refused")
    finally:
        dask.stop()


def late(drill: Drill) -> None:
    """No worker takes a run: after ten minutes, one notification."""
    worker, before = drill.site.cpu.programs["worker"], len(drill.site.notifications)
    worker.stop()
    with drill.notified("ufvnet: build-datasets is late"):
        run = drill.site.start("build-datasets")
        eventually(lambda: len(drill.site.notifications) > before, 900, 2)
        worker.start()
        drill.ended(run)


def clock(drill: Drill) -> None:
    """The clock of the host on which the flow runs jumps by an hour, forth and back, while the run is on."""
    if shutil.which("cc") is None:
        drill.note("skipped: namespaces share a clock, and there is no compiler for one that jumps")
        return
    library, jump, worker = drill.folder / "clock.so", drill.folder / "jump", drill.site.gpu.programs["worker"]
    source = sites.REPO / "benchmarks" / "drill" / "clock.c"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    usual = worker.environment
    worker.environment = dict(usual) | {"LD_PRELOAD": str(library), "UFVNET_DRILL_JUMP": str(jump)}
    worker.stop()
    worker.start()

    def turn() -> None:
        jump.write_text("3600")
        time.sleep(drill.away)
        jump.write_text("0")

    _disturbed(drill, "clock", turn)
    worker.stop()
    worker.environment = usual
    worker.start()


def prepare(drill: Drill) -> None:
    """Photos, small pictures, and what an undisturbed run without a cluster makes of these."""
    from benchmarks.restoring import make_crops

    jittered_photos(drill.folder / "photos", drill.photos)
    make_crops(drill.folder / "small", drill.pictures)
    drill.site.command("ufvnet", "restore", str(drill.folder / "small"), str(drill.folder / "undisturbed"),
                       "--mode", "aligned", "--device", "cpu")  # fmt: skip
    drill.site.deploy("v1", drill.parameters())


SCENARIOS: tuple[Callable[[Drill], None], ...] = (
    chain, restore, sigterm, cut_worker, scheduler, server, cut_flow, cancel, disk_full, redeploy, other_version,
    dead_host, late, clock,
)  # fmt: skip
"""In this order: the chain builds and trains what the others use."""
