"""Python methods, each in a process of its own, so that what one does to its process changes no other's numbers."""

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

MOST_PROCESSES = 2
"""Processes kept for the next call; an evaluation's tasks come method by method."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class MethodError(Exception):
    """A method failed, or what it gave is no SR image; the message says why."""


class MethodDied(Exception):
    """A method ended its process; the message says how."""


class PythonMethod:
    """``module:function`` or ``file.py:function``, in a process that ends with this object.

    files: the files that make the method what it is, with their sha256.

    Raises:
        ConfigError: there is no such function, it cannot be imported, or it is no function.
    """

    def __init__(self, name: str):
        where = name.rpartition(":")[0]
        if where.endswith(".py") and not Path(where).is_file():  # opening a pipe would block
            raise ConfigError(f"models: {printed(name)}: cannot be imported ({printed(where)} is not there)")
        self.lock = threading.Lock()
        self.process = subprocess.Popen(
            python("-m", method_process.__name__), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
        )
        self.close = weakref.finalize(self, _end_process, self.process)
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
            MethodError: it failed, or gave something else.
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
        """True if its process lives and its files are those that it imported."""
        return self.process.poll() is None and all(sha256(file) == digest for file, digest in self.files.items())

    def _ask(self, message: dict[str, Any], body: bytes = b"") -> tuple[dict[str, Any], bytes]:
        assert self.process.stdin
        assert self.process.stdout
        try:
            method_process.send(self.process.stdin, message, body)
            return method_process.receive(self.process.stdout)
        except (
            OSError,
            EOFError,
            ValueError,
        ) as error:  # ValueError: the method wrote to our stream
            self.close()
            code = self.process.returncode
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise MethodDied(f"it ended its process with {how}") from error


def _end_process(process: subprocess.Popen[bytes]) -> None:
    """Let a process end by itself; kill it if it does not."""
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
    """This process's import path without the working directory."""
    return [path for path in sys.path if os.path.isabs(path)]


Key = tuple[str, ...]

_open: dict[Key, PythonMethod] = {}
"""Running processes, the one used last at the end."""
_files: dict[Key, dict[Path, str | None]] = {}
"""Files of methods that were imported before, so that asking for them starts no process."""


def open_method(name: str) -> PythonMethod:
    """The process of a method, kept for the next call; a new one if its files have changed.

    Raises:
        ConfigError: as ``PythonMethod``.
    """
    key = _key(name)
    method = _open.pop(key, None)
    if method is not None and not method.unchanged():
        method = None
    method = method or PythonMethod(name)
    _open[key], _files[key] = method, method.files
    while len(_open) > MOST_PROCESSES:
        _open.pop(next(iter(_open)))  # the process ends when its last call has ended
    return method


def _key(name: str) -> Key:
    """What decides which method a name stands for."""
    return (name, str(Path(name.rpartition(":")[0]).absolute()), *_import_path())


def method_files(name: str) -> dict[Path, str | None]:
    """The files that make a Python method what it is, with their sha256.

    Raises:
        ConfigError: as ``PythonMethod``.
    """
    files = _files.get(_key(name))
    if files and all(sha256(file) == digest for file, digest in files.items()):
        return files
    return open_method(name).files
