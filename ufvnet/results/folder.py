"""An evaluation's folder: it holds our files alone, one run writes at a time, and stale files of ours are removed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from ufvnet.config import ConfigError, EvaluateConfig
from ufvnet.data.schema import read_fingerprint
from ufvnet.errors import EvaluationError
from ufvnet.files import MARKER, check_ours, claim, printed, safe_name, seal, sha256, unseal, write_json

from .methods.configured import paths_read

KIND = "evaluation"
LOCK = ".ufvnet.lock"
WRITTEN = ".ufvnet-written.json"
"""A sealed list of the files that runs of ours wrote, scores apart, with their sha256."""
OURS = ("scores", "tables", "figures", "report.html")

PathFor = Callable[[str], Path]
"""Gives the path of a file to write, from its name."""

log = logging.getLogger(__name__)


def folder_of(config: EvaluateConfig) -> Path:
    """The folder that an evaluation writes."""
    return config.out / config.name


def check_folder(config: EvaluateConfig) -> None:
    """
    Raises:
        ConfigError: an evaluation's folder holds files of somebody else, overlaps what is read, cannot be written to,
            or has a symbolic link where we write.
    """
    folder = folder_of(config)
    keys = ("path", "groups", "photos")
    read = ((f"datasets.{key}", getattr(test_set, key)) for test_set in config.datasets for key in keys)
    sources = [(key, path) for key, path in read if path is not None]
    sources += [("models", path) for path in paths_read(config)]
    check_ours("out", folder, KIND, sources, _is_unmarked_evaluation)
    scores = [folder / "scores" / safe_name(test_set.name) for test_set in config.datasets]
    for path in (*(folder / name for name in OURS), *scores, *(p for s in scores if s.is_dir() for p in s.iterdir())):
        if path.is_symlink():
            raise ConfigError(f"out = {printed(folder)}: {printed(path)} is a symbolic link; nothing is written there")


def _is_unmarked_evaluation(folder: Path) -> bool:
    """True for an evaluation of a release that set no marker: scores of ours, and nothing that is not ours."""
    if any(path.name not in OURS for path in folder.iterdir() if not path.name.startswith(".ufvnet")):
        return False
    return any(read_fingerprint(file) for file in folder.glob("scores/*/*/part-*.parquet"))


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other runs from an evaluation's folder while the block runs.

    Raises:
        ConfigError: another run writes there.
    """
    claim(folder, KIND)
    try:
        with FileLock(folder / LOCK, timeout=0):
            yield
    except Timeout as error:
        raise ConfigError(
            f"out = {printed(folder)}: another run writes there; wait for its end, or set another name"
        ) from error


class WrittenFiles:
    """The files that runs of ours wrote into a folder: they may be replaced, and removed when they are stale."""

    def __init__(self, root: Path):
        self.root, self.list_file = root, root / WRITTEN
        there = self.list_file.is_file()
        content = unseal(self.list_file.read_bytes()) if there else None
        if there and content is None:
            log.warning("%s is damaged: no stale file is removed this time", printed(self.list_file))
        self.is_known = content is not None
        self.listed: dict[str, str | None] = (content or {}).get("files", {})
        self.new: set[str] = set()

    def below(self, folder: str) -> PathFor:
        """``path`` for files in a folder below."""
        return lambda name: self.path(f"{folder}/{name}")

    def path(self, name: str) -> Path:
        """Where to write a file, which is listed from then on. Two files of one name get different paths.

        Raises:
            EvaluationError: the evaluation's folder was removed meanwhile.
        """
        if not (self.root / MARKER).is_file():
            raise EvaluationError(f"{printed(self.root)} was removed while it was written to; evaluate again")
        stem, suffix = name.rsplit(".", 1)
        number = 1
        while name.casefold() in {other.casefold() for other in self.new}:
            number += 1
            name = f"{stem}~{number}.{suffix}"
        path = self.root / name
        if self.is_known and name not in self.listed and (path.is_symlink() or path.exists()):
            self._put_aside(path)
        self.new.add(name)
        if name not in self.listed:
            self.listed[name] = None  # its sha256 is known when the run has ended
            self._save()
        return path

    def _put_aside(self, path: Path) -> None:
        """Rename a file that is not ours but has a name that we need."""
        number = 1
        while (kept := path.with_name(f"{path.name}.kept-{number}")).exists():
            number += 1
        path.rename(kept)
        log.warning("%s is not of an earlier run: it is kept as %s", printed(path), printed(kept.name))

    def remove_stale(self) -> None:
        """Remove files that only earlier runs wrote, except those changed since, and list what this run wrote."""
        for name in sorted(set(self.listed) - self.new):
            path, digest = self.root / name, self.listed.pop(name)
            if ".." in Path(name).parts or path.parent.is_symlink() or path.is_symlink() or not path.is_file():
                continue
            if digest not in (None, sha256(path)):
                log.warning("%s was changed after it was written: it is kept, though it is stale", printed(path))
                continue
            path.unlink()
        self.listed |= {name: sha256(self.root / name) for name in self.new}
        self._save()

    def _save(self) -> None:
        write_json(self.list_file, seal({"files": self.listed}))
