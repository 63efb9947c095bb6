"""super-resolve: pictures -> restored pictures and their manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.restore import restore
from tasks.runtime import flow, with_failures
from tasks.settings import read_settings
from ufvnet.config import RestoreConfig
from ufvnet.errors import NothingUsableError
from ufvnet.files import printed_line

WITH_FAILURES = "CompletedWithFailures"
"""State of a run in which some inputs could not be used: triggers that wait for Completed do not fire."""


@flow(name="super-resolve")
def super_resolve(config: RestoreConfig | Path, overrides: list[str] | None = None) -> dict[str, Any]:
    """Restore from a configuration or its file; returns the summary.

    Raises:
        NothingUsableError: no input could be used; the manifest is written, with a row for every input.
    """
    settings = read_settings(RestoreConfig, config, overrides)
    summary = restore(settings)
    counts = ", ".join(f"{n:,} {status}" for status, n in summary["counts"].items() if n)
    if not summary["usable"]:
        output = printed_line(settings.output)
        raise NothingUsableError(f"{output}: none of {summary['files']:,} inputs could be used ({counts})")
    if summary["counts"]["failed"]:
        return with_failures(WITH_FAILURES, counts, summary)
    return summary
