"""Decoded columns of a split as memory maps below <dataset>/cache, each checked by its digest when it is read."""

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
    """The decoded files of one split of a dataset.

    Args:
        root: the dataset's folder.
        name: of the split's folder in the cache; another build of the split has another one.
    """

    def __init__(self, root: Path, name: str):
        self.root, self.name = root, name

    def names(self, make: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
        """The ids of the faces; ``make`` reads them if the cache does not have them.

        Raises:
            ConfigError: see ``_file``.
        """
        file = self._file("face_ids.json")
        if (content := _unsealed(file)) is not None:
            return tuple(content["face_ids"])
        names = make()
        write_json(file, seal({"face_ids": names}))
        return names

    def array(
        self, column: str, shape: tuple[int, ...], make: Callable[[], Iterable[np.ndarray]], dtype: type = np.uint8
    ) -> np.ndarray:
        """A memory map of this shape; ``make`` gives its rows if the cache does not have them complete.

        Raises:
            ConfigError: see ``_file``.
        """
        file, record_file = self._file(f"{column}.npy"), self._file(f"{column}.json")

        def fill(temporary: Path) -> None:
            array = np.lib.format.open_memmap(temporary, "w+", dtype, shape)
            for i, row in enumerate(make()):
                array[i] = row
            array.flush()

        record = _unsealed(record_file)
        if record is None or not is_intact(file, record["sha256"]):
            if record is not None and file.exists():
                log.warning("%s: is damaged and decoded again", printed(file))
            write_atomically(file, fill)
            write_json(record_file, seal({"sha256": sha256(file)}))
        return np.load(file, mmap_mode="r")

    def _file(self, name: str) -> Path:
        """
        Raises:
            ConfigError: the cache or a folder in it is a symbolic link, which may lead elsewhere.
        """
        try:
            return below(self.root, f"cache/{self.name}/{name}")
        except OSError as error:
            raise ConfigError(f"dataset = {printed(self.root)}: {error}") from error


def _unsealed(file: Path) -> dict[str, Any] | None:
    """The content of a sealed file; None if it is missing, or damaged, which is logged."""
    if not file.is_file():
        return None
    content = unseal(file.read_bytes())
    if content is None:
        log.warning("%s: is damaged and made again", printed(file))
    return content
