"""CelebA in the wild as its authors publish it: photos, partition, and five points that say which face is meant."""

from __future__ import annotations

import itertools

from ufvnet.config import CelebASource
from ufvnet.errors import ConfigError
from ufvnet.remote import AnyPath

from .files import numbered_lines, path_below, paths_in, required_file
from .photo import Photo

SPLITS_BY_CODE = {"0": "train", "1": "val", "2": "test"}
"""Splits by their codes in list_eval_partition.txt."""


def list_celeba(source: CelebASource) -> list[Photo]:
    """The photos of the folder and of the partition, the latter with their splits unless lists give those.

    Raises:
        ConfigError: a folder or file is missing or malformed, or a photo has two splits.
    """
    files = [*paths_in(source.root / "img_celeba", source.root)]
    hints = _centres(source.root)
    if source.splits:
        return [Photo(path, hint=hints.get(path)) for path in files]
    splits: dict[str, str] = {}
    for place, line in numbered_lines(required_file(source.root, "list_eval_partition.txt", "Eval")):
        name, code = [*line.strip().rsplit(None, 1), ""][:2]
        if code not in SPLITS_BY_CODE:
            raise ConfigError(f"{place}: {line[:80]!r} must be a name and 0, 1 or 2")
        path = path_below(source.root, f"img_celeba/{name}", place)
        if splits.setdefault(path, SPLITS_BY_CODE[code]) != SPLITS_BY_CODE[code]:
            raise ConfigError(f"{place}: {name} is in both {splits[path]} and {SPLITS_BY_CODE[code]}")
    return [Photo(path, splits.get(path), hint=hints.get(path)) for path in {*files, *splits}]


def _centres(root: AnyPath) -> dict[str, tuple[float, float]]:
    """The mean of the five points of each photo; empty where the file of points is missing.

    Raises:
        ConfigError: it is malformed, or a photo has two rows of different points.
    """
    try:
        file = required_file(root, "list_landmarks_celeba.txt", "Anno")
    except ConfigError:
        return {}
    centres = dict[str, tuple[float, float]]()
    for place, line in itertools.islice(numbered_lines(file), 2, None):  # a count and a header come first
        try:
            name, *points = line.split()[0], *map(float, line.split()[1:])
            if len(points) != 10:
                raise ValueError
        except ValueError as error:
            raise ConfigError(f"{place}: {line[:80]!r} must be a name and 10 numbers") from error
        centre = (sum(points[0::2]) / 5, sum(points[1::2]) / 5)
        if centres.setdefault(path_below(root, f"img_celeba/{name}", place), centre) != centre:
            raise ConfigError(f"{place}: {name} occurs twice, with different points")
    return centres
