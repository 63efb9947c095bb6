"""Where photos come from: a folder, CelebA, Helen, a manifest or image tables; each lists photos with their split."""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from ufvnet.config import (
    BuildConfig,
    CelebASource,
    ConfigError,
    FolderSource,
    HelenSource,
    ManifestSource,
    Source,
    TableSource,
    fingerprint,
)
from ufvnet.files import check_name

from .landmarks import Landmarks, names_in_pickle, read_landmarks
from .pickles import PICKLES
from .text import PROBLEMS, read_csv, read_names, spellings

SPLITS_OF_CELEBA = {"0": "train", "1": "val", "2": "test"}


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo to be built from.

    path: relative to the source's root, ``/`` between folders; the photo's name everywhere.
    split: its split, or None where the source's lists leave it out.
    identity: the person, where the source tells.
    landmarks: (68, 2) float32 x, y in pixels, where a file gives them.
    hint: a point (x, y) inside the face that is meant, where the source tells.
    cell: (file, block, row) of an image table, where the photo is a row of one.
    fault: status and reason, where nothing can be read: the photo stands for a table whose rows cannot be listed, or
        for a row that a list names and no table has.
    """

    path: str
    split: str | None = None
    identity: str | None = None
    landmarks: np.ndarray | None = None
    hint: tuple[float, float] | None = None
    cell: tuple[str, int, int] | None = None
    fault: tuple[str, str] | None = None


def list_photos(config: BuildConfig) -> list[Photo]:
    """Every photo of the source, by path; listed photos that do not exist are among them.

    Raises:
        ConfigError: a folder or file of the source is missing or malformed, or a split has not as many photos as
            it is expected to have; a list names what lies elsewhere; a split's name cannot be a folder's.
    """
    source = config.source
    if not os.path.isdir(source.root):
        raise ConfigError(f"source.root = {source.root}: no such folder")
    landmarks = read_landmarks(source.landmarks) if source.landmarks else None
    if isinstance(source, ManifestSource):
        photos = _manifest(source)
    elif isinstance(source, TableSource):
        from .image_table import list_cells

        photos = list_cells(source)
    elif isinstance(source, CelebASource):
        photos = _celeba(source)
    elif isinstance(source, HelenSource):
        photos = _helen(source)
    else:
        photos = [Photo(p) for p in _files(source.root, source.root)]
    if not photos:
        raise ConfigError(f"source.root = {source.root}: no photos in it")
    if source.splits:
        photos = _listed(photos, source, source.splits)
    if isinstance(source, FolderSource | ManifestSource | TableSource):
        photos = _shared_out(photos, source, config.seed)
    if landmarks is not None:
        photos = _with_landmarks(photos, landmarks)
    for split in sorted({p.split for p in photos if p.split is not None}):
        check_name("source: split", split)
    _check_counts(photos, source.expect)
    photos.sort(key=lambda p: p.path)
    return photos if config.limit is None else _subset(photos, config.limit, config.seed)


# Files


def _files(folder: Path, root: Path) -> list[str]:
    if not folder.is_dir():
        raise ConfigError(f"source.root = {root}: must hold the folder {folder.name}")
    return [p.relative_to(root).as_posix() for p in files_below(folder)]


def files_below(folder: Path, recursive: bool = True, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Path]:
    """Everything in a folder but folders and hidden files, by name.

    Links to folders are followed. What cannot be read is among the files: pipes, links to nowhere, a link to a folder
    that it lies in, a folder that may not be listed; whoever reads them says what is wrong.

    Args:
        folder: where to look.
        recursive: folders below too.
        above: (device, inode) of the folders that this one lies in.
    """
    try:
        status = folder.stat()
        entries = sorted(folder.iterdir())
    except OSError:
        yield folder
        return
    within = (*above, (status.st_dev, status.st_ino))
    for path in entries:
        if path.name.startswith("."):
            continue
        if not _is_folder(path):
            yield path
        elif recursive:
            target = path.stat()
            if path.is_symlink() and (target.st_dev, target.st_ino) in within:
                yield path
            else:
                yield from files_below(path, True, within)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # e.g. a name of bytes that this file system refuses
        return False


# Names from text files


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """The names of a list, or other lines, each with the place that it stands at.

    Raises:
        ConfigError: it cannot be read, or is no text.
    """
    try:
        for number, line in read_names(path):
            yield f"{path}, line {number}", line
    except PROBLEMS as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error


def _inside(root: Path, name: str, where: str) -> str:
    """A name from a text file as a path below the source's root, ``/`` between folders.

    A backslash is part of the name where there is such a file, and else a separator, as Windows writes it.

    Raises:
        ConfigError: it is empty, or leads out of the root.
    """
    _, path, *slashed = spellings(name)
    if slashed and not os.path.lexists(root / path):
        path = slashed[0]
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or not _may_be_a_file_s(path):
        raise ConfigError(f"{where}: {path[:80]!r} is no path below source.root")
    return path


def _may_be_a_file_s(name: str) -> bool:
    """False for names that no file can have: pickles may hold NUL and halves of characters."""
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


# CelebA and Helen


def _celeba(source: CelebASource) -> list[Photo]:
    found = _files(source.root / "img_celeba", source.root)
    hints = _five_points(source.root)
    if source.splits:
        return [Photo(p, hint=hints.get(p)) for p in found]
    partition = _first(source.root, "list_eval_partition.txt", "Eval")
    splits: dict[str, str] = {}
    for where, line in _lines(partition):
        name, code = [*line.strip().rsplit(None, 1), ""][:2]
        if code not in SPLITS_OF_CELEBA:
            raise ConfigError(f"{where}: {line[:80]!r} must be a name and 0, 1 or 2")
        splits[_inside(source.root, f"img_celeba/{name}", where)] = SPLITS_OF_CELEBA[code]
    return [Photo(p, splits.get(p), hint=hints.get(p)) for p in {*found, *splits}]


def _five_points(root: Path) -> dict[str, tuple[float, float]]:
    """The mean of CelebA's five points by photo; empty where there is no such file."""
    try:
        file = _first(root, "list_landmarks_celeba.txt", "Anno")
    except ConfigError:
        return {}
    hints = {}
    for where, line in itertools.islice(_lines(file), 2, None):  # a count and a header come first
        try:
            name, *points = line.split()[0], *map(float, line.split()[1:])
            if len(points) != 10:
                raise ValueError
        except ValueError as error:
            raise ConfigError(f"{where}: {line[:80]!r} must be a name and 10 numbers") from error
        hints[_inside(root, f"img_celeba/{name}", where)] = (sum(points[0::2]) / 5, sum(points[1::2]) / 5)
    return hints


def _helen(source: HelenSource) -> list[Photo]:
    found = [p for folder in sorted(source.root.glob("helen_*")) for p in _files(folder, source.root)]
    if not found:
        raise ConfigError(f"source.root = {source.root}: must hold folders helen_1, helen_2, ... with photos")
    photos = [Photo(p) for p in found]
    lists = {"train": source.root / "trainnames.txt", "test": source.root / "testnames.txt"}
    return photos if source.splits else _listed(photos, source, lists, missing="{}.jpg")


def _first(root: Path, name: str, folder: str) -> Path:
    for path in (root / name, root / folder / name):
        if path.is_file():
            return path
    raise ConfigError(f"source.root = {root}: must hold {name} (or {folder}/{name})")


# Manifest


def _manifest(source: ManifestSource) -> list[Photo]:
    photos: dict[str, Photo] = {}
    try:
        rows = read_csv(source.file)
        _, header = next(rows, (1, []))
        columns = {key: _column(source, key, header) for key in ("path", "split", "identity") if getattr(source, key)}
        for number, row in rows:
            where = f"{source.file}, line {number}"
            cells = {key: row[at] if at < len(row) else "" for key, at in columns.items()}
            path = _inside(source.root, cells["path"], where)
            split = cells.get("split") and check_name(f"{where}: source.split", cells["split"])
            told = (split or None, cells.get("identity") or None)
            known = photos.setdefault(path, Photo(path, *told))
            if (known.split, known.identity) != told:
                raise ConfigError(f"{where}: {path} stands there twice, differently")
    except PROBLEMS as error:
        raise ConfigError(f"source.file = {source.file}: {error}") from error
    return list(photos.values())


def _column(source: ManifestSource, key: str, header: list[str]) -> int:
    """The place of the column that a key names.

    Raises:
        ConfigError: there is none, or several.
    """
    column = getattr(source, key)
    if header.count(column) != 1:
        what = "no such column" if column not in header else "several columns of that name"
        raise ConfigError(f"source.{key} = {column}: {what} in {source.file}; there are {header[:50]}")
    return header.index(column)


# Splits


class _Names:
    """Photos by the names that lists and landmark files use: path or file name, with or without its ending."""

    def __init__(self, photos: Sequence[Photo]):
        paths = [PurePosixPath(p.path) for p in photos]
        self.tables = [
            _unique((key(path), photo) for path, photo in zip(paths, photos))
            for key in (str, lambda p: str(p.with_suffix("")), lambda p: p.name, lambda p: p.stem)
        ]

    def find(self, name: str, where: str = "") -> Photo | None:
        """The photo of that name, in any of its spellings; None if there is none.

        Raises:
            ConfigError: the name fits several photos.
        """
        for spelling in spellings(name):
            for table in self.tables:
                if spelling in table:
                    if table[spelling] is None:
                        at = f"{where}: " if where else ""
                        raise ConfigError(f"{at}{name} fits several photos; name it with its folder and ending")
                    return table[spelling]
        return None


def _unique(items: Iterable[tuple[str, Photo]]) -> Mapping[str, Photo | None]:
    """By key; None for a key of several."""
    table: dict[str, Photo | None] = {}
    for key, photo in items:
        table[key] = None if key in table else photo
    return table


def _listed(photos: list[Photo], source: Source, lists: Mapping[str, Path], missing: str = "{}") -> list[Photo]:
    """The photos with the splits of the lists; names that fit no photo become photos that are missing."""
    names, splits = _Names(photos), dict[str, str]()
    for split, path in lists.items():
        for where, name in _list(path, split):
            photo = names.find(name, where)
            key = photo.path if photo else missing.format(_inside(source.root, name, where))
            if splits.setdefault(key, split) != split:
                raise ConfigError(f"source.splits: {name} stands in both {splits[key]} and {split}")
    known = [replace(p, split=splits.pop(p.path, None)) for p in photos]
    if not isinstance(source, TableSource):
        return known + [Photo(path, split) for path, split in splits.items()]
    fault = ("missing", "listed, but no row of the tables has this name")
    return known + [Photo(path, split, cell=("", -1, 0), fault=fault) for path, split in splits.items()]


def _list(path: Path, split: str) -> Iterator[tuple[str, str]]:
    """The names of a list file; those of pickles without their endings, which need not be the photos'."""
    if path.suffix.lower() not in PICKLES:
        yield from _lines(path)
        return
    for number, name in enumerate(names_in_pickle(path, f"source.splits.{split}"), start=1):
        yield f"{path}, entry {number}", str(PurePosixPath(name).with_suffix("")) if PurePosixPath(name).name else name


def _shared_out(photos: list[Photo], source: FolderSource | ManifestSource | TableSource, seed: int) -> list[Photo]:
    """Identities from the pattern, and splits by a seeded hash where nothing else gives them."""
    if source.identity_pattern is not None:
        pattern = re.compile(source.identity_pattern)
        matches = [pattern.search(p.path) for p in photos]
        if not any(matches):
            raise ConfigError(f"source.identity_pattern = {source.identity_pattern}: fits none of the photos")
        photos = [replace(p, identity=m.group(1)) if m else p for p, m in zip(photos, matches)]
    if source.splits or getattr(source, "split", None) or getattr(source, "files", None):
        return photos
    groups = {p.identity if p.identity is not None else p.path for p in photos}
    splits = hashed_splits(groups, source.fractions, seed)
    return [replace(p, split=splits[p.identity if p.identity is not None else p.path]) for p in photos]


def hashed_splits(groups: Iterable[str], fractions: Mapping[str, float], seed: int) -> dict[str, str]:
    """A split for each name, by its seeded hash alone.

    Only a set so small that a split would stay empty is treated otherwise: the name whose hash is nearest to that
    split's share goes there, from a split that has others left.
    """
    places = {g: int(fingerprint(seed, "split", g)[:13], 16) / 16**13 for g in sorted(groups)}
    ends = np.cumsum(list(fractions.values()))
    names = [s for s, share in fractions.items() if share]
    bounds = [end for end, share in zip(ends, fractions.values()) if share]
    splits = {g: names[min(int(np.searchsorted(bounds, at, side="right")), len(names) - 1)] for g, at in places.items()}
    counts = Counter(splits.values())
    for i, split in enumerate(names):
        middle = (bounds[i] + (bounds[i - 1] if i else 0)) / 2
        spare = [g for g in splits if counts[splits[g]] > 1]
        if not counts[split] and spare:
            nearest = min(spare, key=lambda g: (abs(places[g] - middle), g))
            counts[splits[nearest]] -= 1
            splits[nearest] = split
            counts[split] = 1
    return splits


def _with_landmarks(photos: list[Photo], landmarks: Landmarks) -> list[Photo]:
    """The photos with their rows of the landmark files; rows without a photo are passed over."""
    names, rows = _Names(photos), dict[str, int]()
    for row, name in enumerate(landmarks.names):
        photo = names.find(name)
        if photo is not None:
            rows[photo.path] = row
    if not rows:
        raise ConfigError(f"source.landmarks: none of its {len(landmarks.names):,} names fits a photo")
    return [replace(p, landmarks=landmarks.points[rows[p.path]]) if p.path in rows else p for p in photos]


def _check_counts(photos: list[Photo], expect: Mapping[str, int]) -> None:
    counts = Counter(p.split for p in photos)
    for split, number in expect.items():
        if counts[split] != number:
            raise ConfigError(
                f"source.expect.{split} = {number:,}: the source has {counts[split]:,} photos of that split"
            )


def _subset(photos: list[Photo], limit: int, seed: int) -> list[Photo]:
    """A seeded choice of at most ``limit`` photos a split, and all tables that cannot be listed."""
    chosen = [p for p in photos if p.fault and p.fault[0] != "missing"]
    for split in sorted({p.split for p in photos if p.split}):
        members = [p for p in photos if p.split == split and p not in chosen]
        chosen += sorted(members, key=lambda p: fingerprint(seed, "subset", p.path))[:limit]
    return sorted(chosen, key=lambda p: p.path)
