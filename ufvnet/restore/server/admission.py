"""Requests that ``ufvnet serve`` accepts: of its own page only, few at once, none for long, none too large."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.requests import Request

WORKERS = 2
"""Pictures in work at once; the network itself uses every core."""
WAITING = 4
"""Number of further requests that are accepted; each may hold an upload in memory."""


class Refused(Exception):
    """A request that is not worked on: HTTP status and a sentence."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status, self.message = status, message


class Workers:
    """A few threads with a limited number of seats.

    What runs in a thread cannot be ended, so it keeps its seat until it is done.

    Args:
        seconds: within which a picture must be restored once its upload is complete.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._seats = threading.BoundedSemaphore(WORKERS + WAITING)
        self._threads = ThreadPoolExecutor(WORKERS, "restore")

    async def work(
        self, upload: Callable[[], Awaitable[bytes]], restore: Callable[[bytes], tuple[int, bytes]]
    ) -> tuple[int, bytes]:
        """Read an upload if there is a seat, and restore it.

        Args:
            upload: reads it.
            restore: returns an HTTP status and a body.

        Raises:
            Refused: there is no seat, or it takes too long; or what ``upload`` raises.
        """
        if not self._seats.acquire(blocking=False):
            raise Refused(503, "Too many pictures are in work; try again in a minute.")
        try:
            job = self._threads.submit(restore, await upload())
        except BaseException:
            self._seats.release()
            raise
        job.add_done_callback(lambda _: self._seats.release())
        try:
            return await asyncio.wait_for(asyncio.wrap_future(job), self.seconds)
        except TimeoutError:
            if job.cancelled():
                raise Refused(503, "The pictures before this one take too long; try again in a minute.") from None
            raise Refused(504, f"The picture took over {self.seconds:g} seconds; try a smaller one.") from None


async def read_upload(request: Request, max_bytes: int, seconds: float) -> bytes:
    """The body of a request.

    Args:
        request: the request.
        max_bytes: that the body may have.
        seconds: within which it must be complete.

    Raises:
        Refused: as soon as it is too long or too late, or if it ends empty.
    """
    too_long = Refused(413, f"The file is over {max_bytes / 1e6:g} MB.")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > max_bytes:
        raise too_long
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                body += part
                if len(body) > max_bytes:
                    raise too_long
    except TimeoutError:
        raise Refused(408, f"The upload took over {seconds:g} seconds.") from None
    if not body:
        raise Refused(400, "The file is empty.")
    return bytes(body)


def check_headers(request: Request, host: str) -> None:
    """See that a request is meant for this server and comes from its own page.

    Raises:
        Refused: it is meant for another server, or comes from another server's page.
    """
    asked_for, origin = request.headers.get("host", ""), request.headers.get("origin")
    if not _is_own_name(asked_for, host):
        raise Refused(421, "The request was meant for another host.")
    if origin is None:
        return  # browsers name the page that a request comes from; programs need not
    try:
        origin_host = urlsplit(origin).netloc
    except ValueError:
        raise Refused(400, "The request's Origin is malformed.") from None
    if origin_host != asked_for:
        raise Refused(403, "The request comes from another page.")


def _is_own_name(header: str, host: str) -> bool:
    """True if a Host header names this server: by the name that it listens on or this machine's own names; by any
    address in numbers if it listens on all addresses."""
    try:
        name = (urlsplit(f"//{header}").hostname or "").lower()
    except ValueError:
        return False
    if name in {host.lower(), "localhost", "127.0.0.1", "::1"}:
        return True
    if host not in ("0.0.0.0", "::"):
        return False
    if name == socket.gethostname().lower():
        return True
    try:
        return bool(ipaddress.ip_address(name))  # a number cannot be rebound to another address
    except ValueError:
        return False
