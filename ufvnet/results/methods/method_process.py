"""The script of a process in which one Python method runs: whatever it does to its process, no other row sees it.

It imports nothing heavy of ufvnet, and speaks with ``own_process`` over what it has for standard input and output.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import json
import os
import queue
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from ufvnet.children import when_parent_ends

FAILURES = (Exception, SystemExit)
"""What a method may do without ending more than itself; Ctrl-C is not its own."""
PATIENCE = 5
"""Seconds for the process to end by itself."""
HEADER = struct.Struct("<IQ")


def send(stream: IO[bytes], message: dict[str, Any], body: bytes = b"") -> None:
    """A JSON message and bytes that go with it."""
    text = json.dumps(message).encode()
    stream.write(HEADER.pack(len(text), len(body)) + text + body)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """
    Raises:
        EOFError: the other side has ended.
    """
    lengths = HEADER.unpack(_exactly(stream, HEADER.size))
    text, body = (_exactly(stream, length) for length in lengths)
    return json.loads(text), body


def _exactly(stream: IO[bytes], length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data


def main() -> None:
    """Import the method, say which files it is made of, then answer calls until the other side ends."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    try:
        os.dup2(2, 1)  # what the method prints must not stand among the answers
    except OSError:  # there is no standard error
        os.dup2(nothing, 1)
    calls = _calls(requests)
    hello, _ = next(calls, ({}, b""))
    if not hello:  # the other side has ended already
        return
    sys.path[:] = hello["path"]
    try:
        function = _function(hello["name"])
        files = sorted({str(file.resolve()) for file in _files(hello["name"], function) if file.is_file()})
    except FAILURES as error:  # whatever the user's file does when it is imported
        return send(answers, {"error": f"cannot be imported ({_told(error)})"})
    if not callable(function):
        return send(answers, {"error": f"is {type(function).__name__}; it must be a function"})
    send(answers, {"files": files})
    own = os.getpid()
    with contextlib.suppress(KeyboardInterrupt):
        for call in calls:
            answer = _answer(function, *call)
            if os.getpid() != own:
                os._exit(0)  # a fork that the method left to itself: two that answer would be mixed up
            send(answers, *answer)


def _calls(requests: IO[bytes]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Messages until the other side ends.

    A thread reads them: a method that is at work when the other side is killed has PATIENCE to finish.
    """
    messages: queue.SimpleQueue[tuple[dict[str, Any], bytes] | None] = queue.SimpleQueue()

    def read() -> bool:
        try:
            messages.put(receive(requests))
        except EOFError:
            return False
        return True

    def end() -> None:
        messages.put(None)
        time.sleep(PATIENCE)
        os._exit(1)

    when_parent_ends(end, read)
    while (message := messages.get()) is not None:
        yield message


def _answer(function: Any, call: dict[str, Any], pixels: bytes) -> tuple[dict[str, Any], bytes]:
    import numpy as np

    lr = np.frombuffer(pixels, np.uint8).reshape(call["shape"]).copy()  # a method may work in place
    try:
        sr, side = function(lr, call["side"]), call["side"]
        expected = (call["shape"][0], side, side, 3)
        if not isinstance(sr, np.ndarray) or sr.shape != expected:
            return {
                "error": f"gave {getattr(sr, 'shape', type(sr).__name__)} instead of {expected}",
                "errno": None,
            }, b""
        if sr.dtype != np.uint8:
            return {"error": f"gave {sr.dtype} instead of uint8", "errno": None}, b""
        return {}, np.ascontiguousarray(sr).tobytes()
    except FAILURES as error:
        number = getattr(error, "errno", None)
        return _failed(_told(error), number if isinstance(error, OSError) and isinstance(number, int) else None)


def _failed(reason: str, number: int | None = None) -> tuple[dict[str, Any], bytes]:
    return {"error": reason, "errno": number}, b""


def _told(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # an exception of the method's whose text fails in its turn
        return type(error).__name__


def _function(name: str) -> Any:
    """``module:function`` or ``path/to/file.py:function``."""
    where, _, function = name.rpartition(":")
    return getattr(_module(Path(where)) if where.endswith(".py") else importlib.import_module(where), function)


def _module(file: Path) -> ModuleType:
    """A file as a module of a name that no other has; its folder comes last on the path, where it hides nothing."""
    file = file.resolve()
    name = f"ufvnet_method_{hashlib.sha256(os.fsencode(file)).hexdigest()[:12]}_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec
    assert spec.loader
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _files(name: str, function: Any) -> Iterator[Path]:
    """The files whose change makes a Python method another: where it is named, and where its code is.

    What they import is not among them.
    """
    where, found = name.rpartition(":")[0], inspect.unwrap(function)
    named = where if where.endswith(".py") else getattr(sys.modules[where], "__file__", None)
    if named:
        yield Path(named)
    while isinstance(found, functools.partial):
        found = inspect.unwrap(found.func)
    for of in (found, type(found)):  # a function, or an object that can be called
        with contextlib.suppress(TypeError):
            yield Path(inspect.getfile(of))
            return


if __name__ == "__main__":
    main()
