"""The web page: statuses, refusals, and the page itself in a browser."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_model
from starlette.testclient import TestClient

from ufvnet.children import environment, python
from ufvnet.config import RestoreConfig, load
from ufvnet.errors import ConfigError
from ufvnet.files import write_json
from ufvnet.models import create
from ufvnet.models.store import CARD, WEIGHTS
from ufvnet.restore import Restorer
from ufvnet.restore.resolved import ResolvedRestore, resolve
from ufvnet.restore.server import answer as answers
from ufvnet.restore.server import app as serve
from ufvnet.restore.server.admission import UPLOADS, WAITING, WORKERS, OwnNames
from ufvnet.restore.single import restore_single

pytest.importorskip("uvicorn", reason="the extra serve is not installed")

CHROMIUM = Path("/usr/bin/chromium")
BASE = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    network = create("ufvnet-lite", "tiny")
    torch.nn.init.normal_(network.get_submodule("head").get_parameter("weight"), std=0.02)
    save_model(network, str(folder / WEIGHTS))
    write_json(folder / CARD, {"model": "ufvnet-lite", "preset": "tiny", "hr_size": 128, "fingerprint": "f"})
    return folder


@pytest.fixture(scope="module")
def resolved(model: Path) -> ResolvedRestore:
    return resolve(load(RestoreConfig, {"input": "-", "output": "-", "model": model, "device": "cpu"}))


@pytest.fixture
def client(resolved: ResolvedRestore) -> TestClient:
    return TestClient(serve.make_app(resolved), base_url=BASE)


def with_network(resolved: ResolvedRestore, network: Any) -> ResolvedRestore:
    """The same, with another network."""
    restorer = resolved.restorer
    return replace(resolved, restorer=Restorer(network, restorer.hr_size, "f", restorer.device))


def png(width: int, height: int) -> bytes:
    noise = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()


def head(side: int = 200) -> bytes:
    """A sharp head; its picture has 200 pixels a side unless it is enlarged."""
    from skimage.data import astronaut

    buffer = io.BytesIO()
    Image.fromarray(astronaut()[:200, 125:325]).resize((side, side)).save(buffer, "PNG")
    return buffer.getvalue()


def declared(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header declares a size."""
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def decoded(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_a_face_crop_comes_back_restored_with_what_was_found(client: TestClient) -> None:
    for _ in range(2):  # the same picture twice
        reply = client.post("/restore?mode=aligned", content=png(24, 20))
        assert reply.status_code == 200
        found = reply.json()
        assert (found["width"], found["height"]) == (24, 20)
        assert decoded(found["after"]).size == decoded(found["before"]).size == (128, 128)
        assert decoded(found["input"]).size == (24, 20)
        assert found["rate"] == pytest.approx(22 / 128)
        assert sum(found["weights"]) == pytest.approx(1, abs=1e-5)
        assert found["anchors"] == [16, 32, 64]
        assert found["notes"] == ["Taken for a face crop and not square (24×20): it was stretched."]
        assert (found["mode"], found["type"]) == ("aligned", "image/png")


def test_an_upload_becomes_what_the_command_makes_of_it_and_its_faces_are_shown(
    client: TestClient, photos: Path, model: Path, tmp_path: Path
) -> None:
    photo = Image.open(sorted(photos.iterdir())[0]).convert("RGB")
    photo.thumbnail((150, 150))
    photo.save(tmp_path / "photo.jpg", quality=95)
    reply = client.post("/restore", content=(tmp_path / "photo.jpg").read_bytes())
    assert reply.status_code == 200, reply.text
    found = reply.json()
    settings = {"input": tmp_path / "photo.jpg", "output": tmp_path / "out.jpg", "model": model, "device": "cpu"}
    row = restore_single(load(RestoreConfig, settings))
    assert base64.b64decode(found["after"]) == (tmp_path / "out.jpg").read_bytes()
    assert (found["mode"], found["type"], found["ending"]) == ("photo", "image/jpeg", ".jpg")
    assert decoded(found["before"]).size == (row["output_width"], row["output_height"])
    assert re.match(r"\d+ faces? found, \d+ restored; the photo is enlarged", found["notes"][0])
    assert len(found["faces"]) == row["faces_restored"]
    face = found["faces"][0]
    assert decoded(face["input"]).size == (face["box"][2] - face["box"][0], face["box"][3] - face["box"][1])
    assert decoded(face["restored"]).size == (128, 128)
    assert len(face["weights"]) == len(found["weights"]) == 3


@pytest.mark.parametrize(
    ("body", "mode", "status", "message"),
    [
        (b"", "aligned", 400, "The file is empty."),
        (b"This is no picture.\n" * 99, "aligned", 415, "no picture of a kind that is known"),
        (png(60, 60)[:5000], "aligned", 422, "The picture is damaged"),
        (declared(11_000, 10_000), "aligned", 413, "The picture has over 24 megapixels."),
        (declared(20_000, 10_000), "aligned", 413, "The picture has over 24 megapixels."),
        (head(), "aligned", 422, "nothing to restore. To search it for a small face, choose “photo”"),
        (png(1, 1), "aligned", 422, "1x1: no side may be under 4 pixels"),
        (png(120, 90), "photo", 422, "No face was found"),
        (head(360), "auto", 422, "1 face found, none smaller than 128 pixels"),
        (png(20, 20), "video", 400, "mode = video: must be one of auto, aligned, photo"),
    ],
    ids=["empty", "text", "cut off", "110 MP", "200 MP", "large", "dot", "no face", "large photo", "mode"],
)  # fmt: skip
def test_what_cannot_be_restored_is_a_status_and_a_reason(
    client: TestClient, body: bytes, mode: str, status: int, message: str
) -> None:
    started = time.perf_counter()
    reply = client.post(f"/restore?mode={mode}", content=body)
    assert reply.status_code == status
    assert message in reply.json()["error"]
    if status == 413:
        assert time.perf_counter() - started < 5  # from the header: decoding would need gigabytes


def test_reading_stops_at_the_limit(resolved: ResolvedRestore) -> None:
    parts, sent = 0, []

    async def receive() -> dict[str, Any]:
        nonlocal parts
        parts += 1
        assert parts < 50, "it goes on reading"
        return {"type": "http.request", "body": b"x" * 10_000, "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/restore", "query_string": b"", "http_version": "1.1",
        "headers": [(b"host", b"127.0.0.1")], "scheme": "http", "server": ("127.0.0.1", 8000),
    }  # fmt: skip
    asyncio.run(serve.make_app(resolved, max_bytes=100_000)(scope, receive, send))
    assert sent[0]["status"] == 413
    assert parts <= 12
    declared_longer = TestClient(serve.make_app(resolved, max_bytes=10), base_url=BASE).post(
        "/restore", content=b"x" * 11
    )
    assert declared_longer.status_code == 413


def test_a_failing_model_is_a_message_not_a_silence(resolved: ResolvedRestore) -> None:
    def fail(*_: object) -> Any:
        raise RuntimeError("out of memory")

    broken = with_network(resolved, fail)
    reply = TestClient(serve.make_app(broken), base_url=BASE).post("/restore", content=png(20, 20))
    assert (reply.status_code, reply.json()) == (500, {"error": "The model failed: out of memory"})


@pytest.mark.parametrize(
    ("bound", "header", "status"),
    [
        ("127.0.0.1", "127.0.0.1:8000", 200), ("127.0.0.1", "localhost:1", 200), ("127.0.0.1", "[::1]:8000", 200),
        ("127.0.0.1", "evil.example", 421), ("127.0.0.1", "localhost.evil.example", 421), ("127.0.0.1", "", 421),
        ("127.0.0.1", "192.168.1.5", 421), ("0.0.0.0", "192.168.1.5:8000", 200), ("0.0.0.0", "evil.example", 421),
        ("my-host", "My-Host:8000", 200), ("127.0.0.1", "[::1", 421), ("192.168.1.5", "here.example", 200),
        ("192.168.1.5", "HERE:8000", 200), ("192.168.1.5", "192.168.1.6", 421), ("127.0.0.1", "here", 421),
        ("::1", "here.example", 421), ("127.0.0.1", "Faces.Example", 200), ("::", "[::2]:8000", 200),
    ],
)  # fmt: skip
def test_only_this_host_s_names_are_served(
    resolved: ResolvedRestore, bound: str, header: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "here")
    monkeypatch.setattr(socket, "getfqdn", lambda: "here.example")
    own = OwnNames.of(bound, ["faces.example"])
    reply = TestClient(serve.make_app(resolved, own), base_url=BASE).get("/", headers={"host": header})
    assert reply.status_code == status
    assert status == 200 or "--allowed-host" in reply.json()["error"]


def test_other_pages_may_not_post_nor_read(client: TestClient) -> None:
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9999"):
        assert client.post("/restore", content=png(20, 20), headers={"origin": origin}).status_code == 403
    reply = client.post("/restore", content=png(20, 20), headers={"origin": BASE})
    assert reply.status_code == 200
    assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize("path", ["/etc/passwd", "/..%2f..%2fpyproject.toml", "/page.html", "/docs", "/openapi.json"])
def test_no_other_address_exists(client: TestClient, path: str) -> None:
    reply = client.get(path)
    assert (reply.status_code, reply.json()["error"].split(":")[0]) == (404, "Not Found")


def test_another_method_is_refused_in_json_too(client: TestClient) -> None:
    reply = client.get("/restore")
    assert (reply.status_code, reply.headers["allow"]) == (405, "POST")
    assert reply.json() == {"error": "Method Not Allowed: GET / is the page, POST /restore takes a picture."}


@pytest.mark.kills
@pytest.mark.server
def test_the_page_is_one_file_that_loads_nothing(client: TestClient) -> None:
    reply = client.get("/")
    assert not re.search(r"(src|href)=\"(?!data:)|@import|url\(|//\w", re.sub(r"(?m)^\s*//.*$", "", reply.text))
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "{{" not in reply.text  # every blank is filled in
    assert reply.headers["cache-control"] == "no-store"


def test_other_requests_are_answered_while_a_picture_is_in_work(resolved: ResolvedRestore) -> None:
    import httpx

    started, go_on = threading.Event(), threading.Event()

    def slow(*inputs: Any) -> Any:
        started.set()
        assert go_on.wait(20)
        return resolved.restorer.network(*inputs)

    app = serve.make_app(with_network(resolved, slow))

    async def both() -> tuple[int, int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as client:
            work = asyncio.create_task(client.post("/restore", content=png(20, 20)))
            while not started.is_set():
                await asyncio.sleep(0.01)
            page = await client.get("/")
            go_on.set()
            return page.status_code, (await work).status_code

    assert asyncio.run(both()) == (200, 200)


def test_a_taken_port_and_an_unknown_host_are_refused() -> None:
    with serve._listen("127.0.0.1", 0) as taken, pytest.raises(ConfigError, match="--port 0 picks a free one"):
        serve._listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(ConfigError, match=r"host = no\.such\.host\.invalid"):
        serve._listen("no.such.host.invalid", 0)


def test_without_the_extra_the_message_names_it(resolved: ResolvedRestore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ConfigError, match=r'pip install "ufvnet\[serve\]"'):
        serve.run(resolved, "127.0.0.1", 0)


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "//]["])
def test_a_malformed_origin_is_a_bad_request(client: TestClient, origin: str) -> None:
    reply = client.post("/restore", content=png(20, 20), headers={"origin": origin})
    assert (reply.status_code, reply.json()) == (400, {"error": "The request's Origin is malformed."})


@pytest.mark.parametrize("query", ["mode=%ff%00%1b[2J", "mode=" + "x" * 9000, "mode=%ud800", "&" * 500 + "mode=;"])
def test_a_malformed_query_is_a_short_sentence(client: TestClient, query: str) -> None:
    reply = client.post(f"/restore?{query}", content=png(20, 20))
    assert reply.status_code == 400
    message = reply.json()["error"]
    assert message.isprintable()
    assert len(message) < 120


def test_an_option_of_the_command_and_a_form_are_refused_with_the_way(client: TestClient) -> None:
    reply = client.post("/restore?scale=4", content=png(20, 20))
    assert (reply.status_code, reply.json()["error"].split(":")[0]) == (400, "scale")
    reply = client.post("/restore", files={"file": png(20, 20)})
    assert reply.status_code == 415
    assert "--data-binary" in reply.json()["error"]


def test_whatever_fails_inside_is_a_sentence(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Any:
        raise TypeError("what\x1b[2J")

    monkeypatch.setattr(answers, "_account", fail)
    reply = client.post("/restore", content=png(20, 20))
    assert reply.json() == {"error": r"The picture cannot be restored (TypeError: what\x1b[2J)."}


def test_what_is_only_shown_is_no_larger_than_a_page_can_show(resolved: ResolvedRestore) -> None:
    found = answers.answer(png(20, 5000), "aligned", resolved)
    assert (found["width"], found["height"]) == (20, 5000)
    assert decoded(found["input"]).size == (8, 2048)
    assert decoded(found["before"]).size == (128, 128)


def _held(resolved: ResolvedRestore, count: int, **limits: float) -> list[tuple[int, str]]:
    """Statuses and sentences of so many requests at once, while no picture in work becomes ready."""
    import httpx

    go_on = threading.Event()

    def slow(*inputs: Any) -> Any:
        assert go_on.wait(60)
        return resolved.restorer.network(*inputs)

    app = serve.make_app(with_network(resolved, slow), **limits)

    async def all_of_them() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as client:
            requests = [asyncio.create_task(client.post("/restore", content=png(20, 20))) for _ in range(count)]
            await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
            if "work_seconds" not in limits:
                go_on.set()
            found = await asyncio.gather(*requests)
            go_on.set()
            return found

    return [(r.status_code, r.json().get("error", "")) for r in asyncio.run(all_of_them())]


def test_more_requests_than_there_are_seats_are_sent_away_at_once(resolved: ResolvedRestore) -> None:
    found = _held(resolved, WORKERS + WAITING + 3)
    assert sorted(status for status, _ in found) == [200] * (WORKERS + WAITING) + [503] * 3
    assert found[-1][1] == "Too many pictures are in work; try again in a minute."


def test_a_picture_that_takes_too_long_and_those_behind_it_are_given_up(resolved: ResolvedRestore) -> None:
    found = _held(resolved, WORKERS + 1, work_seconds=0.5)
    assert sorted(status for status, _ in found) == [503] + [504] * WORKERS
    assert any("took over 0.5 seconds" in message for _, message in found)
    assert any("before this one take too long" in message for _, message in found)


def test_slow_uploads_keep_no_seat_and_too_many_of_them_are_refused(resolved: ResolvedRestore) -> None:
    import httpx

    app, begun = serve.make_app(resolved), 0

    async def ask() -> tuple[int, httpx.Response]:
        go_on = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            nonlocal begun
            begun += 1
            await go_on.wait()
            yield png(20, 20)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as client:

            async def uploads(count: int) -> list[asyncio.Task[httpx.Response]]:
                all_begun = begun + count
                tasks = [asyncio.create_task(client.post("/restore", content=slow())) for _ in range(count)]
                while begun < all_begun and not any(task.done() for task in tasks):
                    await asyncio.sleep(0)
                return tasks

            tasks = await uploads(UPLOADS - 1)
            quick = (await client.post("/restore", content=png(20, 20))).status_code
            tasks += await uploads(1)
            refused = await client.post("/restore", content=png(20, 20))
            go_on.set()
            await asyncio.gather(*tasks)
            return quick, refused

    quick, refused = asyncio.run(ask())
    assert quick == 200
    assert (refused.status_code, refused.json()["error"].split(";")[0]) == (503, "Too many pictures are being uploaded")


def test_too_many_faces_are_refused_and_late_work_is_not_begun(
    resolved: ResolvedRestore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def network(*_: Any) -> Any:
        raise AssertionError("it computes")

    idle = with_network(resolved, network)
    assert answers.reply(png(20, 20), "aligned", idle, time.monotonic() - 1)[0] == 504
    monkeypatch.setattr(answers, "MAX_FACES", 0)
    status, body = answers.reply(png(20, 20), "aligned", idle)
    assert (status, body) == answers.error_reply(422, "1 small faces are over 0; crop the picture.")


def test_a_slow_upload_is_cut_off(resolved: ResolvedRestore) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.05)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/restore", "query_string": b"", "http_version": "1.1",
        "headers": [(b"host", b"127.0.0.1")], "scheme": "http", "server": ("127.0.0.1", 8000),
    }  # fmt: skip
    asyncio.run(serve.make_app(resolved, upload_seconds=0.5)(scope, receive, send))
    assert sent[0]["status"] == 408
    assert b"The upload took over 0.5 seconds." in sent[1]["body"]


def test_connections_without_a_request_are_closed_so_that_others_get_in(resolved: ResolvedRestore) -> None:
    server = serve.make_server(serve.make_app(resolved), idle_seconds=0.5)
    with serve._listen("127.0.0.1", 0) as listener, contextlib.ExitStack() as stack:
        address = listener.getsockname()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        for number in range(serve.CONNECTIONS):
            idle = stack.enter_context(socket.create_connection(address))
            idle.sendall(b"GET / HT" if number % 2 else b"")

        def status() -> bytes:
            with socket.create_connection(address, timeout=30) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                return connection.recv(12)

        while (answered := status()) != b"HTTP/1.1 200" and server.server_state.connections:
            assert answered == b"HTTP/1.1 503"
            time.sleep(0.2)
        server.should_exit = True
        thread.join(30)
    assert answered == b"HTTP/1.1 200"


@contextlib.contextmanager
def running(server: Any) -> Iterator[tuple[str, int]]:
    """The address of a server that runs in a thread until it is told to end."""
    with serve._listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            server.should_exit = True
            thread.join(30)
        assert not thread.is_alive()


def test_a_client_that_does_not_read_its_answer_is_cut_off() -> None:
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    body = bytes(30_000_000)  # more than the sockets hold
    app = Starlette(routes=[Route("/", lambda _: Response(body))])
    server = serve.make_server(app, idle_seconds=0.2, stalled_seconds=0.5)
    with running(server) as address, contextlib.ExitStack() as stack:
        reader, stalled = (stack.enter_context(socket.create_connection(address, timeout=30)) for _ in range(2))
        for connection in (reader, stalled):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        received = 0
        while part := reader.recv(1_000_000):
            received += len(part)
        assert received > len(body)
        patience = time.monotonic() + 20
        while server.server_state.connections:
            assert time.monotonic() < patience, "it is still held"
            time.sleep(0.05)


@pytest.mark.parametrize("again", [False, True])
def test_asked_to_end_the_server_finishes_what_is_under_way_and_asked_again_it_ends_at_once(
    again: bool, resolved: ResolvedRestore, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(serve.os, "_exit", codes.append)
    server, face = serve.make_server(serve.make_app(resolved)), png(20, 20)
    with running(server) as address, socket.create_connection(address, timeout=30) as connection:
        head = f"POST /restore HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(face)}\r\n\r\n"
        connection.sendall(head.encode() + face[:50])
        while not server.server_state.tasks:
            time.sleep(0.01)
        server.handle_exit(signal.SIGTERM, None)
        assert codes == []
        if again:
            server.handle_exit(signal.SIGTERM, None)
            assert codes == [143]
        time.sleep(0.3)  # the server has begun to end
        connection.sendall(face[50:])
        assert connection.recv(12) == b"HTTP/1.1 200"


@contextlib.contextmanager
def served(model: Path, **options: Any) -> Iterator[str]:
    """A page served by the command itself, which Ctrl-C then ends."""
    command = [*python("-m", "ufvnet.cli"), "serve", "--model", str(model), "--port", "0", "--device", "cpu"]
    env = environment() | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, **options)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def url(model: Path) -> Iterator[str]:
    with served(model) as found:
        yield found


@pytest.mark.kills
@pytest.mark.server
@pytest.mark.parametrize("form", ["Content-Length: 9999999999", "Transfer-Encoding: chunked"])
def test_the_command_cuts_an_upload_off_while_it_streams_and_logs_no_traceback(
    model: Path, tmp_path: Path, form: str
) -> None:
    log, part = tmp_path / "log", b"x" * 1_000_000
    chunk = b"%x\r\n%b\r\n" % (len(part), part) if "chunked" in form else part
    with log.open("w") as file, served(model, stderr=file) as url:
        place = urlsplit(url)
        assert place.hostname
        with socket.create_connection((place.hostname, place.port or 0), timeout=30) as connection:
            connection.sendall(f"POST /restore HTTP/1.1\r\nHost: {place.netloc}\r\n{form}\r\n\r\n".encode())
            sent = 0
            with contextlib.suppress(ConnectionError):
                while sent < 500:
                    connection.sendall(chunk)
                    sent += 1
        assert sent < 100  # of megabytes: 50 are allowed, the rest is what the sockets hold
        with socket.create_connection((place.hostname, place.port or 0), timeout=30) as connection:
            connection.sendall(b"POST /restore HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 999\r\n\r\nhalf")
        with socket.create_connection((place.hostname, place.port or 0), timeout=30) as connection:
            head = "POST /restore HTTP/1.1\r\nHost: {}\r\nOrigin: http://[\r\nContent-Length: 0\r\n\r\n"
            connection.sendall(head.format(place.netloc).encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
    assert "Traceback" not in log.read_text()
    assert "ERROR" not in log.read_text()


@pytest.mark.browser
@pytest.mark.kills
@pytest.mark.server
@pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no /usr/bin/chromium")
def test_the_page_restores_compares_downloads_and_tells_errors(url: str, tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    files = {
        "face.png": png(24, 24),
        "other.png": png(32, 32),
        "text.txt": b"no picture",
        "huge.png": declared(20_000, 10_000),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    errors: list[str] = []
    asked: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        slider, download, alert = page.get_by_label("Slide"), page.locator("#download"), page.get_by_role("alert")

        def choose(name: str, done: Callable[[], None]) -> None:
            page.set_input_files("#file", tmp_path / name)
            done()

        def restored(name: str) -> None:
            page.get_by_text(re.compile(f"Restored .*{name}\\.")).wait_for()
            assert slider.input_value() == "50"
            assert not alert.is_visible()

        choose("face.png", lambda: restored("face.png"))
        assert page.evaluate("document.documentElement.scrollWidth") == 390  # nothing sticks out of a phone
        assert page.locator("#size").inner_text() == "24×24 pixels"
        assert page.get_by_role("progressbar").count() == 3
        _slide_by_keyboard_and_mouse(page, slider)
        with page.expect_download() as started:
            download.click()
        assert started.value.suggested_filename == "face-restored.png"
        assert Image.open(started.value.path()).size == (128, 128)
        choose("face.png", lambda: restored("face.png"))
        slider.press("Home")
        choose("other.png", lambda: restored("other.png"))
        for kind, name in (("drop", "dropped.png"), ("paste", "pasted.png")):
            page.evaluate(_HAND_OVER, [kind, name, base64.b64encode(files["face.png"]).decode()])
            restored(name)
        assert errors == []

        for name, message in (("text.txt", "no picture of a kind"), ("huge.png", "over 24 megapixels")):
            choose(name, lambda message=message: alert.get_by_text(message).wait_for())
            assert not download.is_visible()
        _a_batch(page, tmp_path)
        browser.close()
    assert len(errors) == 3
    assert all("Failed to load resource" in e for e in errors)  # Chromium's own line on any 4xx
    assert all(a.startswith((url, "data:", "blob:")) for a in asked)


def _a_batch(page: Any, folder: Path) -> None:
    """Several pictures at once: a row each, and one archive of all that were restored."""
    page.get_by_role("button", name="Clear").click()
    (folder / "also").mkdir()
    (folder / "also" / "face.jpg").write_bytes(png(24, 24))
    page.set_input_files("#file", [folder / name for name in ("face.png", "text.txt", "other.png", "also/face.jpg")])
    page.get_by_text("Restored 3 of 4 pictures").wait_for()
    rows = page.locator("#list li")
    assert rows.count() == 4
    assert "no picture of a kind" in rows.nth(1).inner_text()
    rows.nth(2).get_by_role("button").click()
    assert page.locator("#size").inner_text() == "32×32 pixels"
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    with page.expect_download() as started:
        page.get_by_role("button", name="Download ZIP").click()
    with zipfile.ZipFile(started.value.path()) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["face-restored.png", "other-restored.png", "face-restored-2.png"]
        assert Image.open(archive.open("other-restored.png")).size == (128, 128)


def _slide_by_keyboard_and_mouse(page: Any, slider: Any) -> None:
    def shown() -> str:
        return page.evaluate("getComputedStyle(document.getElementById('before')).clipPath")

    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert slider.input_value() == "53"
    assert shown() == "inset(0px 47% 0px 0px)"
    page.keyboard.press("Home")
    assert shown() == "inset(0px 100% 0px 0px)"
    box = slider.bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + box["height"] / 2)
    assert 70 <= int(slider.input_value()) <= 80
    box = page.locator("#pair").bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 20)
    page.mouse.up()
    assert slider.input_value() == "25"


_HAND_OVER = """([kind, name, text]) => {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, {type: "image/png"}));
  const event = kind === "drop" ? new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true})
                                : new ClipboardEvent("paste", {clipboardData: data, bubbles: true});
  document.body.dispatchEvent(event);
}"""
"""Drops or pastes a file as a person would."""
