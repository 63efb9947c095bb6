"""A shard: consecutive sources of a run that one process restores."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ufvnet.config import RestoreConfig
from ufvnet.crashes import Diary
from ufvnet.data.sources.cells import Cell
from ufvnet.files import escape_name
from ufvnet.progress import Progress
from ufvnet.remote import AnyPath, path_or_url
from ufvnet.restore.known_faces import KnownFaces
from ufvnet.restore.resolved import ResolvedRestore, resolve

from .archives import ArchivedFile, Archives
from .job import Job, Target
from .journal import Journal
from .notes import DIARY
from .records import new_row
from .scheduler import Scheduler
from .side_folders import SideFolders
from .source import PictureSource
from .tables import other_columns, table_cells
from .targets import PART, FileTarget, PartTarget


@dataclass(frozen=True)
class RestoreShard:
    """Consecutive sources of a run, with all that a process elsewhere needs.

    config: of the run; of a shard that shares its run with others, with ``resume``, because what its journal holds when
        it begins is from this run.
    known_faces: boxes and landmarks of its pictures.
    sources: files and tables.
    first: number of its first row among all rows of the run.
    journal: file name of its journal.
    desk: folder of the run's notes.
    resumed_at: size of the run's journal when the run began, in bytes: rows before it are of earlier runs.
    """

    config: RestoreConfig
    known_faces: KnownFaces
    sources: tuple[PictureSource, ...]
    first: int
    journal: str
    desk: Path
    resumed_at: int = 0

    @property
    def rows(self) -> int:
        return sum(source.count() for source in self.sources)


def restore_in_worker(shard: RestoreShard) -> dict[str, int]:
    """``restore_shard`` in another process than the one that resolved the run: the model is loaded here.

    Returns:
        Counts by status.
    """
    return restore_shard(shard, resolve(shard.config, shard.known_faces))


def restore_shard(shard: RestoreShard, resolved: ResolvedRestore, progress: Progress | None = None) -> dict[str, int]:
    """Restore a shard's pictures into the output folder, with rows in its journal.

    A shard that is done again because its process died goes on from its journal.

    Args:
        shard: what.
        resolved: of the shard's configuration and known faces.
        progress: called as pictures are finished, from several threads, one at a time.

    Returns:
        Counts by status.
    """
    config = resolved.config
    with Journal(config.output, shard.journal, config.into_input, shard.desk) as journal:
        counter = _Counter(progress, shard.rows, journal)
        with Archives(journal.path.parent) as archives, Diary(journal.path.with_suffix(DIARY)) as diary:
            jobs = _Jobs(shard, config, journal, archives, resolved.key(), counter)
            Scheduler(resolved, diary).run(jobs, lambda job: counter.add(1))
        return dict(journal.counts)


class _Counter:
    """Counts the rows that are done and reports them, one call at a time."""

    def __init__(self, progress: Progress | None, total: int, journal: Journal):
        self.progress, self.total, self.journal = progress, total, journal
        self.done, self.lock = 0, threading.Lock()

    def add(self, rows: int) -> None:
        with self.lock:
            self.done += rows
            if self.progress is not None:
                self.progress(self.done, self.total, dict(self.journal.counts))


class _Jobs:
    """The jobs of a shard, each made when it is asked for."""

    def __init__(
        self, shard: RestoreShard, config: RestoreConfig, journal: Journal, archives: Archives, key: str,
        counter: _Counter,
    ):  # fmt: skip
        self.shard, self.config, self.journal, self.archives = shard, config, journal, archives
        self.key, self.counter = key, counter

    def __iter__(self) -> Iterator[Job]:
        row, waiting = self.shard.first, list[PictureSource]()
        for source in self.shard.sources:
            if source.verdict is not None:
                self._record(source, *source.verdict)
            elif source.rows is not None:
                yield from self._of_table(source)
            elif self.config.format == "parquet":
                waiting.append(source)
                if len(waiting) == PART:
                    yield from self._part_of_files(waiting, row)
                    row, waiting = row + PART, []
            else:
                (name,) = source.names()
                yield self._job(name, self._content(source), source.ending, self._file(source.base, source.ending))
        if waiting:
            yield from self._part_of_files(waiting, row)

    def _record(self, source: PictureSource, status: str, reason: str) -> None:
        """Account for a table that has nothing to restore, or a member of an archive that is not read."""
        (name,) = source.names()
        self.journal.append(new_row(name, self.key) | {"status": status, "reason": reason})
        self.counter.add(1)

    def _content(self, source: PictureSource) -> AnyPath | ArchivedFile:
        if source.container is None:
            return source.path
        return ArchivedFile(self.archives, path_or_url(source.container), source.member)

    def _job(self, name: str, content: Cell | ArchivedFile, ending: str, target: Target) -> Job:
        row = new_row(name, self.key)
        if isinstance(content, OSError):
            return Job(name, None, ending, target, row, missing=escape_name(str(content)))
        return Job(name, content, ending, target, row, may_skip=isinstance(content, AnyPath | ArchivedFile))

    def _file(self, base: str, ending: str) -> FileTarget:
        return FileTarget(self.journal, base, self.config.suffix, ending)

    def _part_of_files(self, sources: Sequence[PictureSource], first: int) -> Iterator[Job]:
        cells = [(name, self._content(source)) for source in sources for name in source.names()]
        part = f"part-{first // PART:05d}{self.config.suffix}.parquet"
        target = PartTarget(self.journal, part, [name for name, _ in cells])
        yield from self._part(target, cells, [source.ending for source in sources])

    def _of_table(self, source: PictureSource) -> Iterator[Job]:
        """Rows of a table become rows of parts, or files below a folder of its name if a format is asked for."""
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
                target = PartTarget(self.journal, part, [name for name, _ in cells], others)
                yield from self._part(target, cells, [_ending(content) for _, content in cells])
                first, cells = number + 1, []

    def _cells(self, source: PictureSource) -> Iterator[tuple[str, Cell]]:
        """A table's cells; whatever its reader raises is the reason of all rows that are left."""
        names = source.names()
        try:
            for name, content in table_cells(source, self.config):
                next(names)
                yield name, content
        except Exception as error:  # one odd table must not stop the night's run
            fault = OSError(f"the table cannot be read any more ({type(error).__name__}: {error})")
            yield from ((name, fault) for name in names)

    def _part(
        self, target: PartTarget, cells: Sequence[tuple[str, Cell | ArchivedFile]], endings: Sequence[str]
    ) -> Iterator[Job]:
        jobs = [self._job(name, content, ending, target) for (name, content), ending in zip(cells, endings)]
        if self.config.resume and target.keep_whole(
            self.key, (job.read_or_none() for job in jobs), SideFolders(self.config).are_complete
        ):
            self.counter.add(len(jobs))
            return
        yield from jobs


def _ending(content: Cell) -> str:
    return content.suffix if isinstance(content, AnyPath) else ""
