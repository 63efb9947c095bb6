"""What is to be restored: files, folders, globs and tables, each picture with the name of its output."""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ufvnet.config import ConfigError, RestoreConfig, TableSource
from ufvnet.data.sources.cells import Cell, in_one_line
from ufvnet.data.sources.files import TABLES, files_below
from ufvnet.data.sources.image_table import NoPictures, cells_of, read_cells, read_rows, read_schema
from ufvnet.files import escape_name, printed
from ufvnet.restore.picture import ENDINGS

PIPE = Path("-")
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
    verdict: status and reason of a table that has no rows to restore.
    """

    root: str
    name: str
    base: str
    rows: int | None = None
    label: str | None = None
    verdict: tuple[str, str] | None = None

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
        name = escape_name(self.label or self.name)
        if self.rows is None:
            yield name
        else:
            yield from (f"{name}#{row:06d}" for row in range(self.rows))


def list_sources(config: RestoreConfig) -> list[Source]:
    """Everything that the inputs name, in order of their names; a file that two of them name comes once.

    Raises:
        ConfigError: an input that is not there or names nothing, an output that lies in an input, or an image_root
            that is no folder.
    """
    if config.image_root is not None and not os.path.isdir(config.image_root):
        raise ConfigError(f"image_root = {config.image_root}: no such folder")
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
    if os.path.isdir(given):
        root = os.path.abspath(given)
        return root, [str(p) for p in files_below(Path(root), config.recursive)]
    if os.path.lexists(given):
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
    if not inside and not (given.is_dir() and any(_below(real, output) for real in _searched(root, folders))):
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


def _searched(root: str, folders: Iterable[str]) -> set[str]:
    """Where ``root`` and the folders on the way to these ones, which links may lead to, really are."""
    length = len(Path(root).parts)
    ways = {way for folder in folders for way in (Path(folder), *Path(folder).parents) if len(way.parts) > length}
    return {os.path.realpath(root), *map(os.path.realpath, ways)}


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

    Where a.jpg and a.png lie in one folder, their outputs are a.jpg.png and a.png.png. A table's outputs lie in a
    folder of its own, and no output has the name of a folder that others lie in.
    """
    labelled = _labelled(files)
    stems = Counter(os.path.splitext(name)[0].casefold() for _, name in files)
    holding = map(Path, {os.path.dirname(told) for *_, told in labelled})
    folders = {*OURS, *(str(folder).casefold() for below in holding for folder in (below, *below.parents))}
    sources, taken, tables, suffix = [], set[str](), set[str](), config.suffix.casefold()
    labelled.sort(key=lambda file: not _is_table(file[1]))  # tables first, as their folders bind the others
    for root, name, told in labelled:
        path = Path(root, name)
        rows, verdict = _rows(path, config) if _is_table(name) and path.is_file() else (None, None)
        if told.rpartition("#")[0] in tables:  # the manifest may call a row so
            told = _free(told, {t.casefold() for *_, t in labelled})
        stem, ending = os.path.splitext(told)
        ends = {suffix + e for e in (ending.casefold(), *ENDINGS.values(), ".heic")} if rows is None else {""}
        alone = told != name or stems[stem.casefold()] == 1
        for base in itertools.chain([stem] if alone else [], [told], (f"{told}-{n}" for n in itertools.count(2))):
            low = base.casefold()
            if low not in taken and folders.isdisjoint([low + end for end in ends]):
                break
        taken.add(low)
        if rows is not None:
            folders.add(low)
            tables.add(told)
        sources.append(Source(root, name, base, rows, told if told != name else None, verdict))
    return sorted(sources, key=lambda source: (source.name, source.root))


def _labelled(files: Sequence[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """(root, name, what the manifest calls it, which differs where two inputs have files of one name), in order."""
    several = len({root for root, _ in files}) > 1
    counts = Counter(name for _, name in files) if several else Counter[str]()
    taken = {name.casefold() for name in counts if counts[name] == 1}
    labelled = []
    for root, name in sorted(files, key=lambda file: (file[1], file[0])):
        told = name
        if counts[name] > 1:
            told = _free(os.path.join(os.path.basename(root), name), taken)
            taken.add(told.casefold())
        labelled.append((root, name, told))
    return labelled


def _is_table(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in TABLES


def _free(name: str, taken: set[str]) -> str:
    """The name, or it with a number that nobody has."""
    free, number = name, 1
    while free.casefold() in taken:
        number += 1
        free = f"{name}-{number}"
    return free


# Tables


MAGIC = (b"PAR1", b"PARE", b"ARRO", b"\xff\xff\xff\xff")
"""What Parquet files (PARE: with an encrypted footer), Arrow files and Arrow streams begin with."""


def _table(path: Path, config: RestoreConfig) -> TableSource:
    return TableSource(kind="table", root=path.parent, image=config.image_column, image_root=config.image_root)


def _rows(path: Path, config: RestoreConfig) -> tuple[int | None, tuple[str, str] | None]:
    """Pictures of a table; where it has none, or cannot be read, what its row in the manifest says.

    Neither for what is no table but for its name.

    Raises:
        ConfigError: an input that the user names has no such column, or cannot be read.
    """
    try:
        count = len(cells_of(_table(path, config), path))
    except ConfigError as error:
        text = printed(str(error).replace("source.image = ", "image_column = "))
        if any(os.path.abspath(given) == str(path) for given in config.inputs):
            raise ConfigError(f"input = {printed(path)}: {text}") from error
        if isinstance(error, NoPictures):
            return None, ("skipped", f"a table without a column of pictures of that name: {text}")
        return None, ("failed", f"a table that cannot be read: {text}") if _is_one_by_content(path) else None
    return (count, None) if count else (None, ("skipped", "a table without rows"))


def _is_one_by_content(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) in MAGIC
    except OSError:
        return True  # nobody can say; its name does


def table_cells(source: Source, config: RestoreConfig) -> Iterator[tuple[str, Cell]]:
    """(printable name, picture) of each row of a table, in order, whatever became of the table since it was listed."""
    contents: Iterator[Cell] = iter(())
    fault = OSError("the table has fewer rows than when the run began")
    try:
        table = _table(source.path, config)
        contents = read_cells(table, cells_of(table, source.path))
    except ConfigError as error:
        fault = OSError(f"the table cannot be read any more ({error})")
    yield from zip(source.names(), itertools.chain(contents, itertools.repeat(fault)))


def other_columns(source: Source, config: RestoreConfig, first: int, count: int) -> tuple[pa.Table, str]:
    """Rows of a table without their pictures, as they came, and what is to be said of columns that cannot be read.

    A column that is damaged there, or of a type that Parquet has not, is null, so that all parts have the same columns.
    """
    try:
        schema = read_schema(source.path)
    except Exception as error:  # of damaged files pyarrow raises nearly anything
        return pa.table({}), f"the table's other columns cannot be read any more ({in_one_line(error)})"
    names = [name for name in schema.names if name != config.image_column]
    foreign = [name for name in names if not _in_parquet(schema, name)]
    with contextlib.suppress(Exception):
        if not foreign:
            return read_rows(source.path, names, first, count) if names else pa.table({}), ""
    columns, lost = {}, []
    for name in dict.fromkeys(names):
        try:
            columns[name] = pa.nulls(count) if name in foreign else read_rows(source.path, [name], first, count)[name]
        except Exception:
            columns[name] = pa.nulls(count, schema.field(name).type if schema.names.count(name) == 1 else pa.null())
            lost.append(name)
    said = (("cannot be read in the table and is null", lost), ("is of a type that Parquet has not, and null", foreign))
    return pa.table(columns), "; ".join(f"{what}: {', '.join(which)}" for what, which in said if which)


def _in_parquet(schema: pa.Schema, name: str) -> bool:
    """Whether Parquet has the types of the columns of a name."""
    fields = [field for field in schema if field.name == name]
    try:
        pq.write_table(pa.schema(fields).empty_table(), pa.BufferOutputStream())
    except pa.ArrowNotImplementedError:
        return False
    return True
