"""A CSV that names the photos of a source, and where it has such columns their splits and persons."""

from __future__ import annotations

from ufvnet.config import ManifestSource
from ufvnet.errors import ConfigError
from ufvnet.files import check_name

from .files import path_below
from .photo import Photo
from .text import PROBLEMS, read_csv


def list_manifest(source: ManifestSource) -> list[Photo]:
    """A photo for each path that the CSV names; files that it does not name are not looked at.

    Raises:
        ConfigError: the CSV is missing or malformed, a path leads out of the root, or one has two splits or persons.
    """
    photos: dict[str, Photo] = {}
    try:
        rows = read_csv(source.file)
        _, header = next(rows, (1, []))
        columns = {key: _column(source, key, header) for key in ("path", "split", "identity") if getattr(source, key)}
        for number, row in rows:
            place = f"{source.file}, line {number}"
            values = {key: row[i] if i < len(row) else "" for key, i in columns.items()}
            path = path_below(source.root, values["path"], place)
            split = values.get("split") and check_name(f"{place}: source.split", values["split"])
            labels = (split or None, values.get("identity") or None)
            first = photos.setdefault(path, Photo(path, *labels))
            if (first.split, first.identity) != labels:
                raise ConfigError(f"{place}: {path} stands there twice, differently")
    except PROBLEMS as error:
        raise ConfigError(f"source.file = {source.file}: {error}") from error
    return list(photos.values())


def _column(source: ManifestSource, key: str, header: list[str]) -> int:
    """The index of the column that a key of the configuration names.

    Raises:
        ConfigError: there is none, or several.
    """
    column = getattr(source, key)
    if header.count(column) != 1:
        problem = "no such column" if column not in header else "several columns of that name"
        raise ConfigError(f"source.{key} = {column}: {problem} in {source.file}; there are {header[:50]}")
    return header.index(column)
