"""Decoded columns of a split as memory maps below <dataset>/cache, each with its digest, which is checked when read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ufvnet.errors import ConfigError
from ufvnet.files import below, is_intact, printed, seal, sha256, unseal, write_atomically, write_json

log = logging.getLogger(__name__)


class Cache:
    """The decoded files of one split of a dataset as it was built."""

    def __init__(self, root: Path, name: str):
        self.root, self.name = root, name

    def names(self, make: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
        """The faces' ids, read by ``make`` where the cache does not hold them.

        Raises:
            ConfigError: see ``_file``.
        """
        file = self._file("face_ids.json")
        if (held := _unsealed(file)) is not None:
            return tuple(held["face_ids"])
        names = make()
        write_json(file, seal({"face_ids": names}))
        return names

    def array(self, column: str, shape: tuple[int, ...], make: Callable[[], Iterable[np.ndarray]]) -> np.ndarray:
        """A uint8 memory map of this shape, filled row by row from ``make`` where the cache does not hold it whole.

        Raises:
            ConfigError: see ``_file``.
        """
        file, note = self._file(f"{column}.npy"), self._file(f"{column}.json")

        def fill(temporary: Path) -> None:
            array = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
            for i, row in enumerate(make()):
                array[i] = row
            array.flush()

        noted = _unsealed(note)
        if noted is None or not is_intact(file, noted["sha256"]):
            if noted is not None and file.exists():
                log.warning("%s: is damaged and decoded again", printed(file))
            write_atomically(file, fill)
            write_json(note, seal({"sha256": sha256(file)}))
        return np.load(file, mmap_mode="r")

    def _file(self, name: str) -> Path:
        """
        Raises:
            ConfigError: the cache or a folder of it is a symbolic link, which may lead elsewhere.
        """
        try:
            return below(self.root, f"cache/{self.name}/{name}")
        except OSError as error:
            raise ConfigError(f"dataset = {printed(self.root)}: {error}") from error


def _unsealed(file: Path) -> dict[str, Any] | None:
    """What stands in a sealed file; None where there is none, or with a line where it is damaged."""
    if not file.is_file():
        return None
    held = unseal(file.read_bytes())
    if held is None:
        log.warning("%s: is damaged and made again", printed(file))
    return held
