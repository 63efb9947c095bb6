"""A picture that may have killed a process, tried in a process of its own before the run touches it."""

from __future__ import annotations

import secrets
import subprocess

from ufvnet.children import begun_child, cause_of_death
from ufvnet.config import RestoreConfig
from ufvnet.remote import AnyPath

DEADLY = "it kills the process that restores it"
WORKER = "ufvnet.restore.trial_worker"


def crash_in_trial(config: RestoreConfig, name: str, content: AnyPath | bytes, ending: str) -> str | None:
    """Why a picture must not be restored in this process; None if the trial said at its end that it lived.

    Args:
        config: how to restore it.
        name: what the manifest calls it.
        content: its file or its bytes.
        ending: the ending of its file's name.
    """
    token = secrets.token_hex()  # known to the trial alone: an exit code of 0 proves nothing
    job = (token, config, name, content, ending)
    with begun_child(WORKER, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        child.give(job)
        out, errors = (stream.decode(errors="replace") for stream in child.process.communicate())
    code = child.process.returncode
    cause = cause_of_death(code)
    if cause is not None:
        return f"{DEADLY} ({cause})"
    if code == 0 and out.endswith(token):
        return None
    last = errors.strip().rpartition("\n")[2]
    return f"a trial in a process of its own did not live to its end (exit code {code}): {last}"
