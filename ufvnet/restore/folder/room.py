"""Room in memory: how many pixels are decoded at once by all threads of a run together."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
from collections.abc import Callable, Iterator

A_THREAD = 16_000_000
"""Pixels for each thread: photos of so many never wait for each other."""

LARGE_PICTURE = 8_000_000
"""Pixels from which on freed memory is given back to the system before a picture is decoded and when it is done."""

LARGE_FILE = 2**26
"""Bytes; of larger files one at a time is in memory."""


class Room:
    """Lets threads decode pictures as long as their pixels fit; one that is larger than all room enters alone.

    Args:
        pixels: of all pictures that are decoded at once.
    """

    def __init__(self, pixels: int):
        self.pixels = pixels
        self._taken = 0
        self._changed = threading.Condition()
        self._large_file = threading.Lock()

    @contextlib.contextmanager
    def visit(self, file_size: int) -> Iterator[Callable[[int], None]]:
        """While a picture is in memory.

        Args:
            file_size: bytes of its file.

        Yields:
            A function that waits until there is room for so many pixels, to be called before they are decoded. All
            calls but the first do nothing, so that no two visits wait for each other.
        """
        mine = 0

        def take(pixels: int) -> None:
            nonlocal mine
            if mine:
                return
            with self._changed:
                self._changed.wait_for(lambda: not self._taken or self._taken + pixels <= self.pixels)
                self._taken += pixels
                mine = pixels
            if pixels >= LARGE_PICTURE:
                give_back_memory()

        with self._large_file if file_size > LARGE_FILE else contextlib.nullcontext():
            try:
                yield take
            finally:
                if mine >= LARGE_PICTURE:
                    give_back_memory()
                with self._changed:
                    self._taken -= mine
                    self._changed.notify_all()


def give_back_memory() -> None:
    """Give the system what glibc keeps of freed memory, for which each thread has a store of its own."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
