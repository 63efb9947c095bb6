"""Files of 68 landmarks, by photo name: CSV, the pickles of Ma et al., folders of ibug .pts files."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ufvnet.errors import ConfigError
from ufvnet.remote import AnyPath

from .pickles import PICKLES, Array, load_plain
from .text import read_csv, read_lines

HEADER = ["file", *(f"{axis}{i}" for i in range(68) for axis in "xy")]
ALLOWED = "must be an existing .csv, .pkl or .pickle file, or a folder of .pts files"
PROBLEMS = (OSError, ValueError, pickle.UnpicklingError)


@dataclass(frozen=True, eq=False)
class Landmarks:
    """68 landmarks by photo name.

    names: N names as the files give them, ``/`` between folders, in the order of the files; each occurs once.
    points: (N, 68, 2) float32, x and y in pixels of the upright photo, the first pixel being 0; some may be nan or inf.
    by_stem: (N,) bool, true for names without a file ending (those of .pts files).
    """

    names: tuple[str, ...]
    points: np.ndarray
    by_stem: np.ndarray


def read_landmarks(paths: Sequence[AnyPath]) -> Landmarks:
    """The landmarks of several files together.

    Args:
        paths: each a .csv (file, x0, y0, ..., x67, y67), a .pkl or .pickle of Ma et al. (CVPR 2020; file name to
            {"landmark": 68 pairs, "bbox": not used}), or a folder of ibug .pts files. Folders are searched
            recursively, without hidden files and links to folders; a photo's name is then the path of its .pts file
            below the folder, without ending.

    Raises:
        ConfigError: a path is missing, of another kind or malformed, or two files give a photo different points.
    """
    rows: dict[str, tuple[int, AnyPath]] = {}
    values, by_stem = bytearray(), bytearray()  # growing buffers: floats or an array for each photo take far more
    for path in paths:
        try:
            entries, stems = _entries(path), path.is_dir()
            for name, points in entries:
                row, first = rows.setdefault(name, (len(by_stem), path))
                if row == len(by_stem):
                    values += points.tobytes()
                    by_stem.append(stems)
                    continue
                before = np.frombuffer(values[row * points.nbytes : (row + 1) * points.nbytes], np.float32)
                if not np.array_equal(before, points.ravel(), equal_nan=True):
                    raise ValueError(f"{name} has other points than in {first}")
        except PROBLEMS as error:
            raise ConfigError(f"source.landmarks = {path}: {error}") from error
    return Landmarks(
        tuple(rows), np.frombuffer(values, np.float32).reshape(-1, 68, 2), np.frombuffer(by_stem, np.bool_)
    )


def names_in_pickle(path: AnyPath, key: str = "source.landmarks") -> list[str]:
    """The photos that a pickle of Ma et al. names, in its order.

    Args:
        path: the .pkl or .pickle file.
        key: the configuration's key that names the pickle, for messages.

    Raises:
        ConfigError: it is missing, no dictionary by file name, or asks for more than plain data and arrays of numbers.
    """
    try:
        return list(load_plain(path))
    except PROBLEMS as error:
        raise ConfigError(f"{key} = {path}: {error}") from error


def _entries(path: AnyPath) -> Iterator[tuple[str, np.ndarray]]:
    """(name, (68, 2) or (136,) float32 points) of each photo, in the order of the file."""
    if isinstance(path, Path) and path.is_dir():
        return _from_folder(path)
    if path.is_file() and path.suffix.lower() == ".csv":
        return _from_csv(path)
    if path.is_file() and path.suffix.lower() in PICKLES:
        return _from_pickle(path)
    raise ValueError(ALLOWED)


def _from_csv(path: AnyPath) -> Iterator[tuple[str, np.ndarray]]:
    rows = read_csv(path)
    if [name.lower() for name in next(rows, (1, []))[1]] != HEADER:
        raise ValueError("the header must be file, x0, y0, ..., x67, y67")
    for number, (name, *values) in rows:
        if len(values) != 136:
            raise ValueError(f"line {number} has {len(values) + 1} values, not 137")
        try:
            points = _float32(np.array([float(v) for v in values]))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        yield name, points


def _from_folder(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    files = []
    for folder, folders, names in os.walk(path, onerror=_fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(folder, n) for n in names if n.lower().endswith(".pts") and not n.startswith(".")]
    if not files:
        raise ValueError(f"no .pts files in it; {ALLOWED}")
    for file in sorted(files):
        name = file.relative_to(path)
        try:
            yield name.with_suffix("").as_posix(), _points_of_pts(file)
        except (OSError, ValueError) as error:
            raise ValueError(f"{name.as_posix()}: {error}") from error


def _fail(error: OSError) -> None:
    raise error  # without this, os.walk leaves out folders that it cannot read


def _points_of_pts(file: Path) -> np.ndarray:
    """The points of a file of the lines ``version: 1``, ``n_points: 68``, ``{``, 68 times ``x y``, ``}``; less 1.

    ibug counts pixels from 1 as MATLAB does: "the coordinates of the top left pixel in an image are x=1, y=1" (its page
    of the 300-W challenge); Menpo's PTSImporter subtracts 1 for that.
    """
    lines = [(number, line.split()) for number, line in read_lines(file) if line.strip()]
    for words, (number, line) in zip((["version:", "1"], ["n_points:", "68"], ["{"]), lines):
        if "".join(line) != "".join(words):
            raise ValueError(f"line {number} must be {' '.join(words)!r}, not {' '.join(line)[:80]!r}")
    points = []
    for number, line in lines[3:-1]:
        try:
            x, y = map(float, line)
        except ValueError:
            raise ValueError(f"line {number} must be x and y, not {' '.join(line)[:80]!r}") from None
        points.append((x - 1, y - 1))
    if len(points) != 68 or lines[-1][1] != ["}"]:
        last = lines[-1][0] if lines else 0
        raise ValueError(f"line {last}, the last, must be '}}' after 68 points, not after {len(points)}")
    return _float32(np.array(points))


def _from_pickle(path: AnyPath) -> Iterator[tuple[str, np.ndarray]]:
    for name, entry in load_plain(path).items():
        if not isinstance(entry, dict) or "landmark" not in entry:
            # Ma et al.'s eval_landmark.py reads such arrays from pickles of test sets, in pixels of 128x128 crops.
            alone = " (an array alone is of a crop, not of the photo)" if isinstance(entry, Array) else ""
            raise ValueError(f"{name} must have a dictionary with 'landmark'{alone}")
        try:
            points = np.array(_not_deep(entry["landmark"]))
        except ValueError as error:
            raise ValueError(f"{name}: landmark must be 68 pairs of numbers ({error})") from error
        if points.shape != (68, 2) or points.dtype.kind not in "fiu":  # numpy would turn strings into numbers
            raise ValueError(
                f"{name}: landmark must be 68 pairs of numbers, not {points.dtype} of shape {points.shape}"
            )
        yield name, _float32(points)


def _not_deep(landmark: Any) -> Any:
    """The landmark unchanged, if numpy can convert it in reasonable time.

    Pickles may hold lists that contain themselves, or one long list a million times.

    Raises:
        ValueError: it is a list that is too deep or too long.
    """
    if isinstance(landmark, list | tuple):
        pairs = [pair for pair in landmark if isinstance(pair, list | tuple)]
        if max(len(landmark), *map(len, pairs), 0) > 1000:
            raise ValueError("far too many of them")
        if any(isinstance(value, list | tuple) for pair in pairs for value in pair):
            raise ValueError("lists in pairs")
    return landmark


def _float32(points: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # to inf, which means missing, as nan does
        return points.astype(np.float32)
