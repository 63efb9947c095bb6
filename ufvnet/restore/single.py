"""One picture in, one picture out: a file or standard input to a file or standard output."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from ufvnet.config import ConfigError, RestoreConfig
from ufvnet.data.sources.files import TABLES
from ufvnet.files import check_writable, write_bytes
from ufvnet.imaging.formats import heif_is_known

from .face_finder import Looker
from .folder.inputs import PIPE
from .folder.job import Job
from .folder.run import load
from .folder.scheduler import Engine
from .folder.targets import empty_row
from .picture import ENDINGS


def is_one(config: RestoreConfig) -> bool:
    """Whether a configuration names a pipe, or one file and an output whose ending is a picture's."""
    if PIPE in (*config.inputs, config.output):
        return True
    heif_is_known()
    file = len(config.inputs) == 1 and config.inputs[0].is_file()
    return file and not config.output.is_dir() and config.output.suffix.lower() in Image.registered_extensions()


class Memory:
    """A target that only holds what it is given."""

    def __init__(self) -> None:
        self.data: bytes | None = None
        self.ending = ""

    def put(self, row: dict[str, Any], data: bytes | None, ending: str) -> None:
        self.data, self.ending = data, ending


def restore_one(config: RestoreConfig) -> dict[str, Any]:
    """Restore one picture and write it; gives its row, which has no manifest.

    Raises:
        ConfigError: not one input, an output that is the input or that is there already, or an ending that is no
            format of ours.
    """
    if len(config.inputs) != 1 or not (config.inputs[0] == PIPE or config.inputs[0].is_file()):
        raise ConfigError("input: a pipe takes one picture: a file, or - for standard input")
    if config.inputs[0].suffix.lower() in TABLES:
        raise ConfigError(f"output = {config.output}: the pictures of a table need a folder")
    config = _with_format(config)
    (given,) = config.inputs
    if config.output != PIPE:
        check_writable("output", config.output if config.output.is_dir() else config.output.parent)
    _check_free(config, config.output)
    Looker(config, 0).given.check([str(given)])
    content = sys.stdin.buffer.read() if given == PIPE else given.absolute()
    row, target = restore_alone(config, str(given), content, given.suffix)
    if target.data is not None:
        _write(config, target)
    return row


def restore_alone(
    config: RestoreConfig, name: str, content: Path | bytes, ending: str
) -> tuple[dict[str, Any], Memory]:
    """Restore one picture, and write nothing; gives its row and what became of it."""
    config, target = config.model_copy(update={"batch_size": 1, "threads": 1, "resume": False}), Memory()
    restorer = load(config)
    job = Job(name, content, ending, target, empty_row(name, ""))
    Engine(config, restorer, Looker(config, restorer.hr_size)).run([job], lambda _: None)
    return job.row, target


def _with_format(config: RestoreConfig) -> RestoreConfig:
    """The configuration with the format that the output's ending names."""
    if config.format == "parquet":
        raise ConfigError("format = parquet: one picture is written as a picture")
    if config.output == PIPE or config.output.is_dir():
        return config
    format = Image.registered_extensions().get(config.output.suffix.lower(), "").lower()
    if format not in ENDINGS:
        raise ConfigError(f"output = {config.output}: its ending must be one of {', '.join(ENDINGS.values())}")
    if config.format not in ("auto", "same", format):
        raise ConfigError(f"format = {config.format}: the ending of output = {config.output} says {format}")
    return config.model_copy(update={"format": format})


def _check_free(config: RestoreConfig, output: Path) -> None:
    """Refuse an output that is the input, or a file that is there and is not to be replaced."""
    (given,) = config.inputs
    if output == PIPE or output.is_dir() or not os.path.lexists(output):
        return
    if given != PIPE and output.exists() and os.path.samefile(given, output):
        raise ConfigError(f"output = {output}: is the input")
    if output.is_symlink() or not output.is_file():
        raise ConfigError(f"output = {output}: is a link or no regular file, and is not replaced; name another one")
    if not config.overwrite:
        raise ConfigError(f"output = {output}: is there already; --overwrite replaces it")


def _write(config: RestoreConfig, target: Memory) -> None:
    assert target.data is not None
    if config.output == PIPE:
        sys.stdout.buffer.write(target.data)
        sys.stdout.buffer.flush()
    elif config.output.is_dir():
        (given,) = config.inputs
        stem = "stdin" if given == PIPE else given.stem
        output = Path(config.output, f"{stem}{target.ending}")
        _check_free(config, output)
        write_bytes(output, target.data)
    else:
        write_bytes(config.output, target.data)
