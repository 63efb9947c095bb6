"""``ufvnet serve``: a local web page that restores pictures and keeps none."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast, get_args

from ufvnet.errors import ConfigError
from ufvnet.extras import require
from ufvnet.files import printed
from ufvnet.restore.resolved import ResolvedRestore

from .admission import WORKERS, OwnNames, Refused, Workers, check_headers, read_upload
from .answer import MAX_PIXELS, Mode, error_reply, reply

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

MAX_BYTES = 50_000_000
UPLOAD_SECONDS = 60.0
WORK_SECONDS = 120.0
"""For waiting for a worker and for its work, together."""
CONNECTIONS, IDLE_SECONDS = 64, 5.0
"""Most connections at once, and how long one may stay open without a request."""
STALLED_SECONDS = 60.0
"""How long a client may read nothing of its answer. What it reads shows only when the system's own buffer has room."""
FINISH_SECONDS = 10.0
"""How long requests that are under way may go on when the server is asked to end."""
PAGE = Path(__file__).with_name("page.html")


def make_app(
    resolved: ResolvedRestore,
    own: OwnNames | None = None,
    max_bytes: int = MAX_BYTES,
    upload_seconds: float = UPLOAD_SECONDS,
    work_seconds: float = WORK_SECONDS,
) -> Starlette:
    """The page, and the address that it posts pictures to: ``/restore?mode=auto`` with the file as the body.

    Args:
        resolved: the model, and how pictures are restored; ``mode`` comes with each picture.
        own: the server's names; None: those of this machine alone.
        max_bytes: of an upload; a longer one is not read to its end.
        upload_seconds: within which an upload must be complete.
        work_seconds: as in ``Workers``.
    """
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.requests import ClientDisconnect
    from starlette.responses import HTMLResponse, Response
    from starlette.routing import Route

    own = own or OwnNames.of("127.0.0.1")
    page = _page(resolved, max_bytes)
    headers = _headers(page)
    workers = Workers(work_seconds)

    def as_json(status: int, body: bytes) -> Response:
        return Response(body, status, media_type="application/json")

    async def guard(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
        # Starlette's TrustedHostMiddleware knows neither addresses by number nor the status 421
        try:
            check_headers(request, own)
            response = await proceed(request)
        except Refused as refused:
            response = as_json(*error_reply(refused.status, refused.message))
        response.headers.update(headers)
        return response

    async def no_such_request(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = f"{error.detail}: GET / is the page, POST /restore takes a picture."
        response = as_json(*error_reply(error.status_code, message))
        response.headers.update(error.headers or {})
        return response

    async def index(request: Request) -> Response:
        return HTMLResponse(page)

    async def restore(request: Request) -> Response:
        mode = request.query_params.get("mode", "auto")
        try:
            if unknown := [*request.query_params.keys() - {"mode"}]:
                options = "other options are `ufvnet serve`'s"
                raise Refused(400, f"{printed(unknown[0][:20])}: the address takes mode alone; {options}.")
            if request.headers.get("content-type", "").startswith("multipart/"):
                raise Refused(415, "Send the file's bytes as they are, not as a form: curl --data-binary @face.png ...")
            if mode not in get_args(Mode):
                raise Refused(400, f"mode = {mode[:20]}: must be one of {', '.join(get_args(Mode))}.")
            status, body = await workers.work(
                lambda: read_upload(request, max_bytes, upload_seconds),
                lambda upload, deadline: reply(upload, cast(Mode, mode), resolved, deadline),
            )
            return as_json(status, body)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        except Refused as refused:
            response = as_json(*error_reply(refused.status, refused.message))
            response.headers["Connection"] = "close"  # the rest of the upload is not read
            return response

    routes = [Route("/", index), Route("/restore", restore, methods=["POST"])]
    return Starlette(
        routes=routes, middleware=[Middleware(BaseHTTPMiddleware, dispatch=guard)],
        exception_handlers={HTTPException: no_such_request},
    )  # fmt: skip


def _page(resolved: ResolvedRestore, max_bytes: int) -> str:
    from jinja2 import Template

    page = Template(PAGE.read_text(encoding="utf-8"), autoescape=True, keep_trailing_newline=True)
    return page.render(
        hr_size=resolved.hr_size, max_bytes=max_bytes, megabytes=f"{max_bytes / 1e6:g}",
        megapixels=f"{MAX_PIXELS / 1e6:g}", fingerprint=resolved.restorer.fingerprint[:12],
        finder=resolved.config.finder, at_once=WORKERS,
    )  # fmt: skip


def _headers(page: str) -> dict[str, str]:
    """Headers under which only the page's own script and style run, and nothing is loaded, framed or kept."""
    hashes = {}
    for tag in ("script", "style"):
        text = re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert text is not None
        hashes[tag] = base64.b64encode(hashlib.sha256(text[1].encode()).digest()).decode()
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; script-src 'sha256-{hashes['script']}'; style-src 'sha256-{hashes['style']}'; "
            "img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


def run(resolved: ResolvedRestore, host: str, port: int, allowed: Sequence[str] = ()) -> NoReturn:
    """Serve until Ctrl-C or SIGTERM; prints the page's URL as soon as it can be opened.

    The process ends here: with 0, or with 128 + the signal if requests under way were not finished.

    Args:
        resolved: as ``make_app``.
        host: the address to listen on.
        port: 0 picks a free one.
        allowed: further names by which the server may be asked for.

    Raises:
        ConfigError: the extra ``serve`` is not installed, or the address cannot be listened on.
    """
    require("serve", "serve")
    listener = _listen(host, port)
    port = listener.getsockname()[1]
    print(f"http://{f'[{host}]' if ':' in host else host}:{port}/  (Ctrl-C ends it)", flush=True)
    make_server(make_app(resolved, OwnNames.of(host, allowed))).run(sockets=[listener])
    os._exit(0)  # a picture that nobody waits for any more may still be in work


def make_server(
    app: Starlette, idle_seconds: float = IDLE_SECONDS, stalled_seconds: float = STALLED_SECONDS
) -> uvicorn.Server:
    """A server that ends connections which would keep all others out, CONNECTIONS of them.

    uvicorn's own limit counts only after a first request, and not while an answer is being sent.

    Args:
        app: answers.
        idle_seconds: after which a connection is closed on which no request is being answered.
        stalled_seconds: after which one is ended whose client reads nothing of its answer.
    """
    import uvicorn

    idle_since: dict[Any, float] = {}
    unsent: dict[Any, tuple[int, float]] = {}
    """By connection: the bytes that wait to be sent, and since when they have not become fewer."""

    class Server(uvicorn.Server):
        def handle_exit(self, number: int, _: Any) -> None:
            if self.should_exit:
                os._exit(128 + number)
            self.should_exit = True
            end = threading.Timer(FINISH_SECONDS, os._exit, [128 + number])
            end.daemon = True
            end.start()

        async def on_tick(self, counter: int) -> bool:
            nonlocal idle_since, unsent
            now, connections = time.monotonic(), [*cast(Any, self.server_state.connections)]
            idle = [c for c in connections if c.cycle is None or c.cycle.response_complete]
            idle_since = {connection: idle_since.get(connection, now) for connection in idle}
            for connection, since in idle_since.items():
                if now - since > idle_seconds:
                    connection.transport.close()  # when all is sent
            before, unsent = unsent, {}
            for connection in connections:
                size = connection.transport.get_write_buffer_size()
                least, since = before.get(connection, (0, now))
                unsent[connection] = (size, since if 0 < least <= size else now)
                if now - unsent[connection][1] > stalled_seconds:
                    connection.transport.abort()
            return await super().on_tick(counter)

    return Server(
        uvicorn.Config(
            app, http="h11", ws="none", log_level="warning", access_log=False, server_header=False,
            limit_concurrency=CONNECTIONS, timeout_keep_alive=int(IDLE_SECONDS),
        )
    )  # fmt: skip


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        if os.name != "nt":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        hint = "; --port 0 picks a free one" if port else ""
        raise ConfigError(f"host = {host}, port = {port}: cannot be listened on ({error.strerror}){hint}") from error
    return listener
