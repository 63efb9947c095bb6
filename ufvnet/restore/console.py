"""A run in a terminal: its progress while it lasts, and what became of it."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ufvnet.config import ConfigError, RestoreConfig
from ufvnet.files import printed_line
from ufvnet.progress import shown, spell_rate

from .folder.reasons import advice
from .folder.source import PIPE
from .single import is_single, restore_single

FAILURES = 5
"""Number of failures that are listed at the end."""


def restore_here(
    config: RestoreConfig, flow: Callable[[RestoreConfig], dict[str, Any]] | None = None, crashed: bool = False
) -> bool:
    """Run a configuration and print what became of it.

    Args:
        config: what to restore and how.
        flow: does the run instead of this process, and returns its summary.
        crashed: as in ``restore_folder``.

    Returns:
        True if a picture failed, or none could be used.

    Raises:
        ConfigError: the configuration cannot be run as it is, or a file or folder cannot be used.
        OSError: the disk is full.
    """
    try:
        if is_single(config):
            return _print_row(config, restore_single(config))
        if flow is not None:
            summary = flow(config)
        else:
            from .folder.run import restore_folder  # one picture needs no pyarrow, which this imports

            with shown("restore") as progress:
                summary = restore_folder(config, progress, crashed)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ConfigError(f"{error.filename or config.output}: {error.strerror or error}") from error
    _print_summary(config, summary)
    return bool(summary["counts"]["failed"] or not summary["usable"])


def _print_row(config: RestoreConfig, row: Mapping[str, Any]) -> bool:
    """Print what became of the only picture; True if it failed."""
    failed = row["status"] == "failed"
    reason = "; ".join(filter(None, [row["reason"], advice(row["reason"])]))
    line = f"{row['path']}: {row['status']}" + (f" ({reason})" if reason else "")
    print(printed_line(line), file=sys.stderr if failed or config.output == PIPE else sys.stdout)
    return failed


def _print_summary(config: RestoreConfig, summary: Mapping[str, Any]) -> None:
    """Print counts and rate, and the first failures to standard error."""
    counts, seconds = summary["counts"], summary["seconds"]
    statuses = ", ".join(f"{n:,} {status}" for status, n in counts.items() if n or status in ("restored", "failed"))
    kept, made = summary["kept"], summary["files"] - summary["kept"]
    statuses += f" ({kept:,} kept from before)" if kept else ""
    rate = spell_rate(made / seconds) if seconds and made else ""
    rate = f", {rate.replace('/', ' pictures/')}" if rate else ""
    faces = f"{summary['faces']:,} face{'s' * (summary['faces'] != 1)}"
    print(f"{statuses}; {faces}{rate}: {printed_line(config.output)}")
    if summary["enlarged"] and config.size == "auto" and config.scale is None:
        photos = f"{summary['enlarged']:,} photo{'s' * (summary['enlarged'] > 1)}"
        print(f"  {photos} enlarged until the restored faces show (--size input keeps the size)")
    if summary["stretched"] and config.mode == "auto":
        crops = "a face crop" if summary["stretched"] == 1 else "face crops"
        print(f"  {summary['stretched']:,} taken for {crops} and not square: stretched (--mode photo keeps the shape)")
    for status, reasons in summary["reasons"].items():
        for reason, n in reasons.items():
            if status != "failed" or n > 1:
                print(printed_line(f"  {n:,} {status}: {reason}" + (f" ({help})" if (help := advice(reason)) else "")))
    for failure in summary["failures"][:FAILURES]:
        print(f"  {printed_line(failure)}", file=sys.stderr)
    if counts["failed"] > FAILURES:
        manifest = printed_line(config.output / "manifest.parquet")
        print(f"  and {counts['failed'] - FAILURES:,} more: {manifest}", file=sys.stderr)
    if not summary["usable"]:
        print(f"ufvnet: none of {summary['files']:,} inputs could be used", file=sys.stderr)
    elif not summary["faces"]:
        print("ufvnet: no face was restored; the reasons above say what would help", file=sys.stderr)
