"""The account of a run: a journal while it lasts, then manifest.parquet and summary.json."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json as pj
import pyarrow.parquet as pq

from ufvnet.config import ConfigError, RestoreConfig
from ufvnet.files import printed, seal, sha256, unseal, write_atomically, write_json

from .notes import WORK, forget, notes
from .outputs import WRITTEN, Claim, Earlier, Outputs, check_there, file_of, keep_claims, not_ours, unmark

MANIFEST, SUMMARY = "manifest.parquet", "summary.json"
JOURNAL = "manifest.jsonl"
STATUSES = ("restored", "copied", "no_face", "failed", "skipped")
"""``restored``: at least one face. ``copied``: nothing in it is smaller than the model's output. ``no_face``: none was
found. ``skipped``: not a picture, by its name and by its content, or left out as told. ``failed``: anything else."""
FINISHED = ("restored", "copied", "no_face", "skipped")
"""Statuses that a resumed run does not try again."""
USABLE = ("restored", "copied", "no_face")
"""Statuses of pictures that could be read."""
REASONS = 20
"""Failures that the summary tells."""
GROUP = 1000
log = logging.getLogger(__name__)

FACE = pa.struct(
    [
        ("left", pa.float32()), ("top", pa.float32()), ("right", pa.float32()), ("bottom", pa.float32()),
        ("restored", pa.bool_()), ("w1", pa.float32()), ("w2", pa.float32()), ("w3", pa.float32()),
    ]
)  # fmt: skip

ROWS = pa.schema(
    [
        ("path", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("mode", pa.string()),
        ("format", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("faces_found", pa.int32()),
        ("faces_restored", pa.int32()),
        ("face_size", pa.float32()),
        ("w1", pa.float32()),
        ("w2", pa.float32()),
        ("w3", pa.float32()),
        ("faces", pa.list_(FACE)),
        ("seconds", pa.float32()),
        ("output", pa.string()),
        ("output_width", pa.int32()),
        ("output_height", pa.int32()),
        ("sha256", pa.string()),
        ("output_sha256", pa.string()),
        ("key", pa.string()),
    ]
)
"""One row an input. ``mode``: ``aligned`` or ``photo``, as it was treated. Sizes are of upright pictures.
``face_size``: mean side in pixels of the restored faces' crops, ``w1`` ... ``w3``: mean weights of the anchors;
``faces`` has each face. ``output``: path below the output folder (of a table ``part#row``). ``sha256``: of the
input. ``key``: fingerprint of model and settings."""

Row = dict[str, Any]


class Account:
    """Rows of a run, appended to a journal as pictures are finished; of rows it holds only where they stand.

    Args:
        output: the output folder.
        journal: file name of the journal; processes that share a run have one each.
        beside_others: as ``Outputs``'.
    """

    def __init__(self, output: Path, journal: str = JOURNAL, beside_others: bool = False):
        self.output, self.path = output, output / WORK / journal
        self.lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self._places: dict[str, tuple[int, int]] = {}
        self._files = [output / WORK / JOURNAL, *([self.path] if journal != JOURNAL else [])]
        for number, file in enumerate(self._files):
            self._places |= {name: (number, place) for name, place in _index(file)}
        self.outputs = Outputs(output, self.path.with_suffix(WRITTEN), beside_others)
        self._readers = [file.open("rb") if file.is_file() else None for file in self._files]
        self._writer = self.path.open("ab")
        if self._writer.tell() and not self.path.read_bytes().endswith(b"\n"):
            self._writer.write(b"\n")  # the line that a kill cut off

    def __enter__(self) -> Account:
        return self

    def __exit__(self, *_: object) -> None:
        for file in (*self._readers, self._writer, self.outputs):
            if file is not None:
                file.close()

    def earlier(self, path: str) -> Row | None:
        """The row of an earlier run, or None; also where its line is damaged."""
        place = self._places.get(path)
        if place is None:
            return None
        reader = self._readers[place[0]]
        if reader is None:
            return None
        with self.lock:
            reader.seek(place[1])
            return unseal(reader.readline())

    def admit(self, name: str, data: bytes) -> tuple[Path, str]:
        """As ``Outputs.admit``, if the output folder is still there.

        Raises:
            OSError: as ``Outputs.admit``.
            OutputLostError: the output folder is gone.
        """
        self.outputs.check()
        return self.outputs.admit(name, data)

    def add(self, *rows: Row) -> None:
        """Append finished rows to the journal, all or none of them as far as a reader is concerned.

        Raises:
            OutputLostError: the journal is gone.
        """
        for row in rows:
            row["reason"] = printed(row["reason"])  # it may quote a name
        text = "".join(map(_line, rows)).encode()
        with self.lock:
            self._writer.write(text)
            self._writer.flush()
        for row in rows:
            self.tell(row)

    def tell(self, row: Row) -> None:
        """Count a row that is in the journal already.

        Raises:
            OutputLostError: the journal is gone.
        """
        check_there(self._writer)
        with self.lock:
            self.counts[row["status"]] += 1
            if row["status"] == "failed" and len(self.failures) < REASONS:
                self.failures.append(f"{row['path']}: {row['reason']}")


def check_account(output: Path) -> None:
    """Refuse an output folder in which a file of somebody else has one of our names.

    A damaged file of ours is none of somebody else: what it told of is done again.

    Raises:
        ConfigError: it has one.
    """
    manifest, summary = output / MANIFEST, output / SUMMARY
    foreign = not_ours(output)
    foreign += [path for path in (manifest, summary) if path.exists() and not path.is_file()]
    with contextlib.suppress(OSError, ValueError, pa.ArrowException):  # broken
        if manifest.is_file() and len(set(ROWS.names) & set(pq.read_schema(manifest).names)) < len(ROWS) / 2:
            foreign.append(manifest)
    if summary.is_file() and not _is_summary(summary, manifest.is_file() and manifest not in foreign):
        foreign.append(summary)
    if foreign:
        name = foreign[0].name
        raise ConfigError(f"output = {printed(output)}: has a {name} that no run wrote, and this one would; move it")


def _is_summary(path: Path, beside_manifest: bool) -> bool:
    """Whether a file is a summary, which one flipped bit does not change; broken only beside a manifest."""
    try:
        card = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return beside_manifest
    return isinstance(card, dict) and len({"files", "counts", "faces", "failures", "config"} & set(card)) >= 2


def prepare(output: Path, resume: bool) -> None:
    """Make the output folder ready, and remove the earlier account.

    With ``resume`` the earlier account becomes the journal that the run goes on with. In any case the run remembers
    which files earlier ones wrote.
    """
    (output / WORK).mkdir(parents=True, exist_ok=True)
    manifest, journal = output / MANIFEST, output / WORK / JOURNAL
    others = [path for path in _journals(output) if path != journal]
    if manifest.is_file() or others or journal.is_file():
        keep_claims(output, _claims(output))
    if resume and (manifest.is_file() or others):
        write_atomically(journal, lambda temporary: _merge(output, temporary))
    elif not resume:
        if manifest.is_file() or journal.is_file():
            log.warning("%s: files of an earlier run stay there, and this run's manifest replaces its own", output)
        journal.unlink(missing_ok=True)
    for old in (*others, manifest, output / SUMMARY):
        old.unlink(missing_ok=True)


def _journals(output: Path) -> list[Path]:
    """That of the run itself before those of its processes, whose rows are later."""
    return sorted(notes(output / WORK, ".jsonl"), key=lambda path: (path.name != JOURNAL, path.name))


def _merge(output: Path, temporary: Path) -> None:
    """The rows of the manifest, and after them those of journals, which are later."""
    with temporary.open("wb") as file:
        if is_whole(output):
            file.writelines(_line(row).encode() for row in _manifest_rows(output))
        for journal in _journals(output):
            with journal.open("rb") as lines:
                file.writelines(line for line in lines if line.endswith(b"\n"))


def is_whole(output: Path) -> bool:
    """Whether the manifest is as it was written, which the summary tells; else it is said."""
    try:
        text = (output / SUMMARY).read_bytes()
    except OSError:
        text = b""
    summary = unseal(text)
    whole = summary is not None and summary.get("manifest_sha256") == sha256(output / MANIFEST)
    if not whole and (output / MANIFEST).exists():
        what = MANIFEST if summary else f"{SUMMARY}, which proves {MANIFEST},"
        log.warning("%s: %s is damaged, or of another release: what it told of is done again", output, what)
    return whole


def _manifest_rows(output: Path) -> Iterator[Row]:
    with pq.ParquetFile(output / MANIFEST) as table:
        for batch in table.iter_batches(GROUP):
            yield from batch.to_pylist()


def _claims(output: Path) -> Iterator[Claim]:
    """Outputs that the account lists, and what they held. A damaged account names what it can: a sha256 that fits a
    file is proof enough."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, pa.ArrowException):
        for row in _manifest_rows(output):
            yield from _claim(row)
    for journal in _journals(output):
        with journal.open("rb") as lines:
            for line in lines:
                yield from _claim(unseal(line) or {})


def _claim(row: Row) -> Iterator[Claim]:
    if row.get("output") and re.fullmatch("[0-9a-f]{64}", str(row.get("output_sha256"))):
        yield file_of(row["output"]), row["output_sha256"]


def finish(config: RestoreConfig, names: Iterable[str], extra: dict[str, Any]) -> dict[str, Any]:
    """Write manifest.parquet, a row for each name in their order, and summary.json; remove the journals.

    Returns:
        The summary: ``files``, ``counts`` by status, ``usable`` (pictures that could be read), ``faces``, the first
        ``failures``, ``config``, ``extra``, and ``manifest_sha256``.
    """
    journals, earlier = _journals(config.output), Earlier(config.output)
    counts: Counter[str] = Counter()
    failures: list[str] = []

    def write(temporary: Path) -> None:
        with pq.ParquetWriter(temporary, ROWS, compression="zstd") as writer:
            for table in _tables(journals, names):
                writer.write_table(table)
                earlier.drop(filter(None, table["output"].to_pylist()))
                columns = (table[name].to_pylist() for name in ("path", "status", "reason", "mode", "faces_restored"))
                for path, status, reason, mode, faces in zip(*columns):
                    usable = status in USABLE or (status == "skipped" and bool(mode))
                    counts.update({status: 1, "faces": faces or 0, "usable": usable})
                    if status == "failed" and len(failures) < REASONS:
                        failures.append(f"{path}: {reason}")

    write_atomically(config.output / MANIFEST, write)
    summary = {
        "files": sum(counts[status] for status in STATUSES),
        "counts": {status: counts[status] for status in STATUSES},
        "usable": counts["usable"],
        "faces": counts["faces"],
        "failures": failures,
        **extra,
        "config": config.model_dump(mode="json"),
        "manifest_sha256": sha256(config.output / MANIFEST),
    }
    write_json(config.output / SUMMARY, seal(summary))
    unmark(config.output)
    for journal in journals:
        journal.unlink()
    earlier.save()
    forget(config.output)
    with contextlib.suppress(OSError):  # something of others in it stays
        (config.output / WORK).rmdir()
    return summary


def _tables(journals: Sequence[Path], names: Iterable[str]) -> Iterator[pa.Table]:
    """The latest row of each name, in tables of GROUP rows.

    By pyarrow's reader of JSON: a table of Python's objects would make pyarrow import pandas.
    """
    places = {name: (i, place) for i, journal in enumerate(journals) for name, place in _index(journal)}
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(journal.open("rb")) for journal in journals]

        def line(name: str) -> bytes:
            if name not in places:
                return (
                    json.dumps({"path": name, "status": "failed", "reason": "no process finished it"}).encode() + b"\n"
                )
            number, place = places[name]
            files[number].seek(place)
            return files[number].readline()

        names = iter(names)
        while text := b"".join(map(line, itertools.islice(names, GROUP))):
            yield pj.read_json(
                pa.BufferReader(text), pj.ReadOptions(block_size=len(text) + 1),
                pj.ParseOptions(explicit_schema=ROWS, unexpected_field_behavior="ignore"),
            )  # fmt: skip


def _line(row: Row) -> str:
    """A row as a line of a journal, with the digest of its content."""
    return json.dumps(seal(row)) + "\n"


def _index(journal: Path) -> Iterator[tuple[str, int]]:
    """Names of a journal's rows and where their lines begin; a line that is damaged or was cut off is passed over."""
    if not journal.is_file():
        return
    damaged = 0
    with journal.open("rb") as file:
        place = 0
        for line in file:
            row = unseal(line) if line.endswith(b"\n") else None
            if row is not None:
                yield row["path"], place
            damaged += row is None and line != b"\n"
            place += len(line)
    if damaged:
        log.warning("%s: %d lines are damaged or cut off: what they told of is done again", journal, damaged)
