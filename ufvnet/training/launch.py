"""Training a part in a process of its own: its threads, memory and signals stay apart from the caller's."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from ufvnet import children
from ufvnet.errors import ConfigError, TrainingError
from ufvnet.files import claim, printed, write_json
from ufvnet.progress import Progress

from .engine import Interrupted
from .part import Part
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
        TrainingError: the child failed; the message says why.
        ConfigError: the device or the data is not there, or a folder to write to is somebody else's.
        OSError: a file cannot be written, e.g. because the disk is full.
        Interrupted: the child was asked to stop.
    """
    if part.done():
        return part.model_folder
    part.check_folders()
    claim(part.folder, "run")
    job, errors = part.folder / "job.json", part.folder / "stderr.log"
    write_json(job, job_of(part))
    processes, ends = part.config.processes, dict[str, Any]()
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = children.python(*torchrun, "-m", "ufvnet.training.worker", str(job))
    with (
        errors.open("w") as stderr,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True,
            env=children.environment(**ENVIRONMENT), start_new_session=True,
        ) as child,
    ):  # a session of its own: Ctrl-C reaches the caller alone, who then asks for a checkpoint  # fmt: skip
        assert child.stdout is not None
        RUNNING.add(child)
        try:
            for line in child.stdout:
                event = json.loads(line) if line.startswith("{") else {}
                if "note" in event:
                    print(f"ufvnet: {printed(event['note'])}", file=sys.stderr, flush=True)
                if "interrupted" in event or "error" in event:
                    ends = ends or event
                if progress and "step" in event:
                    progress(event["step"], event["steps"], event["figures"])
            code = child.wait()
        except BaseException:
            child.terminate()
            child.wait()
            raise
        finally:
            RUNNING.discard(child)
    if code == INTERRUPTED or "interrupted" in ends:
        raise Interrupted(f"{part.name}: asked to stop; run again to go on")
    if code:
        raise _failure(part, code, ends, errors)
    return part.model_folder


def _failure(part: Part, code: int, ends: dict[str, Any], errors: Path) -> Exception:
    """Why a training process ended, in one line: what it said itself, or else the last line of what it wrote."""
    if "error" in ends:
        if ends["errno"] is not None:
            return OSError(ends["errno"], f"{part.name}: {os.strerror(ends['errno'])}", str(part.folder))
        kind = ConfigError if ends["kind"] == "ConfigError" else TrainingError
        return kind(ends["error"])
    text = errors.read_text(errors="replace")
    killed = re.search(r"exitcode *: (-\d+)", text)  # torchrun's report of one of several processes
    if killed:
        code = int(killed[1])
    cause = children.cause_of_death(code)
    if cause is not None:
        return TrainingError(
            f"{part.name}: training was killed ({cause}), by hand or for want of memory; run again to go on from the "
            "last checkpoint"
        )
    lines = text.strip().splitlines() or ["it wrote nothing"]
    raised = [line for line in lines if re.match(r"(\[rank\d+\]: )?[\w.]+(Error|Exception)\b", line)]
    last = printed((raised or lines)[-1][:500])
    return TrainingError(f"{part.name}: training ended with code {code}: {last} (all of it: {printed(errors)})")
