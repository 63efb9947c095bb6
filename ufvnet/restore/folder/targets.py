"""Targets of restored pictures: files, or rows of Parquet parts; both are complete or not there."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ufvnet.data.schema import IMAGE
from ufvnet.errors import OutputLostError
from ufvnet.files import escape_name, sha256, unescape_name

from .journal import Journal
from .outputs import free_name, output_sha256, write_output
from .records import FINISHED, ManifestRow

PART = 100
"""Rows per Parquet part, and thus the most that a killed run does again."""


class FileTarget:
    """A file for one picture.

    Args:
        journal: receives the row when the file is in place.
        base: path of the file below the output folder, without suffix and ending.
        suffix: follows the base; the endings that ``put`` receives begin with it.
        ending: of the input, which the output may have too.
    """

    def __init__(self, journal: Journal, base: str, suffix: str, ending: str = ""):
        self.journal, self.base, self.suffix = journal, free_name(base, suffix, ending), suffix

    def find_kept(self, name: str, key: str, content: bytes) -> ManifestRow | None:
        """As in ``Target``."""
        row = self.journal.earlier(name)
        if row is None or row["status"] not in FINISHED or row.get("key") != key:
            return None
        if row.get("sha256") != sha256(content):
            return None
        if not row.get("output"):
            return row
        output = unescape_name(row["output"])
        if not re.fullmatch(re.escape(self.base + self.suffix) + r"(\.[^./]*)?", output):
            return None
        return row if output_sha256(self.journal.output, output) == row["output_sha256"] else None

    def keep(self, row: ManifestRow) -> None:
        """As in ``Target``."""
        self.journal.count(row)

    def put(self, row: ManifestRow, data: bytes | None, ending: str) -> None:
        """As in ``Target``.

        Raises:
            OSError: the disk is full.
            OutputLostError: the output folder is gone.
        """
        if data is not None:
            try:
                path, digest = self.journal.guard.admit(f"{self.base}{ending}", data)
                write_output(path, data)
                row |= {"output": escape_name(f"{self.base}{ending}"), "output_sha256": digest}
            except OSError as error:
                row |= _unwritten(error)
        if row["sha256"]:
            self._remove_stale(self.journal.earlier(row["path"]), row["output"])
        self.journal.append(row)

    def _remove_stale(self, earlier: ManifestRow | None, output: str) -> None:
        """Remove the output that an earlier run made of an input that now has none, or another one, if it still is what
        that run wrote: it would pass for an output of this run."""
        if earlier is None or not earlier.get("output") or earlier["output"] == output:
            return
        name = unescape_name(earlier["output"])
        if not os.path.isabs(name) and ".." not in Path(name).parts:
            with contextlib.suppress(OSError):
                if output_sha256(self.journal.output, name) == earlier["output_sha256"]:
                    (self.journal.output / name).unlink()


class PartTarget:
    """A Parquet file for several pictures, written when the last of them is finished.

    Args:
        journal: receives all rows when the file is in place.
        name: path of the file below the output folder.
        names: of its pictures in the manifest, in order.
        others: returns the other columns of these rows, and a note on columns that are lost.
    """

    def __init__(
        self,
        journal: Journal,
        name: str,
        names: Sequence[str],
        others: Callable[[], tuple[pa.Table, str]] | None = None,
    ):
        self.journal, self.name, self.names, self.others = journal, free_name(name), list(names), others
        self.lock = threading.Lock()
        self.rows: dict[str, tuple[ManifestRow, bytes | None, str]] = {}

    def find_kept(self, name: str, key: str, content: bytes) -> ManifestRow | None:
        """None: a part is kept as a whole or not at all; see ``keep_whole``."""
        return None

    def keep(self, row: ManifestRow) -> None:
        """As in ``Target``."""
        self.journal.count(row)

    def keep_whole(
        self, key: str, contents: Iterable[bytes | None], is_complete: Callable[[ManifestRow], bool]
    ) -> bool:
        """Keep the part of an earlier run and account for its rows, if the part is intact and every row is finished for
        this key and its input; returns whether it was kept.

        Args:
            key: of this run.
            contents: bytes of the pictures, or None for those that cannot be read; read only if all else fits.
            is_complete: whether everything else that belongs to a row is there.
        """
        earlier = [self.journal.earlier(name) for name in self.names]
        rows = [row for row in earlier if row is not None and self._is_finished(row, key) and is_complete(row)]
        digest = output_sha256(self.journal.output, self.name)
        if digest is None or len(rows) < len(self.names):
            return False
        if any(row.get("output_sha256") not in (digest, "") for row in rows):
            return False
        if not all(content and row.get("sha256") == sha256(content) for row, content in zip(rows, contents)):
            return False
        self.journal.count(*rows)
        return True

    def _is_finished(self, row: ManifestRow, key: str) -> bool:
        in_part = str(row.get("output", "")).startswith(f"{escape_name(self.name)}#")
        return row["status"] in FINISHED and row.get("key") == key and in_part

    def put(self, row: ManifestRow, data: bytes | None, ending: str) -> None:
        """As in ``Target``.

        Raises:
            OSError: the disk is full.
            OutputLostError: the output folder is gone.
        """
        with self.lock:
            self.rows[row["path"]] = row, data, ending
            if len(self.rows) < len(self.names):
                return
        rows = [self.rows[name] for name in self.names]
        try:
            digest = self._write(rows)
        except Exception as error:  # one odd part must not stop the night's run, but a full disk must
            failure = _unwritten(error)
            for finished, written, _ in rows:
                finished |= failure if written is not None else {}
        else:
            for number, (finished, written, _) in enumerate(rows):
                output = f"{escape_name(self.name)}#{number}"
                finished |= {"output": output, "output_sha256": digest if written else ""}
        self.journal.append(*(finished for finished, _, _ in rows))
        self.rows = {}

    def _write(self, rows: Sequence[tuple[ManifestRow, bytes | None, str]]) -> str:
        """Write the part; returns its sha256."""
        table, losses = self.others() if self.others else (pa.table({}), "")
        if losses:  # without a key a resumed run tries these rows again
            for row, _, _ in rows:
                row |= {"reason": "; ".join(filter(None, [row["reason"], losses])), "key": ""}
        images = [None if data is None else {"bytes": data, "path": r["path"] + escape_name(e)} for r, data, e in rows]
        columns = {
            "image": pa.array(images, IMAGE),
            "restore_path": pa.array([row["path"] for row, _, _ in rows]),
            "restore_status": pa.array([row["status"] for row, _, _ in rows]),
            "restore_reason": pa.array([row["reason"] for row, _, _ in rows]),
        }
        table = _renamed(table, columns)
        for name, column in columns.items():
            table = table.append_column(name, column) if table.num_columns else pa.table({name: column})
        features = {"info": {"features": {"image": {"_type": "Image"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer, compression="none", row_group_size=PART)
        data = buffer.getvalue().to_pybytes()
        path, digest = self.journal.guard.admit(self.name, data)
        write_output(path, data)
        return digest


def _renamed(table: pa.Table, reserved: Collection[str]) -> pa.Table:
    """A table whose columns with ``reserved`` names are called ``input_<name>``."""
    used = {name for name in table.column_names if name not in reserved}
    names = []
    for name in table.column_names:
        if name in reserved:
            while name in reserved or name in used:
                name = f"input_{name}"
            used.add(name)
        names.append(name)
    return table.rename_columns(names)


def _unwritten(error: Exception) -> ManifestRow:
    """Status and reason of a row whose output cannot be written.

    Raises:
        OSError: the disk is full, which is no fault of this picture.
        OutputLostError: the output folder is gone.
    """
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or isinstance(error, OutputLostError):
        raise error
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    lost = {"faces_restored": 0, "output_width": None, "output_height": None}
    return lost | {"status": "failed", "reason": f"cannot be written: {reason}"}
