"""Many rows in little memory: compressed chunks, which are opened one at a time."""

from __future__ import annotations

import itertools
import pickle
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar, overload

T = TypeVar("T")

CHUNK = 500
"""Rows of a chunk."""


class Packed(Sequence[T]):
    """An immutable sequence of rows that can be pickled. A photo takes about a tenth of the memory of its objects.

    Every look at a row makes it anew from its chunk, so that loops should go through the rows once and in order.
    """

    def __init__(self, rows: Iterable[T] = ()):
        self._chunks, self._count = list[bytes](), 0
        rows = iter(rows)
        while chunk := list(itertools.islice(rows, CHUNK)):
            self._chunks.append(zlib.compress(pickle.dumps(chunk, pickle.HIGHEST_PROTOCOL), 1))
            self._count += len(chunk)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        for chunk in self._chunks:
            yield from self._opened(chunk)

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[T]: ...
    def __getitem__(self, at: int | slice) -> T | Sequence[T]:
        if isinstance(at, slice):
            return tuple(self)[at]
        place = range(self._count)[at]
        return self._opened(self._chunks[place // CHUNK])[place % CHUNK]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __repr__(self) -> str:
        return f"Packed({list(self)!r})"

    __hash__ = None  # type: ignore[assignment]

    def chunks(self) -> Iterator[Packed[T]]:
        """Its chunks, each a sequence of up to CHUNK rows, without opening them."""
        for number, chunk in enumerate(self._chunks):
            part = Packed[T]()
            part._chunks, part._count = [chunk], min(CHUNK, self._count - number * CHUNK)
            yield part

    def _opened(self, chunk: bytes) -> list[T]:
        rows: list[T] = pickle.loads(zlib.decompress(chunk))
        return rows
