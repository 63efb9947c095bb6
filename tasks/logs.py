"""Makes Prefect log an error that names its cause as one line, without a traceback."""

from __future__ import annotations

import errno
import logging

from ufvnet.errors import ConfigError, PipelineError, TrainingError


class _OneLine(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or isinstance(error, ConfigError | PipelineError | TrainingError):
            record.exc_info = record.exc_text = None
        return True


def plain_errors() -> None:
    """Leave tracebacks of such errors out of what flow and task runs log in this process."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logger = logging.getLogger(name)
        if not any(isinstance(f, _OneLine) for f in logger.filters):
            logger.addFilter(_OneLine())
