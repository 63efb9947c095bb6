"""Training a part in a process of its own: its threads, memory and signals stay apart from the caller's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ufvnet.data.schema import write_json

from .engine import Interrupted, Progress, TrainingError
from .parts import Part
from .worker import INTERRUPTED, job_of


def train_in_process(part: Part, progress: Progress | None = None) -> Path:
    """Train one part in a child process; a finished one is skipped.

    An exception in the caller (a cancelled flow, Ctrl-C) sends the child SIGTERM, on which it
    writes a checkpoint.

    Returns:
        The model folder.

    Raises:
        TrainingError: the child failed; the message is the end of what it wrote.
        Interrupted: the child was asked to stop.
    """
    if part.done():
        return part.model_folder
    part.folder.mkdir(parents=True, exist_ok=True)
    job, errors = part.folder / "job.json", part.folder / "stderr.log"
    write_json(job, job_of(part))
    command = [sys.executable, "-m", "ufvnet.training.worker", str(job)]
    environment = {"OMP_WAIT_POLICY": "PASSIVE"} | os.environ  # spinning threads starve their neighbours
    with (
        errors.open("w") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment) as child,
    ):
        assert child.stdout is not None
        try:
            for line in child.stdout:
                if progress and line.startswith("{"):
                    progress(json.loads(line))
            code = child.wait()
        except BaseException:
            child.terminate()
            child.wait()
            raise
    if code == INTERRUPTED:
        raise Interrupted(f"{part.name}: asked to stop; run again to go on")
    if code:
        tail = errors.read_text()[-2000:].strip()
        raise TrainingError(f"{part.name}: training ended with code {code}: {tail or 'killed'}")
    return part.model_folder
