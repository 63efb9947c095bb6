"""Memory of a run: how many pixels are decoded at once, and what becomes of freed memory."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
from collections.abc import Callable, Iterator

PIXELS_PER_THREAD = 16_000_000
"""Photos of up to so many pixels never wait for each other."""

LARGE_PICTURE = 8_000_000
"""Pixels from which on freed memory is given back to the system before a picture is decoded and after it is done."""

LARGE_FILE = 2**26
"""Bytes; of larger files only one at a time is in memory."""


class PixelBudget:
    """Lets threads decode pictures while their pixels fit; a picture larger than the whole budget is decoded alone.

    Args:
        pixels: of all pictures that are decoded at once.
    """

    def __init__(self, pixels: int):
        self.pixels = pixels
        self._reserved = 0
        self._changed = threading.Condition()
        self._large_file = threading.Lock()

    @contextlib.contextmanager
    def picture(self, file_size: int) -> Iterator[Callable[[int], None]]:
        """Holds what a picture reserves until the block ends.

        Args:
            file_size: bytes of its file.

        Yields:
            A function that waits until so many pixels fit and reserves them; to be called before they are decoded. All
            calls but the first do nothing, so that two pictures cannot wait for each other.
        """
        mine = 0

        def reserve(pixels: int) -> None:
            nonlocal mine
            if mine:
                return
            with self._changed:
                self._changed.wait_for(lambda: not self._reserved or self._reserved + pixels <= self.pixels)
                self._reserved += pixels
                mine = pixels
            if pixels >= LARGE_PICTURE:
                give_back_memory()

        with self._large_file if file_size > LARGE_FILE else contextlib.nullcontext():
            try:
                yield reserve
            finally:
                if mine >= LARGE_PICTURE:
                    give_back_memory()
                with self._changed:
                    self._reserved -= mine
                    self._changed.notify_all()


def give_back_memory() -> None:
    """Give the system the freed memory that glibc keeps, of which each thread has a store of its own."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
