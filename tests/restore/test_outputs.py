"""The output folder: only files that runs wrote are replaced, links lead nowhere, and it may go away."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from restore_settings import config_of

from ufvnet.config import ConfigError
from ufvnet.errors import OutputLostError
from ufvnet.restore.folder.journal import Journal
from ufvnet.restore.folder.notes import WORK
from ufvnet.restore.folder.outputs import free_name
from ufvnet.restore.folder.run import open_run, resolve_run, restore_folder


def rows_of(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "manifest.parquet").set_index("path")


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# Only our own


def test_a_folder_of_somebody_else_is_refused_and_told_to_write_there_a_run_replaces_nothing(
    few: Path, model: Path
) -> None:
    out = few.parent / "out"
    (out / "below").mkdir(parents=True)
    for name in ("diary.txt", "a.png", "below/c.png"):
        (out / name).write_text(f"the user's {name}")
    before = content(out)
    with pytest.raises(ConfigError, match="ufvnet did not make it; name a new or empty folder"):
        restore_folder(config_of(few, model))
    assert content(out) == before
    summary = restore_folder(config_of(few, model, into_input=True))
    assert summary["counts"] | {"restored": 1, "failed": 2} == summary["counts"]
    assert summary["faces"] == 1
    assert "ufvnet did not write" in rows_of(out).loc["a.png", "reason"]
    assert content(out) | before == content(out)
    assert set(content(out)) - set(before) == {"b.png", "manifest.parquet", "summary.json"}
    restore_folder(config_of(few, model, into_input=True, scale=2))
    assert Image.open(out / "b.png").size == (40, 42), "what the first run wrote is replaced"
    (out / "b.png").write_bytes(b"mended by hand")
    assert restore_folder(config_of(few, model, into_input=True, resume=True))["counts"]["failed"] == 3
    assert (out / "b.png").read_bytes() == b"mended by hand"


def test_a_file_of_the_user_in_an_output_folder_of_ours_stays(few: Path, model: Path) -> None:
    restore_folder(config_of(few / "a.png", model, output=few.parent / "out"))
    (few.parent / "out" / "b.png").write_bytes(b"the user's")
    restore_folder(config_of(few, model))
    assert (few.parent / "out" / "b.png").read_bytes() == b"the user's"
    assert dict(rows_of(few.parent / "out")["status"]) == {
        "a.png": "restored", "b.png": "failed", "below/c.png": "restored",
    }  # fmt: skip


def test_what_an_earlier_run_wrote_stays_ours_when_later_runs_do_not_name_it(few: Path, model: Path) -> None:
    out = few.parent / "out"
    restore_folder(config_of(few, model))
    restore_folder(config_of(few / "a.png", model, output=out))
    assert (out / WORK / "earlier.written").is_file()
    assert restore_folder(config_of(few, model, scale=2))["counts"]["restored"] == 3
    assert Image.open(out / "b.png").size == (40, 42)
    assert sorted(content(out)) == ["a.png", "b.png", "below/c.png", "manifest.parquet", "summary.json"]


def test_a_file_that_a_run_wrote_as_it_was_killed_is_ours(few: Path, model: Path) -> None:
    config = config_of(few, model)
    with contextlib.suppress(KeyboardInterrupt), open_run(resolve_run(config)), Journal(config.output) as journal:
        path, _ = journal.guard.admit("a.png", b"whole, but not in the journal")
        path.write_bytes(b"whole, but not in the journal")
        raise KeyboardInterrupt
    assert restore_folder(config_of(few, model))["counts"]["restored"] == 3


def test_an_output_folder_of_another_command_is_refused(few: Path, model: Path, built: Path) -> None:
    shutil.copytree(built, few.parent / "out")
    before = content(few.parent / "out")
    with pytest.raises(ConfigError, match="output = "):
        restore_folder(config_of(few, model))
    assert content(few.parent / "out") == before


def test_nothing_is_written_removed_or_kept_through_a_link_in_the_output(few: Path, model: Path) -> None:
    out, elsewhere = few.parent / "out", few.parent / "elsewhere"
    restore_folder(config_of(few, model))
    (out / "below").rename(elsewhere)
    (elsewhere / ".ufvnet-0123456789ab.tmp").write_text("of another run")
    (out / "a.png").rename(elsewhere / "a.png")
    (out / "below").symlink_to(elsewhere)
    (out / "a.png").symlink_to(elsewhere / "a.png")
    before = content(elsewhere)
    summary = restore_folder(config_of(few, model, resume=True))
    assert summary["counts"] | {"restored": 1, "failed": 2} == summary["counts"]
    assert all("is a symbolic link" in rows_of(out).loc[name, "reason"] for name in ("a.png", "below/c.png"))
    Image.new("RGB", (30, 30)).save(few / "below" / "c.png")
    restore_folder(config_of(few, model, scale=2))
    assert content(elsewhere) == before
    assert (out / "a.png").is_symlink()


@pytest.mark.parametrize("name", [".ufvnet", ".ufvnet/manifest.jsonl", ".ufvnet/earlier.written", ".ufvnet.lock"])
@pytest.mark.parametrize("into_input", [False, True])
def test_a_run_s_notes_and_lock_are_not_kept_through_a_link(
    few: Path, model: Path, name: str, into_input: bool
) -> None:
    out, elsewhere = few.parent / "out", few.parent / "elsewhere"
    restore_folder(config_of(few, model))
    folder = elsewhere if name == ".ufvnet" else elsewhere / "one"
    folder.mkdir(parents=True)
    for file in ("mine.jsonl", "manifest.jsonl", "manifest.written", "manifest.reading", "earlier.written"):
        (folder / file).write_text("precious")
    before = content(few.parent)
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).symlink_to(elsewhere if name == ".ufvnet" else folder / "mine.jsonl")
    for resume in (False, True):
        with pytest.raises(ConfigError, match=r"has a \S+ that no run wrote, .* move it"):
            restore_folder(config_of(few, model, into_input=into_input, resume=resume))
    (out / name).unlink()
    assert content(few.parent) == before


def test_files_of_others_with_names_like_those_of_a_run_s_notes_stay(few: Path, model: Path) -> None:
    out = few.parent / "out"
    (out / WORK).mkdir(parents=True)
    for name in ("mine.jsonl", "a.written", "b.reading"):
        (out / WORK / name).write_text("precious")
    before = content(out)
    restore_folder(config_of(few, model, into_input=True))
    restore_folder(config_of(few, model, into_input=True))
    assert before.items() <= content(out).items()
    (out / ".ufvnet.lock").write_text("of another tool")
    with pytest.raises(ConfigError, match=r"has a .ufvnet.lock that no run wrote"):
        restore_folder(config_of(few, model, into_input=True))
    assert (out / ".ufvnet.lock").read_text() == "of another tool"


# Names


def test_folders_with_the_names_of_the_account_cost_nothing(few: Path, model: Path) -> None:
    for name in ("manifest.parquet", "Summary.json"):
        (few / name).mkdir()
        shutil.copy(few / "a.png", few / name / "a.png")
    config = config_of(few, model, output=few.parent / "out")
    assert restore_folder(config)["counts"]["restored"] == 5
    rows = rows_of(few.parent / "out")
    assert rows.loc["manifest.parquet/a.png", "output"].startswith("manifest.parquet~")
    times = {p: p.stat().st_mtime_ns for p in (few.parent / "out").rglob("*.png")}
    restore_folder(config.model_copy(update={"resume": True}))
    assert {p: p.stat().st_mtime_ns for p in times} == times


def test_a_name_as_long_as_names_can_be_has_an_output(few: Path, model: Path) -> None:
    for name in (f"{'x' * 251}.png", f"{'é' * 124}.jpeg", "y" * 255):
        shutil.copy(few / "a.png", few / name)
    assert restore_folder(config_of(few, model, suffix="_restored"))["counts"]["restored"] == 6
    outputs = {Path(name).name for name in rows_of(few.parent / "out")["output"]}
    assert len(outputs) == 6
    assert all(len(name.encode()) <= 255 for name in outputs)


@pytest.mark.parametrize("base", ["a", "below/a", "manifest", "summary.json", ".hidden/a", "x" * 200])
def test_other_names_are_kept_as_they_are(base: str) -> None:
    assert free_name(base, "_restored", ".png") == base


@pytest.mark.parametrize("base", ["manifest.parquet/a", "SUMMARY.JSON/a", ".ufvnet/a", "below/.ufvnet-0123456789ab"])
def test_names_of_ours_are_changed(base: str) -> None:
    assert free_name(base) != base
    assert not free_name(base).split("/")[-2:][0].startswith(".ufvnet")


# While a run goes on


@pytest.mark.parametrize("what", ["folder", "moved", "journal"])
def test_a_run_whose_output_goes_away_stops_at_once(few: Path, model: Path, what: str) -> None:
    for number in range(60):
        shutil.copy(few / "a.png", few / f"{number}.png")
    out, done = few.parent / "out", []

    def lose(number: int, *_: object) -> None:
        done.append(number)
        if number == 3:
            if what == "moved":
                out.rename(few.parent / "moved")
            elif what == "journal":
                (out / WORK / "manifest.jsonl").unlink()
            while what == "folder" and out.exists():  # files come and go in it while it is removed
                shutil.rmtree(out, ignore_errors=True)

    with pytest.raises(OutputLostError, match=r"manifest\.\w+ was removed or moved away while restoring"):
        restore_folder(config_of(few, model), lose)
    assert len(done) < 60


def test_a_name_that_cannot_be_a_path_is_a_failed_row(few: Path, model: Path) -> None:
    from ufvnet.restore.folder.job import Job

    job = Job("odd", Path("a\0b"), ".png", target=None, row={})  # type: ignore[arg-type]
    assert job.read_or_none() is None


def test_an_output_that_may_not_be_written_to_is_refused_before_any_work(few: Path, model: Path) -> None:
    if not os.geteuid():
        pytest.skip("root may write anywhere")
    (few.parent / "out").mkdir(mode=0o500)
    with pytest.raises(ConfigError, match="is not a folder that can be written to"):
        restore_folder(config_of(few, model))
