"""One picture in, one picture out: a file or standard input to a file or standard output."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from PIL import Image

from ufvnet.config import ConfigError, RestoreConfig
from ufvnet.files import check_writable, printed, write_bytes
from ufvnet.imaging.formats import heif_is_known, kind_of
from ufvnet.remote import AnyPath, RemotePath

from .folder.job import Job
from .folder.records import ManifestRow, new_row
from .folder.scheduler import Scheduler
from .folder.side_folders import SideFolders
from .folder.source import PIPE, holds_pictures
from .known_faces import KnownFaces, read_known_faces
from .picture import ENDINGS
from .resolved import resolve


def is_single(config: RestoreConfig) -> bool:
    """True if a configuration names a pipe, or one picture and an output that is no folder and has an ending.

    The pictures of a table or an archive become a folder, whose name may have a dot, unless its ending is that of a
    picture.
    """
    if PIPE in (*config.inputs, config.output):
        return True
    (given, *others), ending = config.inputs, config.output.suffix.lower()
    if others or not ending:
        return False
    if isinstance(given, RemotePath):  # a store is asked only if both names are those of pictures
        named_alike = _is_picture_name(given) and _is_picture_name(config.output)
        return named_alike and given.is_file() and not config.output.is_dir()
    if not given.is_file() or config.output.is_dir():
        return False
    return not holds_pictures(given) or _is_picture_name(config.output)


def _is_picture_name(path: AnyPath) -> bool:
    heif_is_known()
    return path.suffix.lower() in Image.registered_extensions()


def restore_single(config: RestoreConfig) -> ManifestRow:
    """Restore one picture and write it; returns its row, which goes into no manifest.

    Raises:
        ConfigError: there is not one input, the output is the input or exists already, or its ending is that of no
            format of ours.
    """
    (path,) = config.inputs if len(config.inputs) == 1 else (None,)
    if path is None or not (path == PIPE or path.is_file()):
        raise ConfigError("input: a pipe takes one picture: a file, or - for standard input")
    if holds_pictures(path):
        raise ConfigError(f"output = {config.output}: the pictures of a table or an archive need a folder")
    if config.frames == "all":
        raise ConfigError(f"output = {config.output}: all frames need a folder")
    config = _with_format(config)
    if isinstance(config.output, Path) and config.output != PIPE:
        check_writable("output", config.output if config.output.is_dir() else config.output.parent)
    _check_free(config, config.output)
    SideFolders.check(config)
    known_faces = read_known_faces(config)
    known_faces.check([str(path)])
    SideFolders(config).claim()
    content = sys.stdin.buffer.read() if path == PIPE else path.absolute()
    faces = known_faces.find(str(path))
    known_faces = KnownFaces({} if faces is None else {path.name: faces}, known_faces.fingerprint)
    row, target = restore_alone(config, path.name, content, path.suffix, known_faces)
    row["path"] = str(path)
    if target.data is not None:
        _write(config, target.data, target.ending)
    return row


class MemoryTarget:
    """A target that only keeps what it receives."""

    def __init__(self) -> None:
        self.data: bytes | None = None
        self.ending = ""

    def find_kept(self, name: str, key: str, content: bytes) -> ManifestRow | None:
        """None: there is no earlier run."""
        return None

    def keep(self, row: ManifestRow) -> None:
        """Never called, as nothing is found."""

    def put(self, row: ManifestRow, data: bytes | None, ending: str) -> None:
        """Keep the output."""
        self.data, self.ending = data, ending


def restore_alone(
    config: RestoreConfig, name: str, content: AnyPath | bytes, ending: str, known_faces: KnownFaces | None = None
) -> tuple[ManifestRow, MemoryTarget]:
    """Restore one picture without writing anything.

    Args:
        config: how.
        name: of the picture in landmarks and boxes.
        content: its file, or its bytes.
        ending: of its file's name.
        known_faces: as in ``resolve``.

    Returns:
        Its row, and the target that has received its output.
    """
    config, target = config.model_copy(update={"batch_size": 1, "threads": 1, "resume": False}), MemoryTarget()
    job = Job(name, content, ending, target, new_row(name, ""))
    Scheduler(resolve(config, known_faces)).run([job], lambda _: None)
    return job.row, target


def _with_format(config: RestoreConfig) -> RestoreConfig:
    """The configuration with the format that the output's ending names."""
    if config.format == "parquet":
        raise ConfigError("format = parquet: one picture is written as a picture")
    if config.output == PIPE or config.output.is_dir():
        return config
    format = kind_of(config.output.suffix).lower()
    if format not in ENDINGS:
        raise ConfigError(
            f"output = {printed(config.output)}: its ending must be one of {', '.join(ENDINGS.values())}; a folder for "
            "one picture has no dot in its name, or is there already"
        )
    if config.format not in ("auto", "same", format):
        raise ConfigError(f"format = {config.format}: the ending of output = {config.output} says {format}")
    return config.model_copy(update={"format": format})


def _check_free(config: RestoreConfig, output: AnyPath) -> None:
    """Refuse an output that is the input, or a file that exists and is not to be replaced."""
    (path,) = config.inputs
    if output == path != PIPE:
        raise ConfigError(f"output = {output}: is the input")
    if isinstance(output, RemotePath):
        if not config.overwrite and output.is_file():
            raise ConfigError(f"output = {output}: is there already; --overwrite replaces it")
        return
    if output == PIPE or output.is_dir() or not os.path.lexists(output):
        return
    if isinstance(path, Path) and path != PIPE and output.exists() and os.path.samefile(path, output):
        raise ConfigError(f"output = {output}: is the input")
    if output.is_symlink() or not output.is_file():
        raise ConfigError(f"output = {output}: is a link or no regular file, and is not replaced; name another one")
    if not config.overwrite:
        raise ConfigError(f"output = {output}: is there already; --overwrite replaces it")


def _write(config: RestoreConfig, data: bytes, ending: str) -> None:
    if config.output == PIPE:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    elif config.output.is_dir():
        (path,) = config.inputs
        stem = "stdin" if path == PIPE else Path(path.name).stem
        output = config.output / f"{stem}{ending}"
        _check_free(config, output)
        _write_whole(output, data)
    else:
        _write_whole(config.output, data)


def _write_whole(output: AnyPath, data: bytes) -> None:
    if isinstance(output, Path):
        write_bytes(output, data)
    else:
        output.write_bytes(data)  # an object shows when it is complete
