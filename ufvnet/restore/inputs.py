"""What is to be restored: files, folders, globs and tables, each picture with the name of its output."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from ufvnet.config import ConfigError, RestoreConfig, TableSource
from ufvnet.data.image_table import list_cells, read_cells
from ufvnet.data.sources import Photo, files_below

PIPE = Path("-")
TABLES = (".parquet", ".arrow")
OURS = ("manifest.parquet", "summary.json")
"""What a run writes into its output beside the pictures; never an input where the output is one."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file that is to be restored, or a table of pictures; there may be a great many, so it holds little.

    root: the folder that its name is relative to.
    name: path below root, as the file system has it.
    base: path of its output below the output folder without the ending.
    rows: number of pictures in a table; None for a file.
    label: the name in the manifest, where it is not ``name``.
    """

    root: str
    name: str
    base: str
    rows: int | None = None
    label: str | None = None

    @property
    def path(self) -> Path:
        return Path(self.root, self.name)

    @property
    def ending(self) -> str:
        return os.path.splitext(self.name)[1]

    def count(self) -> int:
        """Rows that it has in the manifest."""
        return 1 if self.rows is None else self.rows

    def names(self) -> Iterator[str]:
        """Printable names of its pictures: what the manifest calls them."""
        name = printable(self.label or self.name)
        if self.rows is None:
            yield name
        else:
            yield from (f"{name}#{row:06d}" for row in range(self.rows))


def printable(name: str) -> str:
    """A file name as valid UTF-8: bytes that are none are written as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def list_sources(config: RestoreConfig) -> list[Source]:
    """Everything that the inputs name, in order of their names; a file that two of them name comes once.

    Raises:
        ConfigError: an input that is not there or names nothing, or an output that lies in an input.
    """
    found: dict[str, tuple[str, str]] = {}
    for given in config.inputs:
        root, files = _files(config, given)
        count = len(found)
        _check_output(config, given, root, files)
        for path in files:
            if not _ours(config, root, path):
                found.setdefault(path, (root, os.path.relpath(path, root)))
        if len(found) == count and not any(path in found for path in files):
            raise ConfigError(f"input = {given}: no files in it")
    return _named(list(found.values()), config)


def _files(config: RestoreConfig, given: Path) -> tuple[str, list[str]]:
    """The folder that names are relative to, and absolute paths."""
    if given.is_dir():
        root = os.path.abspath(given)
        return root, [str(p) for p in files_below(Path(root), config.recursive)]
    if given.exists() or given.is_symlink():
        path = os.path.abspath(given)
        return os.path.dirname(path), [path]
    if not glob.has_magic(str(given)):
        raise ConfigError(f"input = {given}: no such file or folder")
    matches = sorted(glob.glob(str(given), recursive=True))
    files = []
    for match in matches:
        if not os.path.isdir(match):
            files.append(os.path.abspath(match))
        elif config.recursive:
            files += [str(p) for p in files_below(Path(os.path.abspath(match)))]
    if not files:
        raise ConfigError(f"input = {given}: fits no file")
    parts = given.parts
    plain = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return os.path.abspath(Path(*parts[:plain]) if plain else Path()), list(dict.fromkeys(files))


def _check_output(config: RestoreConfig, given: Path, root: str, files: Sequence[str]) -> None:
    output, folder = os.path.realpath(config.output), os.path.realpath(root)
    if os.path.exists(output) and not os.path.isdir(output):
        raise ConfigError(f"output = {config.output}: is a file; it must be a folder")
    if _below(output, folder):
        raise ConfigError(f"output = {config.output}: holds the input {given}; results must not mix with the originals")
    folders = {path: os.path.realpath(path) for path in {os.path.dirname(file) for file in files}}
    if output != folder:
        originals = {real for real in folders.values() if real != output and not _below(output, real)}
        for path in sorted(folders):
            place = os.path.join(output, os.path.relpath(path, root))
            if os.path.realpath(place) in originals:
                raise ConfigError(f"output = {config.output}: {place} leads to a folder of the input {given}")
    own = os.path.abspath(config.output)  # files right in it that a glob fits are results, no reason to refuse

    def lies_in_output(file: str) -> bool:
        real = os.path.join(folders[os.path.dirname(file)], os.path.basename(file))
        return _below(output, os.path.realpath(file) if os.path.islink(file) else real)

    inside = output == folder or any(lies_in_output(f) for f in files if os.path.dirname(f) != own)
    if not inside and not (given.is_dir() and _below(folder, output)):
        return
    if not config.into_input:
        raise ConfigError(
            f"output = {config.output}: lies in the input {given}; results must not mix with the originals "
            "(--into-input allows it)"
        )
    if output == folder and not config.suffix:
        raise ConfigError(
            f"suffix = {config.suffix!r}: the output is the input's folder, so that originals could be overwritten; "
            "give a suffix, e.g. --suffix _restored"
        )


def _below(folder: str, path: str) -> bool:
    return path != folder and path.startswith(os.path.join(folder, ""))


def _ours(config: RestoreConfig, root: str, path: str) -> bool:
    """Whether a file is an output of an earlier run into the input."""
    if not config.into_input:  # all else that lies in the output was refused
        return os.path.dirname(path) == os.path.abspath(config.output)
    output = os.path.realpath(config.output)
    if output != os.path.realpath(root):
        return _below(output, os.path.realpath(path))
    name = os.path.basename(path)
    return name in OURS or (bool(config.suffix) and Path(name).stem.endswith(config.suffix))


def _named(files: Sequence[tuple[str, str]], config: RestoreConfig) -> list[Source]:
    """Sources with the names of their outputs, of which no two are the same, not even on file systems without case.

    Where a.jpg and a.png lie in one folder, their outputs are a.jpg.png and a.png.png.
    """
    roots = {root for root, _ in files}
    labels = Counter(name for _, name in files) if len(roots) > 1 else Counter[str]()
    stems = Counter(os.path.splitext(name)[0].casefold() for _, name in files)
    sources, taken, told = [], set[str](), set[str]()
    for root, name in sorted(files, key=lambda file: (file[1], file[0])):
        label = None
        if labels[name] > 1:  # the same name in two inputs
            label = _free(os.path.join(os.path.basename(root), name), told)
            told.add(label.casefold())
        stem = os.path.splitext(label or name)[0]
        base = stem if label or stems[stem.casefold()] == 1 else name
        base = _free(base, taken)
        taken.add(base.casefold())
        path = Path(root, name)
        rows = _rows(path, config) if path.suffix.lower() in TABLES and path.is_file() else None
        sources.append(Source(root, name, base, rows, label))
    return sources


def _free(name: str, taken: set[str]) -> str:
    """The name, or it with a number that nobody has."""
    free, number = name, 1
    while free.casefold() in taken:
        number += 1
        free = f"{name}-{number}"
    return free


# Tables


def _table(path: Path, column: str) -> TableSource:
    return TableSource(kind="table", root=path.parent, files={"all": glob.escape(path.name)}, image=column)


def _rows(path: Path, config: RestoreConfig) -> int | None:
    """Pictures of a table; None for one that a folder happens to hold and that has none."""
    try:
        return sum(1 for _ in list_cells(_table(path, config.image_column)))
    except ConfigError as error:
        if all(os.path.abspath(given) != str(path) for given in config.inputs):
            return None
        text = str(error).replace("source.image = ", "image_column = ")
        raise ConfigError(f"input = {path}: {text}") from error


def table_cells(source: Source, config: RestoreConfig) -> Iterator[tuple[str, bytes | Path | None]]:
    """(printable name, encoded picture or the file that the row names) of each row of a table, in order."""
    cells: list[Photo] = list_cells(_table(source.path, config.image_column))
    yield from zip(source.names(), read_cells(source.path.parent, config.image_column, cells))


def other_columns(source: Source, config: RestoreConfig, first: int, count: int) -> pa.Table:
    """Rows of a table without their pictures, as they came."""
    import pyarrow.parquet as pq

    if source.path.suffix.lower() == ".parquet":
        with pq.ParquetFile(source.path) as file:
            names = [n for n in file.schema_arrow.names if n != config.image_column]
            return _slice(file.iter_batches(1000, columns=names), names, first, count)
    with pa.memory_map(str(source.path)) as mapped:
        stream = pa.ipc.open_stream(mapped)
        names = [n for n in stream.schema.names if n != config.image_column]
        return _slice((batch.select(names) for batch in stream), names, first, count)


def _slice(batches: Iterator[pa.RecordBatch], names: list[str], first: int, count: int) -> pa.Table:
    parts, at = [], 0
    if not names:
        return pa.table({})
    for batch in batches:
        low, high = max(first, at), min(first + count, at + len(batch))
        if low < high:
            parts.append(batch.slice(low - at, high - low))
        at += len(batch)
        if at >= first + count:
            break
    return pa.Table.from_batches(parts)
