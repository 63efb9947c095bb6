"""dlib, imported whole: a signal in the middle of its import would break it for the life of the process."""

from __future__ import annotations

import functools
import importlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any


@functools.cache
def dlib() -> Any:
    """The library, imported at the first call, in a thread of its own.

    Python raises what a signal means (Ctrl-C; SIGTERM in a run of Prefect) in the main thread. In the middle of dlib's
    import it would become an ImportError, which ends a run as failed, not as stopped, and so would every later import.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(importlib.import_module, "dlib").result()
