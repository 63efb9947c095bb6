"""A dataset's folder while it is built: checked, locked, and the only files in it that a build touches."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import filelock

from ufvnet.config import BuildConfig
from ufvnet.data import card
from ufvnet.data.schema import read_fingerprint
from ufvnet.errors import ConfigError
from ufvnet.files import MARKER, TEMPORARY, check_ours, claim, make_folder, printed, seal, unseal, write_json
from ufvnet.remote import AnyPath

KIND = "dataset"
PLAN = ".ufvnet-plan.json"
PLAN_LOCK = ".ufvnet-plan.lock"
LOCK = ".ufvnet.lock"
PAIRS = "near_duplicates.parquet"
BUILDING = "building"
"""Folder of a rebuild's shards, until all are finished and take the places of the earlier build's."""


def dataset_root(config: BuildConfig) -> Path:
    """The dataset's folder."""
    return config.out / config.name


def check_folder(config: BuildConfig) -> None:
    """
    Raises:
        ConfigError: the dataset's folder is not ours, or overlaps what the dataset is built from.
    """
    source = config.source
    read: list[tuple[str, AnyPath]] = [("source.root", source.root)]
    read += [("source.landmarks", path) for path in source.landmarks]
    read += [(f"source.splits.{split}", path) for split, path in source.splits.items()]
    read += [(f"source.{key}", path) for key in ("file", "image_root") if (path := getattr(source, key, None))]
    check_ours("out", dataset_root(config), KIND, read, lambda root: card.shards_of(root) is not None)


@contextlib.contextmanager
def locked(config: BuildConfig) -> Iterator[None]:
    """Keep other builds of this dataset away, on every machine that honours file locks.

    Raises:
        ConfigError: another build of it is running, or the folder is not ours.
    """
    check_folder(config)
    root = dataset_root(config)
    make_folder(root)
    lock = filelock.FileLock(root / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise ConfigError(
            f"out = {printed(root)}: another build of this dataset is running; wait for its end"
        ) from error
    try:
        yield
    finally:
        if not (root / PLAN).exists():  # nothing was built
            (root / MARKER).unlink(missing_ok=True)
        (root / LOCK).unlink(missing_ok=True)
        lock.release()
        with contextlib.suppress(OSError):
            root.rmdir()  # if it is empty


def begin(config: BuildConfig) -> None:
    """Mark the folder, which ``check_folder`` accepted, as ours, before its first file."""
    claim(dataset_root(config), KIND)


class KnownFiles:
    """The files of a dataset that its card or the persisted plan of a build names; no others are moved or removed.

    rebuild: whether a finished dataset is there.
    finished: the shards of that dataset.
    shards: these, and those that unfinished builds planned.
    files: names of all their files below the root.
    """

    def __init__(self, root: Path):
        """
        Args:
            root: the dataset's folder.

        Raises:
            ConfigError: the card or the plan is damaged.
        """
        self.root = root
        finished = card.shards_of(root)
        self.rebuild = finished is not None
        self.finished = finished or []
        self.shards, self.files = list(self.finished), set[str]()
        for shard in self.finished:
            self.files |= set(shard.names)
        if self.rebuild:
            self.files |= {card.CARD} | ({PAIRS} if read_fingerprint(root / PAIRS) else set())
        self._read()

    def _read(self) -> None:
        if (self.root / PLAN).is_file():
            content = unseal((self.root / PLAN).read_bytes())
            if content is None:
                raise ConfigError(f"dataset = {printed(self.root)}: {PLAN} is damaged; {card.REMEDY}")
            planned = [card.ShardFiles(**shard) for shard in content["shards"]]
            self.shards += [shard for shard in planned if shard not in self.shards]
            self.files |= set(content["files"])

    def extend(self, shards: Iterable[card.ShardFiles], files: Iterable[str]) -> None:
        """Add what a build is going to write, mark the folder as ours and persist the plan, before the first file.

        Args:
            shards: that it builds.
            files: names of all files that it may write, below the root.

        Raises:
            ConfigError: something that is not ours is in the way.
        """
        files = set(files)
        for name in sorted(files):
            self.check(name)
        claim(self.root, KIND)
        with filelock.FileLock(self.root / PLAN_LOCK):
            self._read()
            self.shards += [shard for shard in shards if shard not in self.shards]
            self.files |= files
            plan = [{"photos": s.photos, "faces": s.faces, "fingerprint": s.fingerprint} for s in self.shards]
            write_json(self.root / PLAN, seal({"shards": plan, "files": sorted(self.files)}))

    def check(self, name: str) -> None:
        """
        Raises:
            ConfigError: a file of this name would replace one that is not ours, or lie behind a symbolic link.
        """
        path = self.root / name
        no_links(self.root, path)
        if path.is_symlink() or (path.exists() and (name not in self.files or not path.is_file())):
            raise ConfigError(
                f"out = {printed(path)}: is in the way, and neither {card.CARD} nor a build's plan names it; "
                "move it away"
            )

    def remove(self, names: Iterable[str]) -> None:
        """Remove those of the files that are known, and the folders that are empty then."""
        for name in sorted(set(names) & self.files):
            path = self.root / name
            with contextlib.suppress(OSError, ConfigError):
                no_links(self.root, path)
                path.unlink(missing_ok=True)
                for folder in path.parents[: len(path.relative_to(self.root).parts) - 1]:
                    folder.rmdir()

    def close(self, kept: Iterable[str]) -> None:
        """Remove all known files that are not to be kept, leftovers of killed writers, and the plan itself.

        Args:
            kept: names of the finished dataset's files.
        """
        kept = set(kept)
        ours = re.compile(re.escape(TEMPORARY).replace(r"\{\}", "[0-9a-f]{12}"))
        for folder in {(self.root / name).parent for name in self.files} | {self.root}:
            with contextlib.suppress(OSError, ConfigError):
                no_links(self.root, folder / "any")
                for path in [p for p in folder.iterdir() if ours.fullmatch(p.name)]:
                    path.unlink(missing_ok=True)
        self.remove(self.files - kept)
        for name in (PLAN, PLAN_LOCK, MARKER):
            (self.root / name).unlink(missing_ok=True)


def no_links(root: Path, path: Path) -> None:
    """
    Raises:
        ConfigError: a folder between the dataset's folder and its file is a symbolic link, which may lead elsewhere.
    """
    for folder in path.parents[: len(path.relative_to(root).parts) - 1]:
        if folder.is_symlink():
            raise ConfigError(f"out = {printed(folder)}: is a symbolic link; nothing is written through it")
