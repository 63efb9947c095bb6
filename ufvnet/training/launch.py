"""Training a part in a separate process: its threads, memory and signals do not affect the caller's."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from ufvnet import children
from ufvnet.errors import ConfigError, DivergedError, TrainingError
from ufvnet.files import claim, printed, write_json
from ufvnet.progress import Progress

from .engine import Interrupted
from .part import Part
from .running import RUNNING, STOPPING, stop
from .worker import INTERRUPTED, job_of

ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait slow other processes down
    "THP_MEM_ALLOC_ENABLE": "1",  # torch asks for huge pages: large maps are allocated at every step
}
"""Variables of training processes; the caller's environment overrides them."""


def _event(line: str) -> dict[str, Any]:
    """What a line of the child's says; nothing if it is another's, e.g. printed by a plugin."""
    try:
        event = json.loads(line) if line.startswith("{") else {}
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def train_in_process(part: Part, progress: Progress | None = None) -> Path:
    """Train one part in a child process; a finished one is skipped.

    An exception in the caller (a cancelled flow, Ctrl-C) sends SIGTERM to the child, which then
    writes a checkpoint and ends.

    Returns:
        The model folder.

    Raises:
        TrainingError: the child failed; the message says why.
        ConfigError: the device or the data is missing, or an output folder holds files of another origin.
        OSError: a file cannot be written, e.g. because the disk is full.
        Interrupted: the child was asked to stop.
    """
    if part.done() or part.is_kept_back():
        return part.model_folder
    part.check_folders()
    claim(part.folder, "run")
    job, errors = part.folder / "job.json", part.folder / "stderr.log"
    write_json(job, job_of(part))
    processes, end_event = part.config.processes, dict[str, Any]()
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = children.python(*torchrun, "-m", "ufvnet.training.worker", str(job))
    with (
        errors.open("w") as stderr,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True,
            env=children.environment(**ENVIRONMENT), start_new_session=True,
        ) as child,
    ):  # a separate session: Ctrl-C reaches only the caller, which then asks for a checkpoint  # fmt: skip
        assert child.stdout is not None
        RUNNING.add(child)
        try:
            for line in child.stdout:
                event = _event(line)
                if "note" in event:
                    print(f"ufvnet: {printed(event['note'])}", file=sys.stderr, flush=True)
                if "interrupted" in event or "error" in event:
                    end_event = end_event or event
                if progress and "step" in event:
                    progress(event["step"], event["steps"], event["figures"])
            code = child.wait()
        except BaseException:
            stop([child])
            raise
        finally:
            is_stopping = child in STOPPING
            RUNNING.discard(child)
            STOPPING.discard(child)
    if code == INTERRUPTED or "interrupted" in end_event or (is_stopping and code and "error" not in end_event):
        raise Interrupted(f"{part.name}: asked to stop; run again to go on")
    if code:
        raise _failure(part, code, end_event, errors)
    if not (part.done() or part.is_kept_back()):
        raise TrainingError(f"{part.name}: training ended early with code 0, as if finished; the model's code may exit")
    return part.model_folder


def _failure(part: Part, code: int, end_event: dict[str, Any], errors: Path) -> Exception:
    """The error of a training process, in one line: its own message, or else the last line that it wrote."""
    if "error" in end_event:
        number = end_event["errno"]
        if number is not None:
            return OSError(number, f"{part.name}: {os.strerror(number)}", str(part.folder))
        kinds = {kind.__name__: kind for kind in (ConfigError, DivergedError)}
        return kinds.get(end_event["kind"], TrainingError)(end_event["error"])
    text = errors.read_text(errors="replace")
    lines = text.strip().splitlines() or ["it wrote nothing"]
    raised = [line for line in lines if re.match(r"(\[rank\d+\]: *)?[\w.]+(Error|Exception)\b", line)]
    raised = [line for line in raised if not re.match(r"[\w.]*ChildFailedError", line)]  # torchrun's report
    died = re.findall(r"exitcode *: (-\d+)", text)  # in that report, of one of several processes
    if died and not raised:
        code = int(next((number for number in died if int(number) != -signal.SIGTERM), died[0]))
    cause = children.cause_of_death(code)
    if cause is not None:
        return TrainingError(
            f"{part.name}: training was killed ({cause}), by hand or for lack of memory; run again to go on from the "
            "last checkpoint, on a machine with more memory or with a smaller recipe.batch_size if it happens again"
        )
    last = printed((raised or lines)[-1][:500])
    return TrainingError(f"{part.name}: training ended with code {code}: {last} (all of it: {printed(errors)})")
