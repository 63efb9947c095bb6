"""Requests that ``ufvnet serve`` accepts: of its own page only, few at once, none for long, none too large."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.requests import Request

WORKERS = 2
"""Pictures in work at once; the network itself uses every core."""
WAITING = 4
"""Number of further pictures that wait for a worker; each holds its upload in memory."""
UPLOADS = 16
"""Uploads that are read at once: slow ones must keep no worker's seat."""


class Refused(Exception):
    """A request that is not worked on: HTTP status and a sentence."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status, self.message = status, message


class Workers:
    """A few threads with a limited number of seats, and a limited number of uploads that are read.

    What runs in a thread cannot be ended from outside, so it keeps its seat until it is done.

    Args:
        seconds: within which a picture must be restored once its upload is complete.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._uploads = threading.BoundedSemaphore(UPLOADS)
        self._seats = threading.BoundedSemaphore(WORKERS + WAITING)
        self._threads = ThreadPoolExecutor(WORKERS, "restore")

    async def work(
        self, upload: Callable[[], Awaitable[bytes]], restore: Callable[[bytes, float], tuple[int, bytes]]
    ) -> tuple[int, bytes]:
        """Read an upload, and restore it if there is a seat.

        Args:
            upload: reads it.
            restore: receives it, and the ``time.monotonic()`` at which nobody waits for it any more; returns an HTTP
                status and a body.

        Raises:
            Refused: there are too many uploads, there is no seat, or it takes too long; or what ``upload`` raises.
        """
        _take(self._seats, "in work")
        self._seats.release()  # an upload in vain is spared, but a slow one must not hold a seat
        _take(self._uploads, "being uploaded")
        try:
            content = await upload()
        finally:
            self._uploads.release()
        _take(self._seats, "in work")
        job = self._threads.submit(restore, content, time.monotonic() + self.seconds)
        job.add_done_callback(lambda _: self._seats.release())
        try:
            return await asyncio.wait_for(asyncio.wrap_future(job), self.seconds)
        except TimeoutError:
            if job.cancelled():
                raise Refused(503, "The pictures before this one take too long; try again in a minute.") from None
            raise Refused(504, f"The picture took over {self.seconds:g} seconds; try a smaller one.") from None


def _take(places: threading.BoundedSemaphore, doing: str) -> None:
    """
    Raises:
        Refused: no place is free.
    """
    if not places.acquire(blocking=False):
        raise Refused(503, f"Too many pictures are {doing}; try again in a minute.")


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


@dataclass(frozen=True)
class OwnNames:
    """The names by which a server may be asked for; others are refused (DNS rebinding).

    names: in lower case.
    any_number: any address in numbers is one too, as it cannot be rebound to another address.
    """

    names: frozenset[str]
    any_number: bool

    @classmethod
    def of(cls, host: str, allowed: Sequence[str] = ()) -> OwnNames:
        """The names of a server.

        Args:
            host: that it listens on. If that is no loopback address, the machine's own names count; if it is all
                addresses, any number does.
            allowed: further names.
        """
        machine = () if _is_loopback(host) else (socket.gethostname(), socket.getfqdn())
        names = {host, "localhost", "127.0.0.1", "::1", *machine, *allowed}
        return cls(frozenset(name.lower() for name in names), host in ("0.0.0.0", "::"))

    def has(self, header: str) -> bool:
        """True if a Host header has one of the names."""
        try:
            name = (urlsplit(f"//{header}").hostname or "").lower()
        except ValueError:
            return False
        return name in self.names or (self.any_number and _address(name) is not None)


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def check_headers(request: Request, own: OwnNames) -> None:
    """See that a request is meant for this server and comes from its own page.

    Raises:
        Refused: it is meant for another server, or comes from another server's page.
    """
    asked_for, origin = request.headers.get("host", ""), request.headers.get("origin")
    if not own.has(asked_for):
        hint = "`ufvnet serve --allowed-host NAME` allows a further name."
        raise Refused(421, f"The request was meant for another host. {hint}")
    if origin is None:
        return  # browsers name the page that a request comes from; programs need not
    try:
        origin_host = urlsplit(origin).netloc
    except ValueError:
        raise Refused(400, "The request's Origin is malformed.") from None
    if origin_host != asked_for:
        raise Refused(403, "The request comes from another page.")
