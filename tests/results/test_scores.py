"""Scores that a later run trusts: no flipped bit in them goes unnoticed, and a damaged file is scored again."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ufvnet.config import ConfigError, EvaluateConfig, load
from ufvnet.data.schema import read_checked, write_checked
from ufvnet.errors import EvaluationError
from ufvnet.models.inference import best_device
from ufvnet.results import scoring
from ufvnet.results.evaluation import resolve_evaluation
from ufvnet.results.scoring import SCORE_COLUMNS, ScoreTask, plan_scoring
from ufvnet.results.tables.overview import overview_table

ROWS = 12


@pytest.fixture
def config(built: Path, tmp_path: Path) -> EvaluateConfig:
    """Bicubic on two faces at three sizes."""
    sets = [{"name": "A", "path": built, "limit": 2}]
    return load(EvaluateConfig, {"name": "e", "datasets": sets, "out": tmp_path, "view": "MR3"})


def plan(config: EvaluateConfig) -> list[ScoreTask]:
    return plan_scoring(resolve_evaluation(config))


def read_scores(config: EvaluateConfig) -> pd.DataFrame:
    return scoring.read_scores(resolve_evaluation(config)).scores


def test_no_flipped_bit_changes_what_is_read_unnoticed(tmp_path: Path) -> None:
    file, chance = tmp_path / "t.parquet", random.Random(0)
    values = {
        "model": ["ufvnet (MR8)"] * ROWS, "k": range(ROWS), "psnr": np.random.default_rng(0).normal(30, 3, ROWS),
        "reason": ["", None] * (ROWS // 2), "w1": [float("nan"), float("inf"), -0.0] * (ROWS // 3),
    }  # fmt: skip
    write_checked(file, pa.table(values), "a fingerprint")
    whole, read = file.read_bytes(), read_checked(file)
    assert read is not None
    noticed = 0
    for place in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chance.randrange(8)
        file.write_bytes(damaged)
        again = read_checked(file)
        noticed += again is None
        if again is not None:  # in what no reader looks at
            assert repr(again[0].to_pylist()) == repr(read[0].to_pylist())
            assert (again[0].schema, again[1]) == (read[0].schema, read[1])
    assert noticed > len(whole) / 6
    for damaged in (b"", whole[:-1], whole[1:], b"PAR1", whole + whole[:9]):
        file.write_bytes(damaged)
        assert read_checked(file) is None


def test_a_table_without_a_digest_or_of_no_table_at_all_is_not_trusted(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1]}), tmp_path / "plain.parquet")
    (tmp_path / "folder.parquet").mkdir()
    for name in ("plain", "folder", "absent"):
        assert read_checked(tmp_path / f"{name}.parquet") is None


def test_a_score_that_was_changed_is_scored_again_and_a_line_says_so(
    config: EvaluateConfig, caplog: pytest.LogCaptureFixture
) -> None:
    (task,) = plan(config)
    assert scoring.score_faces(task)
    scores = read_scores(config)
    assert set(scores.columns) == set(SCORE_COLUMNS)
    forged = pa.Table.from_pandas(scores.assign(psnr_y=scores["psnr_y"] + 1), preserve_index=False)
    metadata = pq.read_schema(task.file).metadata  # the very fingerprint, and the digest of other values
    pq.write_table(forged.replace_schema_metadata(metadata), task.file)
    with pytest.raises(EvaluationError, match="no whole scores there; evaluate again"):
        read_scores(config)
    assert scoring.score_faces(task)
    assert "is damaged, or of an earlier release: it is scored again" in caplog.text
    columns = [c for c in scores if c != "milliseconds"]
    pd.testing.assert_frame_equal(read_scores(config)[columns], scores[columns])


def test_scores_say_on_which_device_they_were_timed_and_old_ones_that_it_is_unknown(
    config: EvaluateConfig, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("def up(lr, side):\n    return lr\n")
    config = load(EvaluateConfig, config, [f"models=['bicubic', '{tmp_path}/mine.py:up']", "device=auto"])
    tasks = plan(config)
    for task in tasks:
        scoring.score_faces(task)
    devices = read_scores(config).groupby("model")["device"].unique().map(list)
    assert dict(devices) == {"bicubic": [best_device("auto").type], "up": [""]}
    checked = read_checked(tasks[0].file)
    assert checked is not None
    write_checked(tasks[0].file, checked[0].drop_columns("device"), checked[1])
    evaluation = scoring.read_scores(resolve_evaluation(load(EvaluateConfig, config, ["models=[bicubic]"])))
    table = overview_table(evaluation)
    assert table.rows[0][table.header.index("device")] == "unknown"


def test_a_damaged_crash_diary_changes_no_score(config: EvaluateConfig) -> None:
    (task,) = plan(config)
    task.diary.parent.mkdir(parents=True)
    task.diary.write_bytes(b"\xff")
    assert scoring.score_faces(task)
    assert set(read_scores(config)["status"]) == {"ok"}
    assert not task.diary.exists()


def test_a_shard_that_cannot_be_read_here_is_no_failed_row(config: EvaluateConfig, built: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(built, copy)
    moved = load(EvaluateConfig, config.model_dump(), [f"datasets.0.path={copy}"])
    (task,) = plan(moved)
    whole = bytearray(task.group.shard.read_bytes())
    middle = whole.find(b"IDAT")
    whole[middle + 40] ^= 255
    task.group.shard.write_bytes(whole)
    with pytest.raises(EvaluationError, match=r"row group 0: cannot be read"):
        scoring.score_faces(task)
    task.group.shard.unlink()  # a worker that does not see the dataset
    with pytest.raises(EvaluationError, match=r"row group 0: cannot be read"):
        scoring.score_faces(task)
    assert not task.file.exists()
    assert not task.diary.exists()
    task.group.shard.write_bytes(b"PAR1 no table")
    with pytest.raises(ConfigError, match="is damaged"):
        plan(moved)


@pytest.mark.parametrize("change", ["gone", "other"])
def test_a_method_that_is_another_on_this_machine_gives_no_rows(
    config: EvaluateConfig, tmp_path: Path, change: str
) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def up(lr, side):\n    raise RuntimeError('no')\n")
    (task,) = plan(load(EvaluateConfig, config.model_dump(), [f"models=['{file}:up']"]))
    file.unlink()
    if change == "other":
        file.write_text("def up(lr, side):\n    return lr\n")
    with pytest.raises(EvaluationError, match="cannot be imported" if change == "gone" else "is not what was planned"):
        scoring.score_faces(task)
    assert not task.file.exists()


def test_a_model_that_cannot_be_loaded_here_gives_no_rows(config: EvaluateConfig, tmp_path: Path) -> None:
    from tests.results.conftest import save_untrained

    folder = Path(save_untrained(tmp_path / "model", "onesrg"))
    (task,) = plan(load(EvaluateConfig, config.model_dump(), [f"models=['{folder}']"]))
    (folder / "model.safetensors").unlink()
    with pytest.raises((ConfigError, EvaluationError), match="is not what was planned"):
        scoring.score_faces(task)
    assert not task.file.exists()


def test_a_folder_that_was_removed_is_not_made_again_by_a_worker(config: EvaluateConfig) -> None:
    (task,) = plan(config)
    shutil.rmtree(task.folder)
    with pytest.raises(EvaluationError, match="is gone, or cannot be seen from here"):
        scoring.score_faces(task)
    assert not task.folder.exists()
    (task,) = plan(config)
    assert scoring.score_faces(task)


def test_scores_of_a_method_keep_what_earlier_runs_scored(config: EvaluateConfig, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("import numpy as np\ndef up(lr, side):\n    return np.zeros((len(lr), side, side, 3), np.uint8)\n")
    more: Any = load(EvaluateConfig, config.model_dump(), [f"models=['bicubic', '{file}:up']"])
    for task in plan(more):
        scoring.score_faces(task)
    assert not any(scoring.score_faces(task) for task in plan(config))
    assert not any(scoring.score_faces(task) for task in plan(more))
