"""Hosts as network namespaces: each has an address, what it runs, and a cable that can be pulled."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

OPERATOR = "10.77.0.1"
"""Address of the drill itself: of the switch to which every host is plugged."""

ISOLATED = "UFVNET_DRILL_ISOLATED"

RESTART = 5.0
"""Seconds after which a service manager starts again what ended (RestartSec of deploy/systemd)."""


def isolate() -> None:
    """Run this program again as the first process of new namespaces, which end with it; return in those.

    Raises:
        SystemExit: namespaces are refused here. The exit code is 0: the drill is skipped.
    """
    if os.environ.get(ISOLATED):
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # the first process has no default action
        _sh("mkdir -p /run/netns; mount -t tmpfs drill /run/netns")
        _sh(f"ip link set lo up; ip link add sw type bridge; ip addr add {OPERATOR}/24 dev sw; ip link set sw up")
        return
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    try:
        refusal = subprocess.run([*command, "ip", "link"], capture_output=True, text=True, check=False)
        reason = refusal.stderr.strip() if refusal.returncode else None
    except FileNotFoundError as error:
        reason = f"{error.filename} is not installed"
    if reason is not None:
        print(f"skipped: no hosts can be made of namespaces here ({reason})")
        raise SystemExit(0)
    os.execvpe(command[0], [*command, sys.executable, "-m", "benchmarks.drill", *sys.argv[1:]],
               os.environ | {ISOLATED: "1"})  # fmt: skip


def _sh(script: str) -> None:
    subprocess.run(["sh", "-ec", script], check=True)


def eventually(found: Callable[[], T], seconds: float, every: float = 0.5) -> T:
    """Poll until it gives something true, or for so long; gives what it gave last."""
    deadline = time.monotonic() + seconds
    while not (result := found()) and time.monotonic() < deadline:
        time.sleep(every)
    return result


@dataclass
class Program:
    """A program on a host, in a process group of its own, as a service manager would keep it."""

    host: Host
    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    wanted: bool = False
    """Whether it should run: a service manager starts it again when it ends by itself."""

    @property
    def log(self) -> Path:
        """All that it printed, in all its lives."""
        return self.host.folder / f"{self.name}.log"

    def start(self) -> Program:
        """Start it, for the first time or again."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.host.name, *self.command], cwd=self.folder, env=dict(self.environment),
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.wanted = True
        return self

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Send its process a signal; its group is killed if it does not end in half a minute."""
        assert self.process is not None
        self.wanted = False
        self.process.send_signal(how)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class Host:
    """A machine of its own on the drill's network; its folder holds what its programs print."""

    name: str
    number: int
    folder: Path
    programs: dict[str, Program] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        cable, name = f"to-{self.name}", self.name
        _sh(
            f"ip netns add {name}; ip link add {cable} type veth peer name eth0 netns {name}; "
            f"ip link set {cable} master sw up; ip -n {name} addr add {self.address}/24 dev eth0; "
            f"ip -n {name} link set eth0 up; ip -n {name} link set lo up"
        )
        self.keep_running()

    @property
    def address(self) -> str:
        """Its address on the drill's network."""
        return f"10.77.0.{self.number}"

    def start(self, name: str, *command: str, environment: Mapping[str, str], folder: Path) -> Program:
        """Start a program that stays."""
        self.programs[name] = Program(self, name, command, environment, folder).start()
        return self.programs[name]

    def cut(self) -> None:
        """Pull the cable."""
        _sh(f"ip link set to-{self.name} down")

    def join(self) -> None:
        """Plug the cable in again."""
        _sh(f"ip link set to-{self.name} up")

    def keep_running(self) -> None:
        """Start again, for as long as the drill runs, what ended by itself: the service manager of this host."""

        def keep() -> None:
            while True:
                time.sleep(RESTART)
                for program in [*self.programs.values()]:
                    if program.wanted and program.process is not None and program.process.poll() is not None:
                        program.start()

        threading.Thread(target=keep, daemon=True).start()

    def listening(self) -> set[tuple[str, int]]:
        """Every (address, port) on which a program of this host accepts connections."""
        lines = subprocess.run(["ip", "netns", "exec", self.name, "ss", "-ltnH"], capture_output=True, text=True,
                               check=True).stdout.splitlines()  # fmt: skip
        ends = [re.match(r"(.*):(\d+)$", line.split()[3]) for line in lines]
        return {(end[1], int(end[2])) for end in ends if end}
