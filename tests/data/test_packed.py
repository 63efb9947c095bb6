"""Rows in compressed chunks, which are read as those of any sequence."""

from __future__ import annotations

import pickle

import pytest

from ufvnet.data import packed as module
from ufvnet.data.packed import CHUNK, Packed, Shelf


@pytest.mark.parametrize("count", [0, 1, CHUNK, 2 * CHUNK + 3])
def test_rows_are_those_that_were_packed(count: int) -> None:
    rows = [(i, str(i)) for i in range(count)]
    packed = pickle.loads(pickle.dumps(Packed(iter(rows))))
    assert (len(packed), list(packed)) == (count, rows)
    assert packed == rows
    assert packed[3 : CHUNK + 2] == tuple(rows[3 : CHUNK + 2])
    assert [list(chunk) for chunk in packed.chunks()] == [rows[i : i + CHUNK] for i in range(0, count, CHUNK)]
    assert sum(map(len, packed.chunks())) == count
    for at in {0, count - 1, -1} if count else ():
        assert packed[at] == rows[at]
    with pytest.raises(IndexError):
        _ = packed[count]


def test_sequences_share_a_shelf_that_becomes_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IN_MEMORY", 1000)
    shelf = Shelf()
    first, second = Packed(range(2000), shelf), Packed([str(i) for i in range(700)])
    second.move(shelf)
    assert (list(first), list(second)) == (list(range(2000)), [str(i) for i in range(700)])
    assert shelf._file._rolled  # type: ignore[attr-defined]
