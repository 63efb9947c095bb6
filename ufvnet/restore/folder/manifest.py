"""The manifest: a journal's rows as one table when a run ends, with a summary; and the account of an earlier run."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json as pj
import pyarrow.parquet as pq

from ufvnet.config import RestoreConfig
from ufvnet.files import seal, sealed_line, sha256, unseal, write_atomically, write_json

from .columns import ROWS
from .desk import desk_of, send_account
from .journal import index_rows, journals_of
from .notes import JOURNAL, WORK
from .output_folder import unmark
from .outputs import EarlierOutputs, OutputDigest, keep_notes
from .reasons import STRETCHED, ReasonCounts
from .records import MANIFEST, STATUSES, SUMMARY, USABLE, ManifestRow, file_of

FAILURES = 20
"""Failures whose reasons the summary tells."""
GROUP = 1000
"""Rows that are in memory at once."""
COUNTED = ["path", "status", "reason", "mode", "faces_restored", "width", "output_width"]
"""Columns that the summary counts."""
log = logging.getLogger(__name__)


# When a run begins


def open_account(desk: Path, resume: bool) -> int:
    """Make the desk ready for a journal, and remove the account of an earlier run.

    With ``resume``, the earlier account becomes the journal that the run goes on with. In any case the notes keep which
    files earlier runs wrote.

    Returns:
        The size of that journal in bytes; 0 if the run goes on from none.
    """
    (desk / WORK).mkdir(parents=True, exist_ok=True)
    manifest, journal = desk / MANIFEST, desk / WORK / JOURNAL
    others = [path for path in journals_of(desk) if path != journal]
    if manifest.is_file() or others or journal.is_file():
        keep_notes(desk, listed_outputs(desk))
    if resume and (manifest.is_file() or others):
        write_atomically(journal, lambda temporary: _merge(desk, temporary))
    elif not resume:
        journal.unlink(missing_ok=True)
    for path in (*others, manifest, desk / SUMMARY):
        path.unlink(missing_ok=True)
    return journal.stat().st_size if journal.is_file() else 0


def _merge(desk: Path, temporary: Path) -> None:
    """Write the rows of the manifest, and after them those of the journals, which are later."""
    with temporary.open("wb") as file:
        if is_whole(desk):
            file.writelines(sealed_line(row) for row in _manifest_rows(desk))
        for journal in journals_of(desk):
            with journal.open("rb") as lines:
                file.writelines(line for line in lines if line.endswith(b"\n"))


def is_whole(desk: Path) -> bool:
    """True if the manifest is as it was written, which the summary proves; otherwise a warning is logged."""
    try:
        text = (desk / SUMMARY).read_bytes()
    except OSError:
        text = b""
    summary = unseal(text)
    whole = summary is not None and summary.get("manifest_sha256") == sha256(desk / MANIFEST)
    if not whole and (desk / MANIFEST).exists():
        what = MANIFEST if summary else f"{SUMMARY}, which proves {MANIFEST},"
        log.warning("%s: %s is damaged, or of another release: what it recorded is done again", desk, what)
    return whole


def _manifest_rows(desk: Path) -> Iterator[ManifestRow]:
    with pq.ParquetFile(desk / MANIFEST) as table:
        for batch in table.iter_batches(GROUP):
            yield from batch.to_pylist()


def listed_outputs(desk: Path) -> Iterator[OutputDigest]:
    """Outputs that the account of an earlier run lists. A damaged account may list what it can: a sha256 that fits a
    file is proof enough."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, pa.ArrowException):
        for row in _manifest_rows(desk):
            yield from _output_of(row)
    for journal in journals_of(desk):
        with journal.open("rb") as lines:
            for line in lines:
                yield from _output_of(unseal(line) or {})


def _output_of(row: ManifestRow) -> Iterator[OutputDigest]:
    if row.get("output") and re.fullmatch("[0-9a-f]{64}", str(row.get("output_sha256"))):
        yield file_of(row["output"]), row["output_sha256"]


# When a run ends


def close_account(
    config: RestoreConfig, names: Iterable[str], extra: dict[str, Any], resumed_at: int = 0
) -> dict[str, Any]:
    """Write manifest.parquet, with a row per name in their order, and summary.json; remove the run's notes.

    Args:
        config: of the run.
        names: of its pictures.
        extra: further entries of the summary.
        resumed_at: what ``open_account`` returned.

    Returns:
        The summary: ``files``; ``kept``, the number of those that were finished before this run; ``counts`` by status,
        ``reasons`` by status with their counts, ``usable`` (pictures that could be read), ``faces``, ``enlarged``
        (photos with restored faces that were), ``stretched`` (face crops that were, as they are not square), the first
        ``failures``, the entries of ``extra``, ``config``, and ``manifest_sha256``.
    """
    desk = desk_of(config.output)
    journals, earlier, reasons = journals_of(desk), EarlierOutputs(config.output, desk), ReasonCounts()
    counts: Counter[str] = Counter()
    failures: list[str] = []
    places = {name: (i, place) for i, journal in enumerate(journals) for name, place in index_rows(journal)}

    def write(temporary: Path) -> None:
        with pq.ParquetWriter(temporary, ROWS, compression="zstd") as writer:
            for table in _tables(journals, places, names):
                writer.write_table(table)
                earlier.drop(filter(None, table["output"].to_pylist()))
                for row in table.select(COUNTED).to_pylist():
                    status, reason = row["status"], row["reason"] or ""
                    counts["kept"] += places.get(row["path"], (1, 0)) < (0, resumed_at)
                    usable = status in USABLE or (status == "skipped" and bool(row["mode"]))
                    enlarged = row["mode"] == "photo" and status == "restored" and row["output_width"] > row["width"]
                    faces = row["faces_restored"] or 0
                    counts.update({status: 1, "faces": faces, "usable": usable, "enlarged": enlarged})
                    counts["stretched"] += status in ("restored", "scaled") and STRETCHED in reason
                    reasons.add(status, reason)
                    if status == "failed" and len(failures) < FAILURES:
                        failures.append(f"{row['path']}: {reason}")

    write_atomically(desk / MANIFEST, write)
    summary = {
        "files": sum(counts[status] for status in STATUSES),
        "kept": counts["kept"],
        "counts": {status: counts[status] for status in STATUSES},
        "reasons": reasons.most_common(),
        "usable": counts["usable"],
        "faces": counts["faces"],
        "enlarged": counts["enlarged"],
        "stretched": counts["stretched"],
        "failures": failures,
        **extra,
        "config": config.model_dump(mode="json"),
        "manifest_sha256": sha256(desk / MANIFEST),
    }
    write_json(desk / SUMMARY, seal(summary))
    send_account(config.output, desk)
    unmark(desk)
    for journal in journals:
        journal.unlink()
    if left := earlier.save():
        log.warning("%s: files of earlier runs that stay there, but are not in its manifest: %d", config.output, left)
    return summary


def remove_notes_folder(desk: Path) -> None:
    """Remove the folder of the run's notes, unless something of others is in it."""
    with contextlib.suppress(OSError):
        (desk / WORK).rmdir()


def _tables(
    journals: Sequence[Path], places: Mapping[str, tuple[int, int]], names: Iterable[str]
) -> Iterator[pa.Table]:
    """The latest row of each name, in tables of GROUP rows. ``places``: each name's journal and place in it.

    Read by pyarrow's JSON reader: from Python objects, pyarrow would import pandas to make a table.
    """
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(journal.open("rb")) for journal in journals]

        def line(name: str) -> bytes:
            if name not in places:
                row = {"path": name, "status": "failed", "reason": "no process finished it"}
                return json.dumps(row).encode() + b"\n"
            number, place = places[name]
            files[number].seek(place)
            return files[number].readline()

        names = iter(names)
        while text := b"".join(map(line, itertools.islice(names, GROUP))):
            yield pj.read_json(
                pa.BufferReader(text), pj.ReadOptions(block_size=len(text) + 1),
                pj.ParseOptions(explicit_schema=ROWS, unexpected_field_behavior="ignore"),
            )  # fmt: skip
