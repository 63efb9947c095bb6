"""Training a part in a process of its own: its threads, memory and signals stay apart from the caller's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ufvnet.errors import TrainingError
from ufvnet.files import write_json

from .engine import Interrupted, Progress
from .parts import Part
from .worker import INTERRUPTED, job_of

ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads starve their neighbours
    "THP_MEM_ALLOC_ENABLE": "1",  # torch asks for huge pages: large maps are made anew at every step
}
"""Set for training processes where the caller's environment says nothing."""


RUNNING: set[subprocess.Popen[str]] = set()
"""The training processes of this process."""


def stop_running() -> None:
    """Ask every training process to write a checkpoint, and wait until they have."""
    children = list(RUNNING)
    for child in children:
        child.terminate()
    for child in children:
        child.wait()


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
    processes, interrupted = part.config.processes, False
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *torchrun, "-m", "ufvnet.training.worker", str(job)]
    environment = ENVIRONMENT | os.environ
    with (
        errors.open("w") as stderr,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment, start_new_session=True
        ) as child,
    ):  # a session of its own: Ctrl-C reaches the caller alone, who then asks for a checkpoint
        assert child.stdout is not None
        RUNNING.add(child)
        try:
            for line in child.stdout:
                event = json.loads(line) if line.startswith("{") else {}
                interrupted = interrupted or "interrupted" in event
                if progress and "step" in event:
                    progress(event)
            code = child.wait()
        except BaseException:
            child.terminate()
            child.wait()
            raise
        finally:
            RUNNING.discard(child)
    if code == INTERRUPTED or interrupted:
        raise Interrupted(f"{part.name}: asked to stop; run again to go on")
    if code:
        tail = errors.read_text()[-2000:].strip()
        raise TrainingError(f"{part.name}: training ended with code {code}: {tail or 'killed'}")
    return part.model_folder
