"""Scoring on Dask: a worker killed in the middle changes no number."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tasks.cluster import map_on_cluster
from ufvnet.config import Cluster, EvaluateConfig, load
from ufvnet.results import scoring

FUNCTION = '''
import os, signal
from pathlib import Path
import numpy as np
from PIL import Image

MARKER = Path(__file__).with_suffix(".killed")

def restore(lr, side):
    """Its worker is killed, once, when it has scored three sizes."""
    if lr.shape[1] == 16 and not MARKER.exists():
        MARKER.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return np.stack([np.asarray(Image.fromarray(i).resize((side, side))) for i in lr])
'''


def test_a_worker_killed_in_the_middle_changes_no_number_and_a_rerun_scores_nothing(
    built: Path, tmp_path: Path
) -> None:
    file = tmp_path / "method.py"
    file.write_text(FUNCTION)
    sets = [{"name": s, "path": built, "split": s, "limit": 3} for s in ("test", "train")]
    models = ["bicubic", f"{file}:restore"]

    def scores(out: str, workers: int | None) -> pd.DataFrame:
        config = load(EvaluateConfig, {"name": out, "models": models, "datasets": sets, "out": tmp_path})
        tasks = scoring.plan(config)
        if workers:
            assert sum(map_on_cluster(scoring.score_faces, tasks, Cluster(workers=workers))) == len(tasks)
        assert [scoring.score_faces(t) for t in tasks] == [not workers] * len(tasks)
        return scoring.read_scores(config).drop(columns="milliseconds")

    killed = scores("killed", 2)
    assert file.with_suffix(".killed").exists()
    pd.testing.assert_frame_equal(killed, scores("undisturbed", None))
