"""Python methods, each in a process of its own: what it does to its process changes no other row's numbers."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from ufvnet.children import environment, python
from ufvnet.errors import ConfigError
from ufvnet.files import printed, sha256

from . import method_process

MOST = 2
"""Processes that stay for the next call; an evaluation's tasks come method by method."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class MethodError(Exception):
    """A method failed, or gave something that is no SR image; the message says why."""


class MethodDied(Exception):
    """A method ended its process; the message says how."""


class PythonMethod:
    """``module:function`` or ``file.py:function`` in a process that ends with this object.

    files: those whose change makes it another method, with their sha256.

    Raises:
        ConfigError: there is no such thing, it cannot be imported, or it cannot be called.
    """

    def __init__(self, name: str):
        where = name.rpartition(":")[0]
        if where.endswith(".py") and not Path(where).is_file():  # a pipe would be waited for
            raise ConfigError(f"models: {printed(name)}: cannot be imported ({printed(where)} is not there)")
        self.lock = threading.Lock()
        self.process = subprocess.Popen(
            python("-m", method_process.__name__), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
        )
        self.close = weakref.finalize(self, _end, self.process)
        try:
            answer, _ = self._ask({"name": name, "path": _import_path()})
        except MethodDied as error:
            raise ConfigError(f"models: {printed(name)}: cannot be imported ({error})") from error
        if "error" in answer:
            self.close()
            raise ConfigError(" ".join(printed(f"models: {name}: {answer['error']}").split()))
        self.files = {Path(file): sha256(Path(file)) for file in answer["files"]}

    def __call__(self, lr: np.ndarray, side: int) -> np.ndarray:
        """(N, h, w, 3) uint8 LR images and the HR size -> (N, H, H, 3) uint8.

        Raises:
            MethodError: it failed, or gave no such thing.
            MethodDied: it ended its process.
            OSError: the disk is full.
        """
        with self.lock:
            answer, pixels = self._ask({"shape": lr.shape, "side": side}, np.ascontiguousarray(lr).tobytes())
        if "error" not in answer:
            return np.frombuffer(pixels, np.uint8).reshape(len(lr), side, side, 3)
        if answer["errno"] in DISK_FULL:
            raise OSError(answer["errno"], printed(answer["error"]))
        raise MethodError(answer["error"])

    def unchanged(self) -> bool:
        """Whether its process lives, and its files are those that it imported."""
        return self.process.poll() is None and all(sha256(file) == digest for file, digest in self.files.items())

    def _ask(self, message: dict[str, Any], body: bytes = b"") -> tuple[dict[str, Any], bytes]:
        assert self.process.stdin
        assert self.process.stdout
        try:
            method_process.send(self.process.stdin, message, body)
            return method_process.receive(self.process.stdout)
        except (OSError, EOFError, ValueError) as error:  # ValueError: what it wrote to our stream is no message
            self.close()
            code = self.process.returncode
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise MethodDied(f"it ended its process with {how}") from error


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let a process end; kill it where it does not."""
    for stream in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            if stream:
                stream.close()
    try:
        process.wait(method_process.PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _import_path() -> list[str]:
    """Modules are looked for where this process looks for them, but never in the working directory."""
    return [path for path in sys.path if os.path.isabs(path)]


Key = tuple[str, ...]

_open: dict[Key, PythonMethod] = {}
_known: dict[Key, dict[Path, str | None]] = {}
"""Files of methods that were imported once, so that they are not imported again to be asked for them."""


def opened(name: str) -> PythonMethod:
    """The process of a method, kept for the next call; a new one where its files have changed.

    Raises:
        ConfigError: as ``PythonMethod``.
    """
    key = _key(name)
    method = _open.pop(key, None)
    if method is not None and not method.unchanged():
        method = None
    method = method or PythonMethod(name)
    _open[key], _known[key] = method, method.files  # the last of the dict was used last
    while len(_open) > MOST:
        _open.pop(next(iter(_open)))  # it ends when the last call has ended
    return method


def _key(name: str) -> Key:
    """What decides which method a name is of."""
    return (name, str(Path(name.rpartition(":")[0]).absolute()), *_import_path())


def files_of(name: str) -> dict[Path, str | None]:
    """The files whose change makes a Python method another, with their sha256.

    Raises:
        ConfigError: as ``PythonMethod``.
    """
    known = _known.get(_key(name))
    if known and all(sha256(file) == digest for file, digest in known.items()):
        return known
    return opened(name).files
