"""A run over folders, files, globs and tables: every picture is restored or accounted for."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ufvnet.config import ConfigError, RestoreConfig
from ufvnet.errors import OutputLostError
from ufvnet.faces.finders import why_not_best
from ufvnet.files import printed
from ufvnet.progress import Progress
from ufvnet.restore.picture import ENDINGS
from ufvnet.restore.resolved import ResolvedRestore, resolve

from .desk import desk_of, leave, send_notes
from .inputs import list_sources
from .manifest import close_account, open_account, remove_notes_folder
from .notes import JOURNAL, WORK, forget
from .output_folder import check_folder, check_foreign_names, hold, mark, remove_temporaries
from .shard import RestoreShard, restore_shard
from .side_folders import SideFolders
from .source import PIPE, PictureSource
from .targets import PART

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RestoreRun:
    """A run with everything that its configuration names found, read and checked.

    resolved: the configuration, its model, and what finds faces.
    sources: files and tables that the inputs name, in order.
    finder_reason: why ``finder: auto`` took another finder than the best one; None if it did not.
    """

    resolved: ResolvedRestore
    sources: tuple[PictureSource, ...]
    finder_reason: str | None = None

    @property
    def config(self) -> RestoreConfig:
        return self.resolved.config


def restore_folder(config: RestoreConfig, progress: Progress | None = None, crashed: bool = False) -> dict[str, Any]:
    """Restore everything that the inputs name; no picture stops the run, and each has a row in the manifest.

    Outputs, manifest.parquet and summary.json are written under temporary names and renamed. With ``resume``, pictures
    whose outputs have the recorded sha256 and were made with the same settings are not restored again.

    Args:
        config: what and how.
        progress: called as pictures are finished, from several threads, one at a time.
        crashed: an earlier process of this run crashed, perhaps because of a picture: those that it had in work are
            tried in a process of their own first.

    Returns:
        The summary: ``files``, ``counts`` by status, ``faces`` restored, the first ``failures``, ``seconds``.

    Raises:
        ConfigError: an input names nothing, the output is not usable or not ours, or there is no such model or device.
        OSError: the disk is full; a resumed run goes on.
        OutputLostError: the output folder, or the journal in it, was removed during the run.
    """
    started = time.perf_counter()
    run = resolve_run(config)
    with open_run(run, crashed=crashed) as shards:
        for shard in shards:
            restore_shard(shard, run.resolved, progress)
        return close_run(run, shards, time.perf_counter() - started)


def resolve_run(config: RestoreConfig) -> RestoreRun:
    """Find, read and check everything that can be without restoring; nothing is written.

    Raises:
        ConfigError: as ``restore_folder``.
    """
    if PIPE in (*config.inputs, config.output):
        raise ConfigError("input = -: standard input and output take one picture, not a folder run")
    resolved = resolve(config)
    check_foreign_names(config.output)
    sources = list_sources(config)
    if config.output.suffix.lower() in ENDINGS.values() and not config.output.exists():
        raise ConfigError(f"output = {config.output}: is named as one picture, but these inputs need a folder")
    check_folder(config)
    SideFolders.check(config)
    resolved.face_finder.known_faces.check(name for source in sources for name in source.names())
    reason = None
    if config.finder == "auto" and config.mode != "aligned":
        reason = why_not_best(resolved.face_finder.finder)
    if reason is not None:
        log.warning("faces are searched by %s, which misses small and turned ones; %s", resolved.config.finder, reason)
    return RestoreRun(resolved, tuple(sources), reason)


@contextlib.contextmanager
def open_run(run: RestoreRun, processes: int = 1, crashed: bool = False) -> Iterator[list[RestoreShard]]:
    """Hold the output folder, make it ready, and yield the run's shards.

    Args:
        run: what and how.
        processes: number of processes that share the work.
        crashed: as in ``restore_folder``.

    Raises:
        ConfigError: another run holds the output folder, or the folder cannot be written to.
    """
    output, desk = run.config.output, desk_of(run.config.output)
    with hold(output, desk):
        mark(run.config)
        SideFolders(run.config).claim()
        remove_temporaries(desk)
        resumed_at = open_account(desk, run.config.resume)
        send_notes(output, desk)
        if not crashed:  # what a killed run had in work is not suspect
            forget(desk)
        yield [replace(shard, resumed_at=resumed_at) for shard in share_out(run, processes)]


def share_out(run: RestoreRun, processes: int) -> list[RestoreShard]:
    """Shards of whole sources: one, or several per process so that all processes end at about the same time."""
    config, known_faces, sources = run.config, run.resolved.face_finder.known_faces, run.sources
    desk = desk_of(config.output)
    if processes == 1:
        return [RestoreShard(config, known_faces, sources, 0, JOURNAL, desk)]
    config = config.model_copy(update={"resume": True})
    size = max(PART, math.ceil(len(sources) / (4 * processes) / PART) * PART)
    shards, first = list[RestoreShard](), 0
    for number, start in enumerate(range(0, len(sources), size)):
        part = sources[start : start + size]
        faces = known_faces.part(name for source in part for name in source.names())
        shards.append(RestoreShard(config, faces, part, first, f"manifest-{number:06d}.jsonl", desk))
        first += shards[-1].rows
    return shards


def close_run(run: RestoreRun, shards: Sequence[RestoreShard], seconds: float) -> dict[str, Any]:
    """Write the manifest and the summary of a run whose shards are done; returns the summary.

    Raises:
        OutputLostError: a shard's journal is gone.
    """
    output, desk = run.config.output, desk_of(run.config.output)
    for journal in (desk / WORK / shard.journal for shard in shards):
        if not journal.is_file():
            raise OutputLostError(f"{printed(journal)} was removed while restoring; --resume does the rest")
    names = (name for source in run.sources for name in source.names())
    extra = {"seconds": round(seconds, 1), "finder": run.config.finder, "finder_reason": run.finder_reason}
    summary = close_account(run.config, names, extra, max((shard.resumed_at for shard in shards), default=0))
    forget(desk)
    leave(output, desk)
    remove_notes_folder(desk)
    return summary
