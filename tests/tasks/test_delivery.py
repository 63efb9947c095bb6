"""Events that start other flows: delivered, or the run says that they were not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from prefect.logging import disable_run_logger
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_CSRF_SUPPORT_ENABLED,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)

from tasks.events import TRAINED, announce
from ufvnet.errors import PipelineError


@contextmanager
def server(answers: list[int]) -> Iterator[list[Any]]:
    """Prefect's server, as far as it takes events: it gives these answers, and the last one again and again."""
    received: list[Any] = []

    class Events(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)  # the client asks for the server's version first
            self.end_headers()

        def do_POST(self) -> None:
            assert self.path == "/api/events"
            received.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(answers.pop(0) if len(answers) > 1 else answers[0])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Events) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        settings = {PREFECT_API_URL: f"http://127.0.0.1:{listening.server_port}/api", PREFECT_CLIENT_MAX_RETRIES: 0,
                    PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: False}  # fmt: skip
        with temporary_settings(settings), disable_run_logger():
            yield received
        listening.shutdown()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.delivery.AGAIN", 0.0)


def test_an_announcement_that_the_server_does_not_take_is_made_again_and_counts_once() -> None:
    with server([503, 500, 204]) as received:
        assert announce(TRAINED, "ufvnet", model="models/ufvnet")
    assert [event["payload"] for event in received] == [{"model": "models/ufvnet"}] * 3
    assert len({event["id"] for event in received}) == 1


@pytest.mark.parametrize(("answer", "patience"), [(422, 60.0), (503, 0.0)], ids=["refused", "away"])
def test_an_announcement_that_the_server_never_takes_is_an_error(
    answer: int, patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.delivery.PATIENCE", patience)
    with server([answer]) as received, pytest.raises(PipelineError, match=r"so nothing follows .*; run this again"):
        announce(TRAINED, "ufvnet", model="models/ufvnet")
    assert len(received) == 1
