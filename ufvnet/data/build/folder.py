"""A dataset's folder while it is built: checked, locked, and its plan of files, the only ones that a build touches."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import filelock

from ufvnet.config import BuildConfig, ConfigError
from ufvnet.data import card
from ufvnet.data.schema import read_fingerprint
from ufvnet.files import MARKER, TEMPORARY, check_ours, claim, make_folder, printed, seal, unseal, write_json

KIND = "dataset"
PLAN = ".ufvnet-plan.json"
PLAN_LOCK = ".ufvnet-plan.lock"
LOCK = ".ufvnet.lock"
PAIRS = "near_duplicates.parquet"
BUILDING = "building"
"""Here a rebuild's shards lie until all of them stand and take the place of the earlier build's."""


def dataset_root(config: BuildConfig) -> Path:
    """The dataset's folder."""
    return config.out / config.name


def check_output(config: BuildConfig) -> None:
    """Refuse a folder of the dataset that is not ours, or that overlaps what the dataset is built from.

    Raises:
        ConfigError: it is so.
    """
    source = config.source
    read = [("source.root", source.root), *(("source.landmarks", p) for p in source.landmarks)]
    read += [(f"source.splits.{split}", path) for split, path in source.splits.items()]
    read += [(f"source.{key}", path) for key in ("file", "image_root") if (path := getattr(source, key, None))]
    check_ours("out", dataset_root(config), KIND, read, lambda root: card.shards_of(root) is not None)


@contextlib.contextmanager
def locked(config: BuildConfig) -> Iterator[None]:
    """Keep other builds of this dataset away, on whatever machine that honours file locks.

    Raises:
        ConfigError: another build is at it, or the folder is not ours.
    """
    check_output(config)
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
        if not (root / PLAN).exists():  # it came to nothing
            (root / MARKER).unlink(missing_ok=True)
        (root / LOCK).unlink(missing_ok=True)
        lock.release()
        with contextlib.suppress(OSError):
            root.rmdir()  # if it is empty


def begin(config: BuildConfig) -> None:
    """Mark the folder that ``check_output`` let pass as ours, before the first file."""
    claim(dataset_root(config), KIND)


class Plan:
    """The files of a dataset that its card or a build's persisted plan names; no other one is moved or removed.

    finished: the shards of the dataset that stands there.
    shards: those and what builds that were stopped planned.
    """

    def __init__(self, root: Path):
        """
        Raises:
            ConfigError: the card or the plan is damaged.
        """
        self.root = root
        finished = card.shards_of(root)
        self.rebuild = finished is not None
        self.finished = finished or []
        self.shards, self.files = list(self.finished), set[str]()
        for shard in self.finished:
            self.files |= {shard.photos, shard.timings, *([shard.faces] if shard.faces else [])}
        if self.rebuild:
            self.files |= {card.CARD} | ({PAIRS} if read_fingerprint(root / PAIRS) else set())
        self._read()

    def _read(self) -> None:
        if (self.root / PLAN).is_file():
            noted = unseal((self.root / PLAN).read_bytes())
            if noted is None:
                raise ConfigError(f"dataset = {printed(self.root)}: {PLAN} is damaged; {card.AGAIN}")
            planned = [card.ShardFiles(**shard) for shard in noted["shards"]]
            self.shards += [shard for shard in planned if shard not in self.shards]
            self.files |= set(noted["files"])

    def extend(self, shards: Iterable[card.ShardFiles], files: Iterable[str]) -> None:
        """Add what a build is going to write, mark the folder as ours and persist the plan, before the first file.

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
            told = [{"photos": s.photos, "faces": s.faces, "fingerprint": s.fingerprint} for s in self.shards]
            write_json(self.root / PLAN, seal({"shards": told, "files": sorted(self.files)}))

    def check(self, name: str) -> None:
        """
        Raises:
            ConfigError: a file of this name would take the place of one that is not ours, or lie behind a link.
        """
        path = self.root / name
        no_links(self.root, path)
        if path.is_symlink() or (path.exists() and (name not in self.files or not path.is_file())):
            raise ConfigError(
                f"out = {printed(path)}: is in the way, and neither {card.CARD} nor a build's plan names it; "
                "move it away"
            )

    def remove(self, names: Iterable[str]) -> None:
        """Remove files that the plan names, and the folders that this leaves empty."""
        for name in sorted(set(names) & self.files):
            path = self.root / name
            with contextlib.suppress(OSError, ConfigError):
                no_links(self.root, path)
                path.unlink(missing_ok=True)
                for folder in path.parents[: len(path.relative_to(self.root).parts) - 1]:
                    folder.rmdir()

    def close(self, kept: Iterable[str]) -> None:
        """Remove what the plan names but for the files of the finished dataset, leftovers of killed writers, itself."""
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
        ConfigError: a folder between a dataset's and a file of it is a symbolic link, which may lead elsewhere.
    """
    for folder in path.parents[: len(path.relative_to(root).parts) - 1]:
        if folder.is_symlink():
            raise ConfigError(f"out = {printed(folder)}: is a symbolic link; nothing is written through it")
