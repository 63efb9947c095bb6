"""Where photos come from: a folder, CelebA, Helen; each lists photos with their split."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ufvnet.config import BuildConfig, CelebASource, ConfigError, FolderSource, HelenSource, fingerprint

SPLITS_OF_CELEBA = {"0": "train", "1": "val", "2": "test"}


@dataclass(frozen=True)
class Photo:
    """A photo to be built from.

    path: relative to the source's root, ``/`` between folders; the photo's name everywhere.
    split: its split, or None where the source's lists leave it out.
    landmarks: 136 numbers x0, y0, ..., x67, y67 in pixels, where a file gives them.
    hint: a point (x, y) inside the face that is meant, where the source tells.
    """

    path: str
    split: str | None
    landmarks: tuple[float, ...] | None = None
    hint: tuple[float, float] | None = None


def list_photos(config: BuildConfig) -> list[Photo]:
    """Every photo of the source, by path; listed photos that do not exist are among them.

    Raises:
        ConfigError: a folder or file of the source is missing or malformed.
    """
    source = config.source
    if not source.root.is_dir():
        raise ConfigError(f"source.root = {source.root}: no such folder")
    landmarks = _read_landmarks(source.landmarks) if source.landmarks else {}
    hints: dict[str, tuple[float, float]] = {}
    if isinstance(source, CelebASource):
        splits, hints = _celeba(source)
        found = _files(source.root / "img_celeba", source.root)
    elif isinstance(source, HelenSource):
        found = [p for folder in sorted(source.root.glob("helen_*")) for p in _files(folder, source.root)]
        splits = _helen(source, found)
    else:
        found = _files(source.root, source.root)
        splits = _folder_splits(source, found, config.seed)
    if not found:
        raise ConfigError(f"source.root = {source.root}: no photos in it")
    paths = sorted(set(found) | set(splits))
    photos = [Photo(p, splits.get(p), landmarks.get(p), hints.get(p)) for p in paths]
    return photos if config.limit is None else _subset(photos, config.limit, config.seed)


def _files(folder: Path, root: Path) -> list[str]:
    if not folder.is_dir():
        raise ConfigError(f"source.root = {root}: must hold the folder {folder.name}")
    return [p.relative_to(root).as_posix() for p in files_below(folder)]


def files_below(folder: Path, recursive: bool = True) -> Iterator[Path]:
    """Everything in a folder but folders and hidden files, by name; links to folders are not followed, so none loops.

    Pipes and links to nowhere are among them: whoever reads them says what is wrong.
    """
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if not path.is_dir():
            yield path
        elif recursive and not path.is_symlink():
            yield from files_below(path)


def _folder_splits(source: FolderSource, found: list[str], seed: int) -> dict[str, str]:
    if source.splits:
        lists = {split: _read_lines(path) for split, path in source.splits.items()}
        splits: dict[str, str] = {}
        for split, names in lists.items():
            for name in names:
                if splits.setdefault(name, split) != split:
                    raise ConfigError(f"source.splits: {name} stands in both {splits[name]} and {split}")
        return splits
    shuffled = sorted(found, key=lambda p: fingerprint(seed, "split", p))
    splits, start, share = {}, 0, 0.0
    for split, fraction in source.fractions.items():
        share += fraction
        end = round(share * len(shuffled))
        splits |= dict.fromkeys(shuffled[start:end], split)
        start = end
    return splits


def _celeba(source: CelebASource) -> tuple[dict[str, str], dict[str, tuple[float, float]]]:
    partition = _first(source.root, "list_eval_partition.txt", "Eval")
    splits: dict[str, str] = {}
    for line in _read_lines(partition):
        name, _, code = line.partition(" ")
        if code.strip() not in SPLITS_OF_CELEBA:
            raise ConfigError(f"{partition}: {line!r} must be a name and 0, 1 or 2")
        splits[f"img_celeba/{name}"] = SPLITS_OF_CELEBA[code.strip()]
    hints: dict[str, tuple[float, float]] = {}
    try:
        five = _first(source.root, "list_landmarks_celeba.txt", "Anno")
    except ConfigError:
        return splits, hints
    for line in _read_lines(five)[2:]:  # a count and a header come first
        try:
            name, *points = line.split()[0], *map(float, line.split()[1:])
            if len(points) != 10:
                raise ValueError
        except ValueError as error:
            raise ConfigError(f"{five}: {line!r} must be a name and 10 numbers") from error
        hints[f"img_celeba/{name}"] = (sum(points[0::2]) / 5, sum(points[1::2]) / 5)
    return splits, hints


def _helen(source: HelenSource, found: list[str]) -> dict[str, str]:
    by_stem = {Path(p).stem: p for p in found}
    splits = {}
    for split, file in (("train", "trainnames.txt"), ("test", "testnames.txt")):
        for name in _read_lines(source.root / file):
            splits[by_stem.get(name, f"{name}.jpg")] = split
    return splits


def _first(root: Path, name: str, folder: str) -> Path:
    for path in (root / name, root / folder / name):
        if path.is_file():
            return path
    raise ConfigError(f"source.root = {root}: must hold {name} (or {folder}/{name})")


def _read_lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error


def _read_landmarks(path: Path) -> dict[str, tuple[float, ...]]:
    try:
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
        header, rows = rows[0], rows[1:]
        if header[0] != "file" or len(header) != 137:
            raise ValueError("the header must be file, x0, y0, ..., x67, y67")
        for number, row in enumerate(rows, start=2):
            if len(row) != 137:
                raise ValueError(f"line {number} has {len(row)} values, not 137")
        return {row[0]: tuple(float(v) for v in row[1:]) for row in rows}
    except (OSError, ValueError, IndexError) as error:
        raise ConfigError(f"source.landmarks = {path}: {error}") from error


def _subset(photos: list[Photo], limit: int, seed: int) -> list[Photo]:
    """A seeded choice of at most ``limit`` photos a split."""
    chosen: list[Photo] = []
    for split in sorted({p.split for p in photos if p.split}):
        members = [p for p in photos if p.split == split]
        chosen += sorted(members, key=lambda p: fingerprint(seed, "subset", p.path))[:limit]
    return sorted(chosen, key=lambda p: p.path)
