"""A run at the terminal: what is printed before, while and after."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ufvnet.config import ConfigError, RestoreConfig
from ufvnet.files import printed_line
from ufvnet.progress import shown

from .folder.inputs import PIPE
from .folder.run import restore_folder
from .single import is_one, restore_one

REASONS = 5
"""Failures that are listed at the end."""


def restore_here(
    config: RestoreConfig, flow: Callable[[RestoreConfig], dict[str, Any]] | None = None, crashed: bool = False
) -> bool:
    """Run a configuration, tell how it goes and what became of it; True if anything failed.

    Args:
        config: what and how.
        flow: does the run instead of this process.
        crashed: as ``restore_folder``'s.
    """
    try:
        if is_one(config):
            return _tell_one(config, restore_one(config))
        if flow is not None:
            summary = flow(config)
        else:
            with shown("restore") as progress:
                summary = restore_folder(config, progress, crashed)
    except KeyboardInterrupt:
        print("ufvnet: stopped; the same command with --resume goes on", file=sys.stderr)
        raise SystemExit(130) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ConfigError(f"{error.filename or config.output}: {error.strerror or error}") from error
    _tell(config, summary)
    return bool(summary["counts"]["failed"] or not summary["usable"])


def _tell_one(config: RestoreConfig, row: Mapping[str, Any]) -> bool:
    line = f"{row['path']}: {row['status']}" + (f" ({row['reason']})" if row["reason"] else "")
    print(printed_line(line), file=sys.stderr if config.output == PIPE or row["status"] == "failed" else sys.stdout)
    return row["status"] == "failed"


def _tell(config: RestoreConfig, summary: Mapping[str, Any]) -> None:
    counts, seconds = summary["counts"], summary["seconds"]
    told = ", ".join(f"{n:,} {status}" for status, n in counts.items() if n or status in ("restored", "failed"))
    rate = f", {summary['files'] / seconds:,.1f} pictures a second" if seconds else ""
    print(f"{told}; {summary['faces']:,} faces{rate}: {printed_line(config.output)}")
    for reason in summary["failures"][:REASONS]:
        print(f"  {printed_line(reason)}", file=sys.stderr)
    if counts["failed"] > REASONS:
        manifest = printed_line(config.output / "manifest.parquet")
        print(f"  and {counts['failed'] - REASONS:,} more: {manifest}", file=sys.stderr)
    if not summary["usable"]:
        print(f"ufvnet: none of {summary['files']:,} inputs could be used", file=sys.stderr)
