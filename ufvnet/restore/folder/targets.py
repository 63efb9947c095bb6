"""Where restored pictures go: files, or rows of Parquet parts; both are complete or not there."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from ufvnet.data.schema import IMAGE
from ufvnet.errors import OutputLostError
from ufvnet.files import escape_name, sha256, unescape_name, write_bytes

from .manifest import FINISHED, Account, Row
from .outputs import digest, free_name

PART = 100
"""Rows of a Parquet part: what a killed run does again at most."""


class Target(Protocol):
    """Takes a finished picture, or None where there is no output, and accounts for its row."""

    def put(self, row: Row, data: bytes | None, ending: str) -> None: ...


class FileTarget:
    """A file of its own.

    Args:
        account: told of the row once the file is in place.
        base: its path below the output folder without suffix and ending.
        suffix: what follows it; ``put`` is given both.
        ending: of the input, which the output may have too.
    """

    def __init__(self, account: Account, base: str, suffix: str, ending: str = ""):
        self.account, self.base, self.suffix = account, free_name(base, suffix, ending), suffix

    def put(self, row: Row, data: bytes | None, ending: str) -> None:
        if data is not None:
            try:
                path, digested = self.account.admit(f"{self.base}{ending}", data)
                write_bytes(path, data)
                row |= {"output": escape_name(f"{self.base}{ending}"), "output_sha256": digested}
            except OSError as error:
                row |= _unwritten(error)
        if row["sha256"]:
            self._remove_stale(self.account.earlier(row["path"]), row["output"])
        self.account.add(row)

    def _remove_stale(self, earlier: Row | None, output: str) -> None:
        """An earlier run's output of an input that now has none, or another one, would pass for one of this run: it is
        removed if it is what that run wrote."""
        if earlier is None or not earlier.get("output") or earlier["output"] == output:
            return
        written = unescape_name(earlier["output"])
        if not os.path.isabs(written) and ".." not in Path(written).parts:
            with contextlib.suppress(OSError):
                if digest(self.account.output, written) == earlier["output_sha256"]:
                    (self.account.output / written).unlink()

    def kept(self, row: Row | None, key: str, content: bytes) -> bool:
        """Whether an earlier row is finished, of these settings and this input, and its output is intact."""
        if row is None or row["status"] not in FINISHED or row.get("key") != key:
            return False
        if row.get("sha256") != sha256(content):
            return False
        if not row.get("output"):
            return True
        name = unescape_name(row["output"])
        ours = re.fullmatch(re.escape(self.base + self.suffix) + r"(\.[^./]*)?", name)
        return bool(ours) and digest(self.account.output, name) == row["output_sha256"]


class PartTarget:
    """A Parquet file of some rows, written when the last of them is finished.

    Args:
        account: told of all its rows once the file is in place.
        name: its path below the output folder.
        names: of its rows, in order.
        others: gives the other columns of these rows, and what is to be said of them.
    """

    def __init__(
        self,
        account: Account,
        name: str,
        names: Sequence[str],
        others: Callable[[], tuple[pa.Table, str]] | None = None,
    ):
        self.account, self.name, self.names, self.others = account, free_name(name), list(names), others
        self.lock = threading.Lock()
        self.rows: dict[str, tuple[Row, bytes | None, str]] = {}

    def put(self, row: Row, data: bytes | None, ending: str) -> None:
        with self.lock:
            self.rows[row["path"]] = row, data, ending
            if len(self.rows) < len(self.names):
                return
        finished = [self.rows[name] for name in self.names]
        try:
            digested = self._write(finished)
        except Exception as error:  # one odd part must not stop the night's run, but a full disk must
            failed = _unwritten(error)
            for one, written, _ in finished:
                one |= failed if written is not None else {}
        else:
            for number, (one, written, _) in enumerate(finished):
                one |= {"output": f"{escape_name(self.name)}#{number}", "output_sha256": digested if written else ""}
        self.account.add(*(one for one, _, _ in finished))
        self.rows = {}

    def _write(self, rows: Sequence[tuple[Row, bytes | None, str]]) -> str:
        table, said = self.others() if self.others else (pa.table({}), "")
        if said:  # without a key a resumed run tries these rows again
            for row, _, _ in rows:
                row |= {"reason": "; ".join(filter(None, [row["reason"], said])), "key": ""}
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
        known = {"info": {"features": {"image": {"_type": "Image"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(known)})
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer, compression="none", row_group_size=PART)
        data = buffer.getvalue().to_pybytes()
        path, digested = self.account.admit(self.name, data)
        write_bytes(path, data)
        return digested

    def kept(self, rows: Sequence[Row | None], key: str, contents: Sequence[bytes | None]) -> bool:
        """Whether every row is finished, of these settings and inputs, and the part is intact."""
        written = digest(self.account.output, self.name) or ""
        return all(
            row is not None
            and row["status"] in FINISHED
            and row.get("key") == key
            and str(row.get("output", "")).startswith(f"{escape_name(self.name)}#")
            and content is not None
            and row.get("sha256") == sha256(content)
            and row.get("output_sha256") in (written, "")
            for row, content in zip(rows, contents)
        ) and bool(written)


def _renamed(table: pa.Table, taken: Collection[str]) -> pa.Table:
    """A table whose columns of names that are ``taken`` are called ``input_<name>``."""
    kept = {name for name in table.column_names if name not in taken}
    names = []
    for name in table.column_names:
        if name in taken:
            while name in taken or name in kept:
                name = f"input_{name}"
            kept.add(name)
        names.append(name)
    return table.rename_columns(names)


def _unwritten(error: Exception) -> Row:
    """What becomes of a row whose output cannot be written.

    Raises:
        OSError: the disk is full, which is no fault of this picture.
        OutputLostError: the output folder is gone.
    """
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or isinstance(error, OutputLostError):
        raise error
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return {"status": "failed", "reason": f"cannot be written: {reason}"}


def empty_row(name: str, key: str) -> dict[str, Any]:
    """A manifest row in the making."""
    return {"path": name, "status": "", "reason": "", "output": "", "sha256": "", "output_sha256": "", "key": key}
