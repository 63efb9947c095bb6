"""``ufvnet serve``: a local web page that restores one picture at a time and keeps none."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import os
import re
import socket
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from PIL import Image

from ufvnet.errors import ConfigError
from ufvnet.files import printed
from ufvnet.imaging.decode import ImageProblem, NotAnImage, OtherFormat
from ufvnet.imaging.resize import resize
from ufvnet.imaging.rgb import read_image
from ufvnet.restore.restorer import Restorer

from .admission import Refused, Workers, check_headers, read_upload

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

Mode = Literal["aligned", "photo"]
MODES = ("aligned", "photo")
MAX_BYTES = 50_000_000
MAX_PIXELS = 24_000_000
"""What a camera takes. A file of 200 kB may declare any size, and each copy of 24 megapixels takes 72 MB;
``ufvnet restore`` takes larger ones."""
LEAST_SIDE = 4
LARGEST_SIDE = 2048
"""A photo is enlarged up to this, and at most four times; what is only shown beside it is reduced to this."""

UPLOAD_SECONDS = 60.0
WORK_SECONDS = 120.0
"""Of waiting for a worker and of its work, together."""

PAGE = Path(__file__).with_name("page.html")
STATUSES = {"not_a_picture": 415, "too_large": 413}
"""HTTP status by a picture's; all others are 422."""

_detector = threading.Lock()
"""dlib's detector keeps state between calls: one thread at a time."""


@dataclass(frozen=True)
class RestoredPicture:
    """A restored picture.

    before: what came in, RGB. after: the same restored, RGB, of any size. rate: of the face, where there is one.
    weights: of the anchors, or None. notes: sentences on what was done on the way.
    """

    before: Image.Image
    after: Image.Image
    rate: float | None
    weights: tuple[float, ...] | None
    notes: tuple[str, ...] = ()


def restore_picture(image: Image.Image, mode: Mode, restorer: Restorer) -> RestoredPicture:
    """Restore an upright RGB picture.

    Args:
        mode: ``aligned``: the picture is a face crop; ``photo``: its small faces are found, restored and pasted back.

    Raises:
        ImageProblem: no face (``no_face``), or one that is ``too_small`` or ``not_smaller`` than the output.
    """
    if mode == "photo":
        return _restore_photo(image, restorer)
    size, output = f"{image.width}×{image.height} pixels", f"{restorer.hr_size}×{restorer.hr_size}"
    if min(image.size) < LEAST_SIDE:
        raise ImageProblem("too_small", f"The picture is {size}: no face shows in fewer than {LEAST_SIDE}.")
    if min(image.size) >= restorer.hr_size:
        reason = f"The face is {size}, the model's output {output}: nothing to restore."
        raise ImageProblem("not_smaller", f"{reason} To search it for a small face, choose “photo”.")
    notes = () if image.width == image.height else (f"The face is not square ({size}): it was stretched.",)
    restored = restorer.batch([image])[0]
    return RestoredPicture(image, restored.image, restored.rate, restored.weights, notes)


def _restore_photo(image: Image.Image, restorer: Restorer) -> RestoredPicture:
    """The photo enlarged, so that restored detail shows, with its small faces restored in it."""
    scale = max(1.0, min(4.0, LARGEST_SIDE / max(image.size)))
    with _detector:
        found = restorer.photo(image, scale=scale)
    count = f"{len(found.boxes)} face{'s' * (len(found.boxes) != 1)} found"
    if not found.boxes:
        raise ImageProblem("no_face", "No face was found. If the picture is a face crop, choose “face crop”.")
    restored = [(box, face) for box, face in zip(found.boxes, found.faces) if face is not None]
    if not restored:
        raise ImageProblem("not_smaller", f"{count}, none smaller than {restorer.hr_size} pixels: nothing to restore.")
    box, largest = max(restored, key=lambda pair: pair[0][2] - pair[0][0])
    which = "It" if len(restored) == 1 else "The largest of them, whose rate and weights stand here,"
    notes = (f"{count}, {len(restored)} restored. {which} is {box[2] - box[0]}×{box[3] - box[1]} pixels of the photo.",)
    return RestoredPicture(image, found.image.convert("RGB"), largest.rate, largest.weights, notes)


def answer(upload: bytes, mode: Mode, restorer: Restorer) -> dict[str, Any]:
    """What the page shows of an upload.

    Raises:
        ImageProblem: the upload is no picture that can be used.
    """
    try:
        read = read_image(upload, MAX_PIXELS)
    except ImageProblem as problem:
        if problem.status == "too_large":
            raise ImageProblem("too_large", f"The picture has over {MAX_PIXELS / 1e6:g} megapixels.") from problem
        if isinstance(problem, NotAnImage):
            known = f" ({problem.reason})" if isinstance(problem, OtherFormat) else ""
            said = f"The file is no picture of a kind that is known here{known}."
            raise ImageProblem("not_a_picture", said) from problem
        raise ImageProblem("unreadable", f"The picture is damaged: {problem.reason}.") from problem
    profile = read.rgb.info.get("icc_profile")
    read.rgb.info = (
        {"icc_profile": profile} if isinstance(profile, bytes) else {}
    )  # no other extra is needed or trusted
    picture = restore_picture(read.rgb, mode, restorer)
    anchors = getattr(restorer.network, "anchors", ())
    return {
        "width": read.rgb.width,
        "height": read.rgb.height,
        "notes": [*picture.notes, *(f"{note[0].upper()}{note[1:]}." for note in read.notes)],
        "rate": picture.rate,
        "weights": list(picture.weights or ()),
        "anchors": [round(rate * restorer.hr_size) for rate in anchors],
        "input": _png(_shown(picture.before, picture.before.size)),
        "before": _png(_shown(picture.before, picture.after.size)),
        "after": _png(picture.after),
    }


def _shown(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture resized, but not beyond what a page can show."""
    scale = min(1.0, LARGEST_SIDE / max(size))
    wanted = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    return image if wanted == image.size else resize(image, *wanted)


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def reply(upload: bytes, mode: Mode, restorer: Restorer) -> tuple[int, bytes]:
    """HTTP status and JSON: what ``answer`` gives, or ``error``, a sentence. Raises nothing."""
    try:
        return 200, json.dumps(answer(upload, mode, restorer)).encode()
    except ImageProblem as problem:
        return _error(STATUSES.get(problem.status, 422), problem.reason)
    except (ArithmeticError, RuntimeError, MemoryError) as error:  # out of memory and the like
        return _error(500, f"The model failed: {error or type(error).__name__}")
    except Exception as error:  # decoders of broken files raise nearly anything
        return _error(500, f"The picture cannot be restored ({type(error).__name__}: {error}).")


def _error(status: int, message: str) -> tuple[int, bytes]:
    return status, json.dumps({"error": printed(message)}).encode()


def make_app(
    restorer: Restorer,
    host: str = "127.0.0.1",
    max_bytes: int = MAX_BYTES,
    upload_seconds: float = UPLOAD_SECONDS,
    work_seconds: float = WORK_SECONDS,
) -> Starlette:
    """The page and the one address that it posts pictures to: ``/restore?mode=aligned``, the file as the body.

    Args:
        host: the address that the server listens on; requests to other names are refused (DNS rebinding).
        max_bytes: of an upload; reading a longer one stops there.
        upload_seconds: within which an upload must be there.
        work_seconds: as in Workers.
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.requests import ClientDisconnect
    from starlette.responses import HTMLResponse, Response
    from starlette.routing import Route

    page = _page(restorer, max_bytes)
    headers = _headers(page)
    workers = Workers(work_seconds)

    def as_json(status: int, body: bytes) -> Response:
        return Response(body, status, media_type="application/json")

    async def guard(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
        try:
            check_headers(request, host)
            found = await proceed(request)
        except Refused as refused:
            found = as_json(*_error(refused.status, refused.message))
        found.headers.update(headers)
        return found

    async def index(request: Request) -> Response:
        return HTMLResponse(page)

    async def restore(request: Request) -> Response:
        mode = request.query_params.get("mode", "aligned")
        try:
            if mode not in MODES:
                raise Refused(400, f"mode = {mode[:20]}: must be one of {', '.join(MODES)}.")
            found = await workers.work(
                lambda: read_upload(request, max_bytes, upload_seconds),
                lambda upload: reply(upload, cast(Mode, mode), restorer),
            )
            return as_json(*found)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        except Refused as refused:
            answered = as_json(*_error(refused.status, refused.message))
            answered.headers["Connection"] = "close"  # what is left of the upload is not read
            return answered

    routes = [Route("/", index), Route("/restore", restore, methods=["POST"])]
    return Starlette(routes=routes, middleware=[Middleware(BaseHTTPMiddleware, dispatch=guard)])


def _page(restorer: Restorer, max_bytes: int) -> str:
    values = {"HR_SIZE": restorer.hr_size, "MAX_BYTES": max_bytes, "MEGABYTES": f"{max_bytes / 1e6:g}",
              "MEGAPIXELS": f"{MAX_PIXELS / 1e6:g}", "FINGERPRINT": restorer.fingerprint[:12]}  # fmt: skip
    page = PAGE.read_text(encoding="utf-8")
    for key, value in values.items():
        page = page.replace(f"__{key}__", html.escape(str(value)))
    return page


def _headers(page: str) -> dict[str, str]:
    """Only the page's own script and style run, and nothing is loaded, framed or kept."""
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


def run(restorer: Restorer, host: str, port: int) -> None:
    """Serve until Ctrl-C; prints the page's URL when it is there.

    Raises:
        ConfigError: uvicorn is not installed, or the address cannot be listened on.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise ConfigError('serve: uvicorn is not installed; pip install "ufvnet[serve]" brings it') from error

    class Server(uvicorn.Server):
        def handle_exit(self, *_: Any) -> None:
            os._exit(0)  # at once: nothing is stored, and a picture in work would be waited for

    listening = _listen(host, port)
    found = listening.getsockname()[1]
    print(f"http://{f'[{host}]' if ':' in host else host}:{found}/  (Ctrl-C ends it)", flush=True)
    config = uvicorn.Config(
        make_app(restorer, host), log_level="warning", access_log=False, server_header=False, limit_concurrency=64,
        timeout_keep_alive=5,
    )  # fmt: skip
    Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
        if os.name != "nt":
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(128)
    except OSError as error:
        hint = "; --port 0 picks a free one" if port else ""
        raise ConfigError(f"host = {host}, port = {port}: cannot be listened on ({error.strerror}){hint}") from error
    return found
