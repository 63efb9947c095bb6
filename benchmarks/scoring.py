"""The whole evaluation of bicubic on test sets A and B with Dask: two workers compared with one."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ufvnet.config import BuildConfig, EvaluateConfig, load

Row = tuple[str, str, float, float, float]
SETS = ("aaf", "us_congress")


def scoring() -> Iterator[Row]:
    """One row: faces per second (all eight sizes) of two workers, twice that of one, and their ratio."""
    from tasks.cluster import dask_client, map_jobs
    from ufvnet.results.evaluation import resolve_evaluation
    from ufvnet.results.scoring import plan_scoring, score_faces

    with tempfile.TemporaryDirectory() as name:
        sets = [{"name": s, "path": _built(s, Path(name))} for s in SETS]
        rates = []
        for workers in (1, 2):
            config = load(EvaluateConfig, {"name": f"w{workers}", "models": ["bicubic"], "datasets": sets, "out": name})
            tasks = plan_scoring(resolve_evaluation(config))
            with dask_client(load(BuildConfig, _build_config(SETS[0], workers)).cluster, len(tasks)) as client:
                client.gather([client.submit(_warm, workers=[w]) for w in client.scheduler_info()["workers"]])
                started = time.perf_counter()
                map_jobs(client, score_faces, tasks)
                rates.append(sum(t.group.faces for t in tasks) / (time.perf_counter() - started))
    yield (
        "scoring bicubic on A and B, 2 workers, faces",
        "twice one worker",
        rates[1],
        2 * rates[0],
        rates[1] / 2 / rates[0],
    )


def _warm() -> None:
    """Import modules and load Numba's kernel from its cache, which takes as long for any number of faces."""
    import numpy as np

    from ufvnet.metrics import score
    from ufvnet.results import scoring  # noqa: F401

    score(*np.zeros((2, 1, 64, 64, 3), np.uint8))


def _build_config(name: str, workers: int, **more: object) -> dict[str, object]:
    import yaml

    config = yaml.safe_load(Path(f"configs/datasets/{name}.yaml").read_text())
    return config | {"cluster": {"workers": workers}} | more


def _built(name: str, out: Path) -> Path:
    """The built dataset in data/, or a newly built one if there is none."""
    folder = Path("data") / name
    if not (folder / "dataset.json").is_file():
        from flows.build_datasets import build_datasets

        build_datasets(load(BuildConfig, _build_config(name, 2, out=str(out))))
        folder = out / name
    return folder
