"""Whatever a method does to its process, the rows after it have the scores that they have without it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import torch

from tests.results.conftest import save_untrained, scored
from ufvnet.children import environment
from ufvnet.config import ConfigError, EvaluateConfig, load
from ufvnet.models import SRG, names, register
from ufvnet.models.srg import SROutput
from ufvnet.results.methods.own_process import PythonMethod
from ufvnet.results.methods.process_state import _parts, _same, process_state_kept

SPOIL = '''
import logging, os, random, signal, sys, warnings
import numpy as np
import torch

def spoil():
    """All that a method may do to its process without meaning harm."""
    os.chdir("/")
    os.environ["OMP_NUM_THREADS"] = os.environ["LANG"] = "3"
    os.umask(0o777)
    sys.argv[:] = ["theirs"]
    sys.setrecursionlimit(5000)
    logging.disable(logging.CRITICAL)
    np.seterr(all="raise")
    np.random.seed(0)
    random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(3)
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.use_deterministic_algorithms(True)
    torch.set_flush_denormal(True)
    torch.set_autocast_enabled("cpu", True)
    warnings.simplefilter("error")
    sys.path[:] = []
    torch.backends.mkldnn.enabled
'''
PATCH = (
    SPOIL
    + """
import io
from PIL import Image

spoil()  # when it is imported, too
signal.signal(signal.SIGTERM, signal.SIG_IGN)

def restore(lr, side):
    spoil()
    sr = np.stack([np.asarray(Image.fromarray(i).resize((side, side))) for i in lr])
    print("the method prints", flush=True)
    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    os.close(0)
    torch.nn.functional.conv2d = torch.nn.functional.interpolate = None
    Image.Image.resize = lambda *_, **__: None
    np.stack = np.log10 = np.asarray = lambda *_: 1 / 0
    return sr
"""
)


@pytest.fixture
def scores(built: Path, tmp_path: Path) -> Any:
    """A function: methods -> their scores on two faces at three sizes, all scored in this process."""

    def evaluate(name: str, models: list[str]) -> pd.DataFrame:
        sets = [{"name": "A", "path": built, "limit": 2}]
        raw = {"name": name, "models": models, "datasets": sets, "out": tmp_path / "out", "view": "MR3"}
        return scored(load(EvaluateConfig, raw)).scores.drop(columns="milliseconds")

    return evaluate


def _spoil() -> None:
    room: dict[str, Any] = {}
    exec(SPOIL, room)
    room["spoil"]()


@pytest.mark.kills
def test_a_python_method_that_changes_all_it_can_changes_no_other_row(scores: Any, tmp_path: Path) -> None:
    file, network = tmp_path / "spoils.py", save_untrained(tmp_path / "model", "ufvnet")
    file.write_text(PATCH)
    before = [read() for read, _ in _parts()]
    beside = scores("beside", [f"{file}:restore", "bicubic", network])
    changed = [i for i, ((read, _), value) in enumerate(zip(_parts(), before)) if not _same(read(), value)]
    assert not changed
    without = scores("without", ["bicubic", network])
    others = beside[beside["model"] != "restore"].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, without, check_exact=True)
    first = beside[beside["model"] == "restore"].groupby("px")["status"].agg(list)
    assert first.iloc[0] == ["ok", "ok"]  # it works until it has broken its own process


class Spoiling(torch.nn.Module):
    """A registered network, which runs in the process of the others."""

    def __init__(self, inner: SRG):
        super().__init__()
        self.inner = inner

    def forward(self, ls: torch.Tensor, rate: torch.Tensor) -> SROutput:
        output = self.inner(ls, rate)
        _spoil()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return output


def test_a_network_of_the_user_s_that_changes_the_process_changes_no_other_row(scores: Any, tmp_path: Path) -> None:
    if "spoiling" not in names():
        register(
            "spoiling", lambda width, hr_size: Spoiling(SRG(width, hr_size)), "changes the process that it runs in"
        )
    spoiling = save_untrained(tmp_path / "spoiling", "spoiling")
    network = save_untrained(tmp_path / "model", "ufvnet")
    before = [read() for read, _ in _parts()]
    beside = scores("beside", [spoiling, network, "bicubic"])
    changed = [i for i, ((read, _), value) in enumerate(zip(_parts(), before)) if not _same(read(), value)]
    assert not changed
    others = beside[beside["model"] != "spoiling (MR8)"].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, scores("without", [network, "bicubic"]), check_exact=True)
    assert set(beside["status"]) == {"ok"}


def test_what_a_block_changes_is_put_back_though_it_raises() -> None:
    before = [read() for read, _ in _parts()]
    with pytest.raises(ZeroDivisionError), process_state_kept():
        _spoil() or 1 / 0
    for (read, _), value in zip(_parts(), before):
        assert _same(read(), value)


def test_modules_of_the_working_directory_are_not_imported(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("open('stolen', 'w')\nraise SystemExit('hidden')")
    (tmp_path / "json.py").write_text("open('stolen', 'w')\nraise SystemExit('hidden')")
    (tmp_path / "mine_here.py").write_text("def f(lr, side):\n    return lr")
    script = (
        "import sys\nfrom ufvnet.results.methods.own_process import PythonMethod\nsys.path.insert(0, '')\n"
        "print(PythonMethod('colorsys:rgb_to_yiq').files)\nPythonMethod('mine_here:f')"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, capture_output=True, text=True, env=environment()
    )
    assert "colorsys.py" in done.stdout
    assert "ConfigError: models: mine_here:f: cannot be imported (ModuleNotFoundError" in done.stderr
    assert not (tmp_path / "stolen").exists()


@pytest.mark.kills
def test_a_method_s_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\ndef f(lr, side):\n    time.sleep(600)")
    script = (
        "import os, sys, threading, time\nimport numpy as np\n"
        "from ufvnet.results.methods.own_process import PythonMethod\n"
        f"m = PythonMethod({str(tmp_path / 'slow.py')!r} + ':f')\nprint(m.process.pid, flush=True)\n"
        "threading.Timer(1, lambda: os._exit(0)).start()\nm(np.zeros((1, 4, 4, 3), np.uint8), 8)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment())
    child, until = int(done.stdout), time.monotonic() + 60
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, "it works on for nobody"
        time.sleep(0.2)


FORKS = """
import os
import numpy as np

def restore(lr, side):
    os.fork()  # and both go on
    return np.full((len(lr), side, side, 3), lr[0, 0, 0, 0])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes that fork here")
def test_a_method_that_forks_answers_each_call_once(tmp_path: Path) -> None:
    (tmp_path / "forks.py").write_text(FORKS)
    method = PythonMethod(f"{tmp_path / 'forks.py'}:restore")
    for value in range(20):
        sr = method(np.full((1, 8, 8, 3), value, np.uint8), 64)
        assert (sr == value).all()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def f(lr, side:\n", "SyntaxError"),
        ("raise RuntimeError('two\\nlines')", r"\(RuntimeError: two lines\)"),
        ("import sys\nsys.exit('no licence')", r"\(SystemExit: no licence\)"),
        ("import os\nos._exit(7)", r"\(it ended its process with exit code 7\)"),
        ("import os\nos.kill(os.getpid(), 9)", r"\(it ended its process with signal 9\)"),
        ("f = 3", "is int; it must be a function"),
        ("raise ValueError('\\x1b[31m red \\udcff')", r"\\x1b\[31m red"),
        ("class E(Exception):\n    def __str__(self):\n        1 / 0\nraise E", r"\(E\)"),
    ],
)
def test_a_file_that_cannot_be_imported_is_one_line(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(ConfigError, match=reason) as caught:
        PythonMethod(f"{tmp_path / 'mine.py'}:f")
    assert len(str(caught.value).splitlines()) == 1


def test_a_pipe_or_nothing_in_place_of_a_file_is_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    for name in ("pipe.py", "absent.py"):
        with pytest.raises(ConfigError, match="cannot be imported"):
            PythonMethod(f"{tmp_path / name}:f")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("return lr.tolist()", "gave list instead of (2, 8, 8, 3)"),
        ("return None", "gave NoneType instead of (2, 8, 8, 3)"),
        ("return np.full((2, side, side, 3), np.nan)", "gave float64 instead of uint8"),
        ("return np.zeros((2, side, side, 3), object)", "gave object instead of uint8"),
        ("return np.zeros((2, 3, side, side), np.uint8)", "gave (2, 3, 8, 8) instead of (2, 8, 8, 3)"),
        ("raise OSError(2, 'no such file')", "FileNotFoundError: [Errno 2] no such file"),
        ("raise OSError(28, 'No space left on device')", "disk"),
    ],
)
def test_what_is_no_image_is_a_reason_and_a_full_disk_no_fault_of_a_face(
    tmp_path: Path, text: str, reason: str
) -> None:
    from ufvnet.results.methods.own_process import MethodError

    (tmp_path / "mine.py").write_text(f"import numpy as np\ndef f(lr, side):\n    {text}")
    method = PythonMethod(f"{tmp_path / 'mine.py'}:f")
    lr = np.zeros((2, 4, 4, 3), np.uint8)
    if reason == "disk":
        with pytest.raises(OSError, match="No space left"):
            method(lr, 8)
    else:
        with pytest.raises(MethodError) as caught:
            method(lr, 8)
        assert str(caught.value) == reason
