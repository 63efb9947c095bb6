"""A run over folders, files, globs and tables: every picture restored or accounted for."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from ufvnet.config import ConfigError, RestoreConfig, fingerprint
from ufvnet.crashes import Diary
from ufvnet.errors import OutputLostError
from ufvnet.files import escape_name, printed
from ufvnet.progress import Progress
from ufvnet.restore.face_finder import Looker
from ufvnet.restore.picture import ENDINGS
from ufvnet.restore.restorer import Restorer

from .inputs import PIPE, Cell, Source, list_sources, other_columns, table_cells
from .job import Job
from .manifest import JOURNAL, Account, check_account, finish, prepare
from .notes import DIARY, WORK, forget
from .outputs import LOCK, check_folder, mark, remove_temporaries
from .scheduler import Engine
from .targets import PART, FileTarget, PartTarget, empty_row

ALGORITHM = 2
"""Part of every fingerprint; another number makes earlier outputs stale."""


@dataclass(frozen=True)
class Shard:
    """Consecutive sources of a run, for one process.

    first: number of the first row among all.
    journal: file name of the process's journal.
    """

    config: RestoreConfig
    sources: tuple[Source, ...]
    first: int
    journal: str

    @property
    def rows(self) -> int:
        return sum(source.count() for source in self.sources)


def restore_folder(config: RestoreConfig, progress: Progress | None = None, crashed: bool = False) -> dict[str, Any]:
    """Restore everything that the inputs name; nothing stops the run and every picture gets a row.

    Outputs, manifest.parquet and summary.json are written under temporary names and renamed; with ``resume``,
    pictures whose output is there with the recorded sha256, of the same settings, are not done again.

    Args:
        config: what and how.
        progress: called as pictures are finished, from several threads, one at a time.
        crashed: another process has just died of this run, perhaps of a picture: those that it had in work are
            tried in a process of their own first.

    Returns:
        The summary: ``files``, ``counts`` by status, ``faces`` restored, the first ``failures``, ``seconds``.

    Raises:
        ConfigError: an input names nothing, the output is not usable or not ours, no such model or device.
        OSError: the disk is full; a resumed run goes on.
        OutputLostError: the output folder, or the journal in it, was removed while the run went on.
    """
    started = time.perf_counter()
    with begun(config, crashed=crashed) as shards:
        for shard in shards:
            restore_shard(shard, progress)
        return conclude(config, shards, time.perf_counter() - started)


@contextlib.contextmanager
def begun(config: RestoreConfig, shares: int = 1, crashed: bool = False) -> Iterator[list[Shard]]:
    """Hold the output folder, ready for a run, and give the run's shards.

    Args:
        config: what and how.
        shares: number of processes that share the work.
        crashed: as ``restore_folder``'s.

    Raises:
        ConfigError: as ``restore_folder``.
    """
    sources = plan(config)
    with _alone(config.output):
        mark(config)
        remove_temporaries(config.output)
        prepare(config.output, config.resume)
        if not crashed:  # the names that a killed run leaves suspect nothing
            forget(config.output)
        yield share_out(config, sources, shares)


def conclude(config: RestoreConfig, shards: Sequence[Shard], seconds: float) -> dict[str, Any]:
    """Write the manifest and the summary of a run whose shards are done; gives the summary.

    Raises:
        OutputLostError: a shard's journal is gone.
    """
    for journal in (config.output / WORK / shard.journal for shard in shards):
        if not journal.is_file():
            raise OutputLostError(f"{printed(journal)} was removed while restoring; --resume does the rest")
    names = (name for shard in shards for source in shard.sources for name in source.names())
    return finish(config, names, {"seconds": round(seconds, 1)})


def plan(config: RestoreConfig) -> list[Source]:
    """The sources of a run, with everything checked that can be without restoring.

    Raises:
        ConfigError: as ``restore_folder``.
    """
    if PIPE in (*config.inputs, config.output):
        raise ConfigError("input = -: standard input and output take one picture; see restore_one")
    if config.output.suffix.lower() in ENDINGS.values() and not config.output.exists():
        raise ConfigError(f"output = {config.output}: is named as one picture, but these inputs need a folder")
    load(config)
    looker = Looker(config, 0)
    check_account(config.output)
    sources = list_sources(config)
    check_folder(config)
    looker.given.check(name for source in sources for name in source.names())
    return sources


def load(config: RestoreConfig) -> Restorer:
    """The model of a configuration.

    Raises:
        ConfigError: no such model, device or back end.
    """
    return Restorer.load(config.model, config.device, config.backend, precision=config.precision)


def key_of(config: RestoreConfig, restorer: Restorer, looker: Looker) -> str:
    """Fingerprint of all that decides an output besides its input."""
    decisive = ("backend", "mode", "min_face", "max_face", "size", "scale", "format", "quality", "suffix",
                "image_column", "unrestored", "precision", "max_pixels")  # fmt: skip
    settings = {name: getattr(config, name) for name in decisive}
    return fingerprint(ALGORITHM, restorer.fingerprint, restorer.hr_size, settings, looker.given.fingerprint)[:32]


def share_out(config: RestoreConfig, sources: Sequence[Source], shares: int) -> list[Shard]:
    """Shards of whole sources: one, or several a process so that all end at about one time."""
    if shares == 1:
        return [Shard(config, tuple(sources), 0, JOURNAL)]
    size = max(PART, math.ceil(len(sources) / (4 * shares) / PART) * PART)
    shards, first = [], 0
    for number, start in enumerate(range(0, len(sources), size)):
        shard = Shard(config, tuple(sources[start : start + size]), first, f"manifest-{number:06d}.jsonl")
        first += shard.rows
        shards.append(shard)
    return shards


def restore_shard(shard: Shard, progress: Progress | None = None) -> dict[str, int]:
    """Restore a shard's pictures into the output folder and its journal; gives the counts by status.

    A shard that is done again, because its process died, goes on from its journal.
    """
    config = shard.config
    if shard.journal != JOURNAL:  # one of several: what its own journal has is from this run
        config = config.model_copy(update={"resume": True})
    restorer = load(config)
    looker = Looker(config, restorer.hr_size)
    counter = _Counter(progress)
    with Account(config.output, shard.journal, config.into_input) as account:
        counter.account, counter.total = account, shard.rows
        jobs = _Jobs(config, shard, account, key_of(config, restorer, looker), counter)
        with Diary(account.path.with_suffix(DIARY)) as diary:
            Engine(config, restorer, looker, diary).run(jobs, lambda job: counter.add(1))
        return dict(account.counts)


class _Counter:
    """Rows done, told to the caller one at a time."""

    def __init__(self, progress: Progress | None):
        self.progress, self.lock = progress, threading.Lock()
        self.done, self.total = 0, 0
        self.account: Account | None = None

    def add(self, rows: int) -> None:
        with self.lock:
            self.done += rows
            if self.progress is not None and self.account is not None:
                self.progress(self.done, self.total, dict(self.account.counts))


class _Jobs:
    """The jobs of a shard, made as they are asked for."""

    def __init__(self, config: RestoreConfig, shard: Shard, account: Account, key: str, counter: _Counter):
        self.config, self.shard, self.account, self.key, self.counter = config, shard, account, key, counter
        self.tables = config.format == "parquet"

    def __iter__(self) -> Iterator[Job]:
        row, pending = self.shard.first, list[Source]()
        for source in self.shard.sources:
            if source.verdict is not None:
                self._tell(source, *source.verdict)
            elif source.rows is not None:
                yield from self._table(source)
            elif self.tables:
                pending.append(source)
                if len(pending) == PART:
                    yield from self._files_part(pending, row)
                    row, pending = row + PART, []
            else:
                (name,) = source.names()
                yield self._job(name, source.path, source.ending, self._file(source.base, source.ending))
        if pending:
            yield from self._files_part(pending, row)

    def _tell(self, source: Source, status: str, reason: str) -> None:
        """Account for a table that has nothing to restore."""
        (name,) = source.names()
        self.account.add(empty_row(name, self.key) | {"status": status, "reason": reason})
        self.counter.add(1)

    def _job(self, name: str, content: Cell, ending: str, target: FileTarget | PartTarget) -> Job:
        if isinstance(content, OSError):
            return Job(name, None, ending, target, empty_row(name, self.key), missing=escape_name(str(content)))
        return Job(name, content, ending, target, empty_row(name, self.key))

    def _file(self, base: str, ending: str) -> FileTarget:
        return FileTarget(self.account, base, self.config.suffix, ending)

    def _files_part(self, sources: Sequence[Source], first: int) -> Iterator[Job]:
        cells: list[tuple[str, Cell]] = [(name, source.path) for source in sources for name in source.names()]
        target = PartTarget(
            self.account, f"part-{first // PART:05d}{self.config.suffix}.parquet", [name for name, _ in cells]
        )
        endings = [source.ending for source in sources]
        yield from self._part(target, cells, endings)

    def _table(self, source: Source) -> Iterator[Job]:
        """Rows of a table to rows of parts, or to files below a folder of its name where a format is asked for."""
        cells: list[tuple[str, Cell]] = []
        first = 0
        for number, (name, content) in enumerate(self._cells(source)):
            if self.config.format not in ("auto", "parquet"):
                yield self._job(name, content, _ending(content), self._file(f"{source.base}/{number:06d}", ""))
                continue
            cells.append((name, content))
            if len(cells) == PART or number + 1 == source.rows:
                others = functools.partial(other_columns, source, self.config, first, len(cells))
                part = f"{source.base}/part-{first // PART:05d}{self.config.suffix}.parquet"
                target = PartTarget(self.account, part, [name for name, _ in cells], others)
                yield from self._part(target, cells, [_ending(content) for _, content in cells])
                first, cells = number + 1, []

    def _cells(self, source: Source) -> Iterator[tuple[str, Cell]]:
        """A table's cells; whatever its reader raises is the reason of all rows that are left."""
        names = source.names()
        try:
            for name, content in table_cells(source, self.config):
                next(names)
                yield name, content
        except Exception as error:  # one odd table must not stop the night's run
            fault = OSError(f"the table cannot be read any more ({type(error).__name__}: {error})")
            yield from ((name, fault) for name in names)

    def _part(self, target: PartTarget, cells: Sequence[tuple[str, Cell]], endings: Sequence[str]) -> Iterator[Job]:
        jobs = [self._job(name, content, e, target) for (name, content), e in zip(cells, endings)]
        if self.config.resume:
            earlier = [self.account.earlier(job.name) for job in jobs]
            if all(row is not None for row in earlier) and target.kept(
                earlier, self.key, [j.read_or_none() for j in jobs]
            ):
                for row in earlier:
                    assert row is not None
                    self.account.tell(row)
                self.counter.add(len(jobs))
                return
        yield from jobs


def _ending(content: Cell) -> str:
    return content.suffix if isinstance(content, Path) else ""


@contextlib.contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Hold the output folder's lock.

    Raises:
        ConfigError: another run holds it, or the folder cannot be written into.
    """
    lock = filelock.FileLock(output / LOCK, timeout=0)
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        raise ConfigError(f"output = {printed(output)}: another run is writing there") from None
    except OSError as error:
        raise ConfigError(f"output = {printed(output)}: {error.strerror}") from error
    try:
        yield
        (output / LOCK).unlink(missing_ok=True)
    finally:
        lock.release()
