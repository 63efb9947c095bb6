"""Standard streams, logs and errors of a command.

Streams are always there and patient with a reader that leaves; names in logs are escaped; an error is one line.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any, NoReturn, TextIO

from ufvnet.errors import ConfigError, PipelineError, TrainingError
from ufvnet.files import printed

SOME_FAILED, WRONG_USE = 1, 2
"""Exit codes; 0 is all good."""

OURS = ("ufvnet", "tasks", "flows", "prefect.flow_runs", "prefect.task_runs")
"""Loggers whose messages may hold names of the user's files."""


def prepare_streams() -> None:
    """Let no closed stream and no reader that leaves stop a command's work.

    A stream that is closed becomes the null device: else the next file that is opened takes its number, and what is
    meant for the stream is written into that file.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, flags), True)  # the lowest number that is free, which is this one
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    if os.name == "posix":
        sys.stdout, sys.stderr = _patient(sys.stdout, sys.__stdout__, 1), _patient(sys.stderr, sys.__stderr__, 2)


class _Patient(io.FileIO):
    """A stream that nobody may be reading any more, or that leads to a full disk.

    The first fault of standard output but a reader that left is raised. What comes after it is dropped, as is whatever
    standard error does not take: there is nowhere to tell it.
    """

    broken = False

    def write(self, data: Any) -> int:
        try:
            if not self.broken:
                return super().write(data)
        except OSError as error:
            if self.fileno() == 1 and error.errno not in (errno.EPIPE, errno.EIO):  # EIO: of a terminal that is gone
                self.broken, error.filename = True, "standard output"
                raise
        return memoryview(data).nbytes


def _patient(stream: TextIO | None, original: TextIO | None, number: int) -> TextIO:
    if stream is not None and stream is not original:  # somebody captures it
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Patient(number, "w", closefd=False)),
        encoding=stream.encoding if stream else "utf-8",
        errors="backslashreplace",
        line_buffering=number == 2 or os.isatty(number),
        write_through=getattr(stream, "write_through", False),
    )


@contextlib.contextmanager
def exit_on_errors() -> Iterator[None]:
    """End the process with one line and an exit code where the block raises an error that names its cause."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # a full disk behind standard output shows here
    except ConfigError as error:
        _leave(WRONG_USE, error)
    except (PipelineError, TrainingError) as error:
        _leave(SOME_FAILED, error)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _leave(SOME_FAILED, f"{error}: make room and run this again; what is finished stays")
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO):
            raise
        _leave(SOME_FAILED, error)


def _leave(code: int, message: object) -> NoReturn:
    print(f"ufvnet: {printed(message)}", file=sys.stderr)
    sys.exit(code)


def escape_logs() -> None:
    """Escape control characters in what our loggers say, whoever prints it."""
    make = logging.getLogRecordFactory()

    def escaped(*given: Any, **named: Any) -> logging.LogRecord:
        record = make(*given, **named)
        if record.name.partition(".")[0] in OURS or record.name in OURS:
            record.msg, record.args = printed(record.getMessage()), None
            if record.exc_info:
                record.exc_text = printed(logging.Formatter().formatException(record.exc_info))
        return record

    logging.setLogRecordFactory(escaped)
