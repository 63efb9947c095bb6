"""Which failures of a task are worth another try."""

from __future__ import annotations

import errno

from tasks.runtime import State
from ufvnet.errors import ConfigError, PipelineError


def worth_a_retry(_: object, __: object, state: State) -> bool:
    """False for errors that would occur again: wrong use, a full disk, or something else that a person must fix."""
    error = state.data
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return not full and not isinstance(error, ConfigError | PipelineError)
