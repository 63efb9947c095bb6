"""Many rows in hardly any memory: compressed chunks in a temporary file, which are opened one at a time."""

from __future__ import annotations

import itertools
import pickle
import tempfile
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar, overload

T = TypeVar("T")

CHUNK = 500
"""Rows of a chunk."""

IN_MEMORY = 2**23
"""Bytes of a shelf that stay in memory; more of them lie in a temporary file."""


class Shelf:
    """Bytes that are put away one after the other. The file has no name, and goes when nothing of it is needed."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115, as it lives as long as this
        self._lock = threading.Lock()

    def put(self, content: bytes) -> tuple[int, int]:
        """Put bytes away; gives their place."""
        with self._lock:
            start = self._file.seek(0, 2)
            self._file.write(content)
        return start, len(content)

    def get(self, place: tuple[int, int]) -> bytes:
        """The bytes at a place."""
        with self._lock:
            self._file.seek(place[0])
            return self._file.read(place[1])


class Packed(Sequence[T]):
    """An immutable sequence of rows that can be pickled. A row takes less than a byte of memory where there are many.

    Every look at a row makes it anew from its chunk, so that loops should go through the rows once and in order.
    """

    __hash__ = None  # type: ignore[assignment]
    __slots__ = ("_count", "_places", "_shelf")

    def __init__(self, rows: Iterable[T] = (), shelf: Shelf | None = None):
        """
        Args:
            rows: of any kind that can be pickled.
            shelf: where they lie. Several sequences may share one; by default it is a new one.
        """
        self._shelf, self._count = Shelf() if shelf is None else shelf, 0
        self._places = list[tuple[int, int]]()
        rows = iter(rows)
        while chunk := list(itertools.islice(rows, CHUNK)):
            self._places.append(self._shelf.put(zlib.compress(pickle.dumps(chunk, pickle.HIGHEST_PROTOCOL), 1)))
            self._count += len(chunk)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        for place in self._places:
            yield from self._opened(place)

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[T]: ...
    def __getitem__(self, at: int | slice) -> T | Sequence[T]:
        if isinstance(at, slice):
            return tuple(self)[at]
        place = range(self._count)[at]
        return self._opened(self._places[place // CHUNK])[place % CHUNK]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __repr__(self) -> str:
        return f"Packed({list(self)!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return _unpickled, ([self._shelf.get(place) for place in self._places], self._count)

    def chunks(self) -> Iterator[Packed[T]]:
        """Its chunks, each a sequence of up to CHUNK rows, without opening them."""
        for number, place in enumerate(self._places):
            part = Packed[T](shelf=self._shelf)
            part._places, part._count = [place], min(CHUNK, self._count - number * CHUNK)
            yield part

    def move(self, shelf: Shelf) -> None:
        """Put its chunks on another shelf, which others share."""
        self._places, self._shelf = [shelf.put(self._shelf.get(place)) for place in self._places], shelf

    def _opened(self, place: tuple[int, int]) -> list[T]:
        rows: list[T] = pickle.loads(zlib.decompress(self._shelf.get(place)))
        return rows


def _unpickled(chunks: list[bytes], count: int) -> Packed[T]:
    packed = Packed[T]()
    packed._places, packed._count = [packed._shelf.put(chunk) for chunk in chunks], count
    return packed
