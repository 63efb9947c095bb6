"""An evaluation's folder: nothing foreign is touched, one run writes at a time, nothing stale of ours is left."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.results.conftest import save_untrained, scored
from ufvnet.config import ConfigError, EvaluateConfig, load
from ufvnet.errors import EvaluationError
from ufvnet.files import MARKER
from ufvnet.models import registry
from ufvnet.results import write
from ufvnet.results.evaluation import resolve_evaluation
from ufvnet.results.folder import WRITTEN, WrittenFiles, check_folder, lock_folder
from ufvnet.results.scoring import ScoreTask, plan_scoring, remove_stale
from ufvnet.results.write import Results, check_scored, write_results

UP = """
import numpy as np
from PIL import Image

def up(lr, side):
    return np.stack([np.asarray(Image.fromarray(i).resize((side, side))) for i in lr])

def crash(lr, side):
    raise RuntimeError("no")
"""


@pytest.fixture
def method(tmp_path: Path) -> str:
    (tmp_path / "code").mkdir()
    file = tmp_path / "code" / "mine.py"
    file.write_text(UP)
    return f"{file}:up"


@pytest.fixture
def config(built: Path, tmp_path: Path) -> EvaluateConfig:
    """Bicubic on two faces at three sizes."""
    sets = [{"name": "A", "path": built, "limit": 2}]
    return load(
        EvaluateConfig, {"name": "e", "datasets": sets, "out": tmp_path / "out", "view": "MR3", "grid_faces": 1}
    )


def evaluate(config: EvaluateConfig) -> Results:
    return write_results(scored(config))


def plan(config: EvaluateConfig) -> list[ScoreTask]:
    return plan_scoring(resolve_evaluation(config))


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != WRITTEN}


def test_with_a_shorter_list_of_methods_the_others_are_gone_with_their_scores(
    config: EvaluateConfig, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    evaluate(config)
    folder = config.out / config.name
    before = files(folder)
    longer = load(EvaluateConfig, config, [f"models=['bicubic', '{method}']"])
    evaluate(longer)
    added = files(folder) - before
    assert {"tables/gain_A.csv", "tables/differences_A.tex", "figures/extremes_A_up.png", "figures/gain.pdf"} <= added
    (folder / "tables" / "gain_notes.csv").write_text("a note of the user's")
    (folder / "figures" / "mine.png").write_text("a picture of the user's")
    (folder / "tables" / "differences_A.md").write_text("changed by the user")
    evaluate(config)
    theirs = {"tables/gain_notes.csv", "figures/mine.png", "tables/differences_A.md"}
    assert files(folder) - before == theirs
    assert "differences_A.md was changed after it was written: it is kept" in caplog.text


def test_the_scores_that_are_there_are_those_of_the_tables(
    config: EvaluateConfig, method: str, built: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of fewer damages, other shards, a removed method and test set; foreign files and links stay."""
    two = [{"name": n, "path": built, "limit": 2, "damage": ["clean", "grey"]} for n in "AB"]
    more = load(EvaluateConfig, config.model_dump(mode="json") | {"models": ["bicubic", method], "datasets": two})
    scored(more)
    scores = config.out / config.name / "scores"
    mine = scores / "A" / "bicubic"
    assert len(list(scores.rglob("*.parquet"))) == 8
    (planned,) = (task.file for task in plan(config))
    shutil.copy(planned, mine / "part-00009-00000.parquet")
    foreign = [mine / "part-of-mine.parquet", scores / "A" / "up" / "notes.txt"]
    for file in foreign:
        file.write_text("the user's")
    (scores / "linked").symlink_to(shutil.copytree(scores / "B", config.out / "elsewhere"))
    lacking = load(EvaluateConfig, config, ["models=['bicubic', 'models/nowhere']", "missing=skip"])
    remove_stale(scored(lacking))  # what was left out may be a method whose scores are there
    assert {file.parent for file in scores.rglob("*.parquet")} == {
        scores / s / m for s in "AB" for m in ("bicubic", "up")
    }
    evaluate(config)
    assert {*scores.rglob("*.*")} == {planned, *foreign}
    assert not (scores / "B").exists()
    assert len(list((config.out / "elsewhere").rglob("*.parquet"))) == 4
    assert "part-of-mine.parquet is not known to be ours: it is kept" in caplog.text


def test_a_foreign_file_of_a_name_that_we_need_is_kept(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text("{}")
    WrittenFiles(tmp_path).path("report.html").write_text("ours")
    (tmp_path / "gain.md").write_text("mine")
    written = WrittenFiles(tmp_path)
    for name in ("report.html", "gain.md"):
        written.path(name).write_text("new")
    written.remove_stale()
    assert {p.name: p.read_text() for p in tmp_path.glob("*.*") if not p.name.startswith(".")} == {
        "report.html": "new", "gain.md": "new", "gain.md.kept-1": "mine",
    }  # fmt: skip


@pytest.mark.parametrize("content", ["", "[]", "null", '{"files": {"../../x": null}, "sealed": "0"}'])
def test_where_the_list_is_damaged_nothing_is_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    (tmp_path / MARKER).write_text("{}")
    (tmp_path / "stale.md").write_text("old")
    (tmp_path / WRITTEN).write_text(content)
    written = WrittenFiles(tmp_path)
    written.path("report.html").write_text("new")
    written.remove_stale()
    assert "no stale file is removed" in caplog.text
    assert (tmp_path / "stale.md").exists()
    assert json.loads((tmp_path / WRITTEN).read_text())["files"].keys() == {"report.html"}


def test_what_a_killed_run_wrote_is_known_to_the_next(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text("{}")
    WrittenFiles(tmp_path).path("figures/a.png").parent.mkdir()
    (tmp_path / "figures" / "a.png").write_text("of a run that was killed here")
    following = WrittenFiles(tmp_path)
    following.path("report.html").write_text("new")
    following.remove_stale()
    assert files(tmp_path) == {MARKER, "report.html"}


def test_two_figures_of_one_name_get_two_files(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text("{}")
    path_for = WrittenFiles(tmp_path).below("figures")
    assert [path_for(n).name for n in ("a.png", "A.png", "a.png")] == ["a.png", "A~2.png", "a~3.png"]


def test_a_second_run_of_the_same_evaluation_is_refused(config: EvaluateConfig) -> None:
    with (
        lock_folder(config.out / config.name),
        pytest.raises(ConfigError, match="another run writes there; wait for its end, or set another name"),
        lock_folder(config.out / config.name),
    ):
        pass
    with lock_folder(config.out / config.name):  # the first has ended
        pass


def test_a_folder_of_somebody_else_is_refused_and_left_alone(config: EvaluateConfig) -> None:
    folder = config.out / config.name
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "gain.png").write_text("a figure of somebody else's")
    with pytest.raises(ConfigError, match="is not empty, and ufvnet did not make it"):
        plan(config)
    assert files(folder) == {"figures/gain.png"}


def test_an_evaluation_of_an_earlier_release_is_ours(config: EvaluateConfig) -> None:
    scored(config)
    folder = config.out / config.name
    for hidden in folder.glob(".ufvnet*"):
        hidden.unlink()
    check_folder(config)
    (folder / "diary.txt").write_text("...")
    with pytest.raises(ConfigError, match="is not empty, and ufvnet did not make it"):
        check_folder(config)


def _overlapping(config: EvaluateConfig, built: Path) -> dict[str, list[Any]]:
    folder = config.out / config.name
    (folder / "restored").mkdir(parents=True)
    return {
        "in the dataset": [f"out={built.parent}", f"name={built.name}"],
        "below the dataset": [f"out={built}"],
        "above the images": [f"models=[{{name: x, images: '{folder / 'restored'}'}}]"],
        "above the code": [f"models=['{folder / 'mine.py'}:up']"],
        "above the groups": [f"datasets.0.groups={folder / 'groups.csv'}"],
        "above the photographs": [f"datasets.0.photos={folder / 'photos'}"],
        "above the model": [f"models=['{folder / 'model'}']"],
        "above the network": [f"models=['{folder / 'x.onnx'}']"],
    }


@pytest.mark.parametrize(
    "where",
    ["in the dataset", "below the dataset", "above the images", "above the code", "above the groups",
     "above the photographs", "above the model",
     "above the network"],
)  # fmt: skip
def test_a_folder_that_overlaps_what_is_read_is_refused(config: EvaluateConfig, built: Path, where: str) -> None:
    wrong = load(EvaluateConfig, config, _overlapping(config, built)[where])
    with pytest.raises(ConfigError, match=r"overlaps (datasets|models)"):
        plan(wrong)


@pytest.mark.parametrize("name", ["scores", "tables", "figures", "scores/A", "scores/A/bicubic"])
def test_symbolic_links_in_the_folder_are_not_followed(config: EvaluateConfig, tmp_path: Path, name: str) -> None:
    plan(config)
    elsewhere, link = tmp_path / "elsewhere", config.out / config.name / name
    elsewhere.mkdir()
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="is a symbolic link"):
        plan(config)
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("name", ["../../../escaped", "n" * 180, "a\0b", "a\nb\x1b[31m", "..", "A/B"])
def test_a_model_s_name_never_becomes_a_path(
    config: EvaluateConfig, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry._REGISTRY, name, registry.describe("onesrg"))  # as a plugin may
    folder = Path(save_untrained(tmp_path / "model", "onesrg"))
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | {"model": name}))
    (task,) = plan(load(EvaluateConfig, config, [f"models=['{folder}']"]))
    assert task.file.parent.parent == config.out / config.name / "scores" / "A"
    assert len(task.file.parent.name) < 255
    assert task.file.parent.name.isprintable()


def test_a_folder_that_is_removed_while_it_is_written_is_one_line_and_a_rerun_goes_on(
    config: EvaluateConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, draw = config.out / config.name, write.open_galleries

    def remove(*given: Any) -> Any:
        shutil.rmtree(folder)
        return draw(*given)

    with monkeypatch.context() as patch:
        patch.setattr(write, "open_galleries", remove)
        with pytest.raises(EvaluationError, match="was removed while it was written to; evaluate again"):
            evaluate(config)
    assert not folder.exists()
    assert len(plan(config)) == 1


def test_an_evaluation_without_a_single_score_is_no_success_but_has_a_report(
    config: EvaluateConfig, method: str
) -> None:
    results = evaluate(load(EvaluateConfig, config, [f"models=['{method.replace(':up', ':crash')}']"]))
    assert "RuntimeError: no" in results.report.read_text()
    with pytest.raises(EvaluationError, match="no image has a score, every method failed"):
        check_scored(results)
    check_scored(replace(results, scored=1))
