"""Ctrl-C at any moment of ``ufvnet restore``: one line, exit code 130, no traceback."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import NoReturn

import pytest
from PIL import Image

from ufvnet import cli
from ufvnet.children import ctrl_c_waits
from ufvnet.cli import commands
from ufvnet.config import RestoreConfig
from ufvnet.restore import supervise, worker
from ufvnet.restore.begin import begin, begun_early

STOPPED = 128 + signal.SIGINT
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals cannot wait there")


class Left(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(autouse=True)
def leaving(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Signals as a terminal's command has them; to leave the process raises Left."""

    def leave(code: int) -> NoReturn:
        raise Left(code)

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr("ufvnet.children.end_descendants", lambda: None)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def press(*_: object, **__: object) -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_the_commands_are_imported(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "main", lambda _: signal.raise_signal(number))
    with pytest.raises(Left, match=f"{128 + number}"):
        cli.entry()
    assert capsys.readouterr().err == "ufvnet: stopped\n"


@pytest.mark.parametrize("at", ["before", "in", "after"])
def test_while_the_waiting_process_runs(
    at: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before and after the worker this process leaves by itself; with it, the worker's exit code says what happened."""
    monkeypatch.setattr(supervise, "supervise", lambda *_: STOPPED if at == "in" else press())
    if at == "before":
        monkeypatch.setattr("ufvnet.cli.restore.configured", press)
    if at == "in":
        assert commands.app(["restore", "in", "out"], standalone_mode=False) == STOPPED
    else:
        with pytest.raises(Left, match=f"{STOPPED}"):
            commands.app(["restore", "in", "out"], standalone_mode=False)
    assert capsys.readouterr().err == "ufvnet: stopped; the same command with --resume continues\n"


def test_a_picture_in_a_pipe_leaves_nothing_to_go_on_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ufvnet.cli.restore.configured", press)
    with pytest.raises(Left, match=f"{STOPPED}"):
        commands.app(["restore", "-", "-"], standalone_mode=False)
    assert capsys.readouterr().err == "ufvnet: stopped\n"


@pytest.mark.parametrize("code", [143, 129])  # SIGTERM, SIGHUP
def test_whatever_stops_the_process_that_restores_is_told(
    code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(supervise, "supervise", lambda *_: code)
    assert commands.app(["restore", "in", "out"], standalone_mode=False) == code
    assert capsys.readouterr().err == "ufvnet: stopped; the same command with --resume continues\n"
    Image.new("RGB", (24, 24)).save(tmp_path / "a.png")
    assert commands.app(["restore", f"{tmp_path}/a.png", f"{tmp_path}/b.png"], standalone_mode=False) == code
    assert capsys.readouterr().err == "ufvnet: stopped\n"


@pytest.mark.parametrize("at", ["ufvnet.restore.worker.coming_job", "ufvnet.restore.console.restore_here"])
def test_the_process_that_restores_ends_and_leaves_the_line_to_the_one_that_waits(
    at: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worker, "coming_job", lambda: lambda: (None, False))
    monkeypatch.setattr(worker, "escape_logs", lambda: None)
    monkeypatch.setattr(at, press)
    with pytest.raises(Left, match=f"{STOPPED}"):
        worker.main()
    assert capsys.readouterr() == ("", "")


def test_what_comes_while_a_process_starts_waits_until_it_is_heeded() -> None:
    came = []
    signal.signal(signal.SIGINT, lambda *_: came.append(1))
    with ctrl_c_waits() as heed:
        press()
        assert not came
        heed()
        assert came
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_signal_that_the_caller_ignores_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script's job in the background ignores Ctrl-C, which is meant for another."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    monkeypatch.setattr(commands, "main", press)
    monkeypatch.delitem(sys.modules, "prefect", raising=False)  # of another test
    with pytest.raises(Left, match="0"):
        cli.entry()


def test_a_process_that_gets_no_job_is_ended() -> None:
    with begin() as child:
        pass
    assert child.process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("arguments", "early"),
    [
        ("restore in out", True),
        ("restore -i in -o out --scale 2", True),
        ("restore", False),
        ("restore --help", False),
        ("restore - -", False),
        ("restore in.png -o-", False),
        ("restore in.png --output=-", False),
        ("restore in out --cluster=2", False),
        ("models list", False),
        ("", False),
    ],
)
def test_the_process_that_restores_is_begun_before_options_are_read(
    arguments: str, early: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ufvnet.restore.begin.begin", lambda: nullcontext("child"))
    with begun_early(arguments.split()) as child:
        assert child == ("child" if early else None)


def test_where_no_process_can_be_started_options_are_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with begun_early(["restore", "in", "out"]) as child:
        assert child is None


@pytest.mark.kills
@pytest.mark.parametrize("written", [b"", pickle.dumps(b"a job")[:-3]])
def test_a_process_whose_parent_dies_before_it_has_a_job_ends_at_once(written: bytes) -> None:
    """As it still imports: here it sleeps for a minute."""
    code = "import time; from ufvnet.children import coming_job; job = coming_job(); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.communicate(written, timeout=20)[1] == b""
    assert child.returncode == 1


@pytest.mark.kills
def test_a_process_that_was_killed_before_it_had_a_job_is_no_picture_s_fault(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (24, 24), "tan").save(tmp_path / "a.png")
    config = RestoreConfig(input=[tmp_path / "a.png"], output=tmp_path / "out.png", device="cpu")
    with begin() as begun:
        begun.process.kill()
        begun.process.wait()
        assert supervise.supervise(config, "a.png", begun) == 0
    assert capfd.readouterr() == (f"{tmp_path / 'a.png'}: restored\n", "")
