"""Script of the process in which one Python method runs, so that no other method sees what it does to its process.

It imports nothing heavy of ufvnet, and talks to ``own_process`` over its standard input and output.
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
"""What a method may raise without ending more than itself; Ctrl-C is meant for the whole run."""
PATIENCE = 5
"""Seconds for the process to end by itself."""
HEADER = struct.Struct("<IQ")


def send(stream: IO[bytes], message: dict[str, Any], body: bytes = b"") -> None:
    """Write a JSON message and the bytes that go with it."""
    text = json.dumps(message).encode()
    stream.write(HEADER.pack(len(text), len(body)) + text + body)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """Read a JSON message and the bytes that go with it.

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
    """Import the method, report which files it is made of, then answer calls until the other side ends."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    try:
        os.dup2(2, 1)  # what the method prints must not mix with the answers
    except OSError:  # there is no standard error
        os.dup2(null, 1)
    calls = _calls(requests)
    hello, _ = next(calls, ({}, b""))
    if not hello:  # the other side has ended already
        return
    sys.path[:] = hello["path"]
    try:
        function = _function(hello["name"])
        files = sorted({str(file.resolve()) for file in _files(hello["name"], function) if file.is_file()})
    except FAILURES as error:  # importing the user's file may do anything
        return send(answers, {"error": f"cannot be imported ({_describe(error)})"})
    if not callable(function):
        return send(answers, {"error": f"is {type(function).__name__}; it must be a function"})
    send(answers, {"files": files})
    process_id = os.getpid()
    with contextlib.suppress(KeyboardInterrupt):
        for call in calls:
            answer = _answer(function, *call)
            if os.getpid() != process_id:
                os._exit(0)  # the method forked and went on: two processes must not answer one call
            send(answers, *answer)


def _calls(requests: IO[bytes]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Messages until the other side ends.

    A thread reads them, so that a method at work when the other side is killed has PATIENCE seconds to finish.
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
            return _failed(f"gave {getattr(sr, 'shape', type(sr).__name__)} instead of {expected}")
        if sr.dtype != np.uint8:
            return _failed(f"gave {sr.dtype} instead of uint8")
        return {}, np.ascontiguousarray(sr).tobytes()
    except FAILURES as error:
        number = getattr(error, "errno", None)
        return _failed(_describe(error), number if isinstance(error, OSError) and isinstance(number, int) else None)


def _failed(reason: str, number: int | None = None) -> tuple[dict[str, Any], bytes]:
    return {"error": reason, "errno": number}, b""


def _describe(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # making the exception's text may fail too
        return type(error).__name__


def _function(name: str) -> Any:
    """``module:function`` or ``path/to/file.py:function``."""
    source, _, function = name.rpartition(":")
    return getattr(_module(Path(source)) if source.endswith(".py") else importlib.import_module(source), function)


def _module(file: Path) -> ModuleType:
    """A file as a module with a unique name; its folder comes last on the import path, where it hides no module."""
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
    """The files that make a Python method what it is: the one that is named, and the one that holds its code.

    Modules that they import are not among them.
    """
    source, code = name.rpartition(":")[0], inspect.unwrap(function)
    named = source if source.endswith(".py") else getattr(sys.modules[source], "__file__", None)
    if named:
        yield Path(named)
    while isinstance(code, functools.partial):
        code = inspect.unwrap(code.func)
    for candidate in (code, type(code)):  # a function, or an object that can be called
        with contextlib.suppress(TypeError):
            yield Path(inspect.getfile(candidate))
            return


if __name__ == "__main__":
    main()
