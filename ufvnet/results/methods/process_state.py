"""The state of this process that a method may change, and putting it back afterwards."""

from __future__ import annotations

import contextlib
import gc
import locale
import logging
import os
import pickle
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFile

Part = tuple[Callable[[], Any], Callable[[Any], object]]
"""How one part of the state is read, and how it is set."""


@contextlib.contextmanager
def process_state_kept() -> Iterator[None]:
    """Restore what the block changes: folder, environment, import path, signals, random numbers, torch's settings...

    Replaced functions of modules cannot be restored; that is why Python methods run in processes of their own.
    """
    saved = [(read, put, read()) for read, put in _parts()]
    with warnings.catch_warnings():
        try:
            yield
        finally:
            for read, put, value in saved:
                with contextlib.suppress(Exception):
                    if not _same(read(), value):
                        put(value)


def _same(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else bool(a == b)


def _parts() -> Iterator[Part]:
    yield from _interpreter_parts()
    yield from _torch_parts()
    yield lambda: random.getstate(), random.setstate
    yield lambda: pickle.dumps(np.random.get_state()), lambda v: np.random.set_state(pickle.loads(v))
    yield np.geterr, lambda v: np.seterr(**v)
    yield from (_attribute(Image, "MAX_IMAGE_PIXELS"), _attribute(ImageFile, "LOAD_TRUNCATED_IMAGES"))


def _interpreter_parts() -> Iterator[Part]:
    yield _working_directory, os.chdir
    yield lambda: dict(os.environ), _set_environment
    yield lambda: list(sys.path), lambda v: sys.path.__setitem__(slice(None), v)
    yield from (_attribute(sys, name) for name in ("argv", "stdin", "stdout", "stderr", "excepthook"))
    yield sys.getrecursionlimit, sys.setrecursionlimit
    yield _umask, os.umask
    yield gc.isenabled, lambda on: gc.enable() if on else gc.disable()
    yield lambda: locale.setlocale(locale.LC_ALL), lambda v: locale.setlocale(locale.LC_ALL, v)
    yield from (_attribute(logging.root, "level"), _attribute(logging.root, "disabled"))
    yield lambda: list(logging.root.handlers), lambda v: logging.root.handlers.__setitem__(slice(None), v)
    yield lambda: logging.root.manager.disable, logging.disable
    if threading.current_thread() is threading.main_thread():  # others cannot set them
        for number in sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}):
            yield _handler(number)


def _torch_parts() -> Iterator[Part]:
    yield torch.get_default_dtype, torch.set_default_dtype
    yield torch.get_default_device, lambda v: torch.set_default_device(None if v.type == "cpu" else v)
    yield torch.get_num_threads, torch.set_num_threads
    yield torch.is_grad_enabled, torch.set_grad_enabled
    yield torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly
    yield torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode
    yield torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
    yield lambda: torch.is_autocast_enabled("cpu"), lambda v: torch.set_autocast_enabled("cpu", v)
    yield torch.get_rng_state, torch.set_rng_state
    yield _denormals_are_zero, torch.set_flush_denormal
    for module, names in (
        (torch.backends.mkldnn, ("enabled",)),
        (torch.backends.cudnn, ("enabled", "benchmark", "deterministic", "allow_tf32")),
    ):
        yield from (_attribute(module, name) for name in names)


def _attribute(owner: Any, name: str) -> Part:
    return lambda: getattr(owner, name), lambda value: setattr(owner, name, value)


def _handler(number: int) -> Part:
    return lambda: signal.getsignal(number), lambda value: signal.signal(number, value)


def _working_directory() -> str | None:
    """None if it was removed."""
    with contextlib.suppress(OSError):
        return os.getcwd()
    return None


def _set_environment(values: dict[str, str]) -> None:
    for name in set(os.environ) - set(values):
        del os.environ[name]
    os.environ.update(values)


def _umask() -> int:
    mask = os.umask(0o077)  # setting it is the only way to read it
    os.umask(mask)
    return mask


def _denormals_are_zero() -> bool:
    return bool((torch.tensor([1e-310], dtype=torch.float64) * 1.0).item() == 0)
