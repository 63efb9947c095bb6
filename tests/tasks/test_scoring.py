"""Scoring on Dask: a worker killed in the middle changes no number, and a method that kills them has failed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tasks.cluster import map_on_cluster
from ufvnet.config import Cluster, EvaluateConfig, load
from ufvnet.results import scoring
from ufvnet.results.evaluation import resolve_evaluation
from ufvnet.results.write import write_results

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


@pytest.mark.kills
def test_a_worker_killed_in_the_middle_changes_no_number_and_a_rerun_scores_nothing(
    built: Path, tmp_path: Path
) -> None:
    file = tmp_path / "method.py"
    file.write_text(FUNCTION)
    sets = [{"name": s, "path": built, "split": s, "limit": 3} for s in ("test", "train")]
    models = ["bicubic", f"{file}:restore"]

    def scores(out: str, workers: int | None) -> pd.DataFrame:
        config = load(EvaluateConfig, {"name": out, "models": models, "datasets": sets, "out": tmp_path})
        evaluation = resolve_evaluation(config)
        tasks = scoring.plan_scoring(evaluation)
        if workers:
            assert sum(map_on_cluster(scoring.score_faces, tasks, Cluster(workers=workers))) == len(tasks)
        assert [scoring.score_faces(t) for t in tasks] == [not workers] * len(tasks)
        return scoring.read_scores(evaluation).scores.drop(columns="milliseconds")

    killed = scores("killed", 2)
    assert file.with_suffix(".killed").exists()
    pd.testing.assert_frame_equal(killed, scores("undisturbed", None))


DEADLY = """
import os
import sys

def restore(lr, side):
    os._exit(1)

def leave(lr, side):
    sys.exit("no licence")
"""


@pytest.mark.kills
def test_a_method_that_kills_its_process_fails_and_the_others_are_untouched(built: Path, tmp_path: Path) -> None:
    file = tmp_path / "deadly.py"
    file.write_text(DEADLY)
    sets = [{"name": "A", "path": built, "limit": 3}]
    models = ["bicubic", f"{file}:restore", f"{file}:leave"]
    config = load(EvaluateConfig, {"name": "e", "models": models, "datasets": sets, "out": tmp_path})
    resolved = resolve_evaluation(config)
    tasks = scoring.plan_scoring(resolved)
    map_on_cluster(scoring.score_faces, tasks, Cluster(workers=1))
    evaluation = scoring.read_scores(resolved)
    results = write_results(evaluation)  # in this process, which the method does not kill
    groups = evaluation.scores.groupby("model")
    assert {m: set(s["status"]) for m, s in groups} == {"bicubic": {"ok"}, "restore": {"failed"}, "leave": {"failed"}}
    assert set(groups.get_group("restore")["reason"]) == {
        "it kills the process that runs it: 3 died, one after the other"
    }
    assert set(groups.get_group("leave")["reason"]) == {"SystemExit: no licence"}
    assert "it kills the process that runs it" in results.report.read_text()
    assert not list(tmp_path.rglob("*.diary"))
