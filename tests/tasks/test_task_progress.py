"""Artifacts of a task: what they say beside rate and time left, and that no work waits for them or fails with them."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.artifacts import create_table_artifact
from prefect.events.clients import NullEventsClient
from prefect.events.worker import EventsWorker
from prefect.logging import disable_run_logger
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_API_URL,
    PREFECT_CLIENT_CSRF_SUPPORT_ENABLED,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)

from tasks.artifacts import publish
from tasks.progress import gpu_use, task_progress

pytestmark = pytest.mark.filterwarnings("ignore:Artifact creation outside of a flow")


@pytest.mark.parametrize(
    ("printed", "use"),
    [("97, 30822, 81559\n0, 1, 81559\n", "; GPU 97 %, 30.1 of 79.6 GiB; GPU 0 %, 0.0 of 79.6 GiB"),
     ("[N/A], 1, 2\n", ""), (None, "")],
    ids=["two-gpus", "no-answer", "no-gpu"],
)  # fmt: skip
def test_the_use_of_gpus_is_told_where_there_are_some(
    printed: str | None, use: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if printed is not None:
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\necho '{printed}'\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_use() == use


@contextmanager
def server_on(port: int) -> Iterator[None]:
    """Prefect's server is the one on this port of 127.0.0.1, which is asked once."""
    settings = {PREFECT_API_URL: f"http://127.0.0.1:{port}/api", PREFECT_CLIENT_MAX_RETRIES: 0,
                PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: False, PREFECT_API_REQUEST_TIMEOUT: 5.0}  # fmt: skip
    EventsWorker.set_client_override(NullEventsClient)  # the event of each artifact goes nowhere
    with temporary_settings(settings), disable_run_logger():
        yield
    EventsWorker.set_client_override(None)


@pytest.fixture
def no_server() -> Iterator[None]:
    """A server that is away."""
    with socket.socket() as taken:  # bound, but nothing listens
        taken.bind(("127.0.0.1", 0))
        with server_on(taken.getsockname()[1]):
            yield


def test_work_goes_on_without_its_artifacts_while_the_server_is_away(
    no_server: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tasks.progress.ARTIFACT_EVERY", 0.0)
    monkeypatch.setattr("tasks.artifacts.get_run_logger", lambda: logging.getLogger("run"))
    with task_progress("work") as progress:
        progress(1, 3, {})
    publish(create_table_artifact, "counts of it", table=[{"status": "ok"}])
    assert "no artifact counts of it: Prefect's server did not take it (ConnectError" in caplog.text


def test_work_does_not_wait_for_a_server_that_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.progress.ARTIFACT_EVERY", 0.0)
    arrived, may_answer, received = threading.Event(), threading.Event(), list[tuple[str, float]]()

    class Slow(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            received.append((self.command, float(body["data"])))
            arrived.set()
            may_answer.wait(10)
            answer = json.dumps({"id": str(uuid4()), "created": None, "updated": None}).encode()
            self.send_response(201)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_PATCH = do_POST

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server, server_on(server.server_port):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with task_progress("work") as progress:
            progress(1, 4, {})
            assert arrived.wait(10)
            progress(2, 4, {})  # returns while the first update has no answer; this one is dropped
            may_answer.set()
            progress(4, 4, {})  # the last one waits for the first, so that the artifact ends with 100 per cent
        server.shutdown()
    assert received == [("POST", 25.0), ("PATCH", 100.0)]
