"""dlib's import and a signal in the middle of it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

IMPORT = """
import signal, sys

class Stopped(BaseException):
    pass

def stop(*_):
    raise Stopped

def in_its_middle(event, args):
    if event == "import" and args[0] == "_dlib_pybind11":
        signal.setitimer(signal.ITIMER_REAL, 0.002)

signal.signal(signal.SIGALRM, stop)
sys.addaudithook(in_its_middle)
from ufvnet.dlib_library import dlib
try:
    dlib()
    signal.pause()  # where the import was faster
except Stopped:
    print(dlib().__version__)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system sends no signal at a given moment")
def test_a_signal_in_the_middle_of_its_import_is_raised_as_what_it_means_and_dlib_works_afterwards() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
