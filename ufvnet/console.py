"""Standard streams, logs and errors of a command.

A closed stream or a reader that leaves stops no command; names in logs are escaped; an error is printed as one line.
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
"""Exit codes; 0 means that everything succeeded."""

OURS = ("ufvnet", "tasks", "flows", "prefect.flow_runs", "prefect.task_runs")
"""Loggers whose messages may hold names of the user's files."""


def prepare_streams() -> None:
    """Make sure that a closed stream or a reader that leaves does not stop a command.

    A closed stream is replaced by the null device. Otherwise the next file that is opened would get the stream's
    number, and output for the stream would be written into that file.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, flags), True)  # gets the lowest free number: this one
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    if os.name == "posix":
        sys.stdout, sys.stderr = _patient(sys.stdout, sys.__stdout__, 1), _patient(sys.stderr, sys.__stderr__, 2)


class _Patient(io.FileIO):
    """A stream whose reader may have left, or whose disk may be full.

    The first error of standard output is raised, unless the reader left. Output after it is dropped. So is output that
    standard error cannot write, because there is no other place to report it.
    """

    broken = False

    def write(self, data: Any) -> int:
        try:
            if not self.broken:
                return super().write(data)
        except OSError as error:
            if self.fileno() == 1 and error.errno not in (errno.EPIPE, errno.EIO):  # EIO: the terminal is gone
                self.broken, error.filename = True, "standard output"
                raise
        return memoryview(data).nbytes


def _patient(stream: TextIO | None, original: TextIO | None, number: int) -> TextIO:
    if stream is not None and stream is not original:  # captured, e.g. by a test
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
    """End the process with one line and an exit code if the block raises an error that names its cause."""
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


def leave_at_once(code: int) -> NoReturn:
    """End this process, which has written everything, without taking the interpreter down: torch alone needs half a
    second for it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _leave(code: int, message: object) -> NoReturn:
    print(f"ufvnet: {printed(message)}", file=sys.stderr)
    sys.exit(code)


def escape_logs() -> None:
    """Escape control characters in the messages of our loggers, whichever handler prints them."""
    make = logging.getLogRecordFactory()

    def escaped(*arguments: Any, **keywords: Any) -> logging.LogRecord:
        record = make(*arguments, **keywords)
        if record.name.partition(".")[0] in OURS or record.name in OURS:
            record.msg, record.args = printed(record.getMessage()), None
            if record.exc_info:
                record.exc_text = printed(logging.Formatter().formatException(record.exc_info))
        return record

    logging.setLogRecordFactory(escaped)
