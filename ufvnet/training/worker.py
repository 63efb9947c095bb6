"""The process that trains one part: ``python -P -m ufvnet.training.worker JOB.json``.

JOB.json holds role, k and config. Progress, notes for the user and errors go to standard output, one JSON object per
line. When standard input ends, the parent is gone: the training then writes a checkpoint and stops.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ufvnet.children import arrow_without_pandas, when_parent_ends, without_collection
from ufvnet.config import ConfigError, TrainConfig, load
from ufvnet.console import leave_at_once
from ufvnet.errors import TrainingError
from ufvnet.extras import is_installed

if TYPE_CHECKING:
    from .part import Part

INTERRUPTED = 3
"""Exit code of a training that was asked to stop."""


def main(job_file: str) -> int:
    """Train the job's part; 0 when finished, 1 with a message when it failed, 3 when asked to stop."""
    when_parent_ends(lambda: signal.raise_signal(signal.SIGTERM))
    with without_collection():
        from .engine import Interrupted
    if is_installed("pyarrow"):
        arrow_without_pandas()
    try:
        _train(json.loads(Path(job_file).read_text()))
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        if int(os.environ.get("RANK", 0)) == 0:
            _print({"interrupted": str(stop)})
        return 0 if "RANK" in os.environ else INTERRUPTED  # torchrun takes any other code for a failure
    except (TrainingError, ConfigError, OSError) as error:
        number = error.errno if isinstance(error, OSError) else None
        if number not in (None, errno.ENOSPC, errno.EDQUOT):
            raise
        print(error, file=sys.stderr)
        _print({"error": str(error), "kind": type(error).__name__, "errno": number})
        return 1
    return 0


def _train(job: dict[str, Any]) -> None:
    from .engine import train
    from .stages import resolve_parts

    stage1, whole = resolve_parts(load(TrainConfig, job["config"]))
    part = next(p for p in [*stage1, whole] if (p.role, p.k) == (job["role"], job["k"]))
    train(part, _print_progress, lambda line: _print({"note": line}))


def job_of(part: Part) -> dict[str, Any]:
    """The content of JOB.json for a part."""
    return {"role": part.role, "k": part.k, "config": part.config.model_dump(mode="json")}


def _print_progress(step: int, steps: int, figures: Mapping[str, float]) -> None:
    _print({"step": step, "steps": steps, "figures": figures})


def _print(event: dict[str, Any]) -> None:
    """Send an event to the parent. If the parent is gone, the training writes a checkpoint and stops."""
    try:
        print(json.dumps(event), flush=True)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (it stays open to the end)
        signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    code = main(sys.argv[1])
    if "RANK" in os.environ:  # torchrun's processes take leave of each other
        sys.exit(code)
    leave_at_once(code)
