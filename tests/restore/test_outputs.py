"""The output folder: only files that runs wrote are replaced, links lead nowhere, damage to the account is noticed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from restore_settings import config_of

from ufvnet.config import ConfigError
from ufvnet.errors import OutputLostError
from ufvnet.restore.folder import run as runner
from ufvnet.restore.folder.manifest import Account, check_account, finish, is_whole
from ufvnet.restore.folder.notes import WORK
from ufvnet.restore.folder.outputs import free_name
from ufvnet.restore.folder.run import restore_folder


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Three small pictures, one of them in a folder below."""
    folder = tmp_path / "in"
    (folder / "below").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.png", "below/c.png")):
        Image.new("RGB", (20, 20 + number), (200, 60 * number, 90)).save(folder / name)
    return folder


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
    with contextlib.suppress(KeyboardInterrupt), runner.begun(config), Account(config.output) as account:
        path, _ = account.admit("a.png", b"whole, but not in the journal")
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


# What a resumed run trusts


@pytest.fixture
def killed(few: Path, model: Path) -> Path:
    """The output folder of a run that was killed when everything was restored."""
    config = config_of(few, model)
    with contextlib.suppress(KeyboardInterrupt), runner.begun(config) as shards:
        runner.restore_shard(shards[0])
        raise KeyboardInterrupt
    return config.output


def flipped(path: Path, step: int = 1) -> Iterator[None]:
    """A file with one of its bits flipped, at every byte in turn."""
    whole = path.read_bytes()
    for place in range(0, len(whole), step):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        yield
    path.write_bytes(whole)


def earlier_rows(out: Path) -> dict[str, Any]:
    with Account(out) as account:
        return {name: account.earlier(name) for name in ("a.png", "b.png", "below/c.png")}


def test_no_flipped_bit_of_a_journal_is_taken_for_a_row(killed: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = earlier_rows(killed)
    assert all(whole.values())
    caplog.set_level(logging.CRITICAL, "ufvnet.restore.folder.manifest")
    for _ in flipped(killed / WORK / "manifest.jsonl"):
        found = earlier_rows(killed)
        assert all(row is None or row == whole[name] for name, row in found.items())
        assert sum(row is None for row in found.values()) <= 2  # two where it was the end of a line


def test_a_run_with_a_flipped_bit_in_its_journal_ends_as_a_whole_one(
    killed: Path, few: Path, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (killed / "b.png").write_bytes(b"not what was written")
    journal = killed / WORK / "manifest.jsonl"
    lines = journal.read_text().splitlines()
    number = next(i for i, line in enumerate(lines) if '"b.png"' in line)
    forged = hashlib.sha256(b"not what was written").hexdigest()
    lines[number] = lines[number].replace(json.loads(lines[number])["output_sha256"], forged)
    journal.write_text("\n".join([*lines, ""]))
    assert restore_folder(config_of(few, model, resume=True))["counts"]["restored"] == 3
    assert "1 lines are damaged or cut off: what they told of is done again" in caplog.text
    Image.open(killed / "b.png").load()


def test_a_row_that_is_damaged_when_the_run_ends_is_a_failed_row(killed: Path, few: Path, model: Path) -> None:
    journal = killed / WORK / "manifest.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"status": "restored"', b'"status": "sestored"', 1))
    summary = finish(config_of(few, model), ["a.png", "b.png", "below/c.png"], {"seconds": 0.0})
    assert summary["files"] == 3
    assert (summary["counts"]["restored"], summary["counts"]["failed"]) == (2, 1)


@pytest.mark.parametrize("name", ["manifest.parquet", "summary.json"])
def test_a_flipped_bit_in_an_account_has_everything_done_again(
    few: Path, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    restore_folder(config_of(few, model))
    out = few.parent / "out"
    account = {p: p.read_bytes() for p in (out / "manifest.parquet", out / "summary.json")}
    assert is_whole(out)
    caplog.set_level(logging.CRITICAL, "ufvnet.restore.folder.manifest")
    for number, _ in enumerate(flipped(out / name)):
        assert not is_whole(out), number
        if number % 1000:
            continue
        check_account(out)  # which takes it for ours all the same
        before = (out / name).read_bytes()
        assert restore_folder(config_of(few, model, resume=True, scale=2))["counts"]["restored"] == 3
        for path, data in account.items():
            path.write_bytes(data)
        (out / name).write_bytes(before)
    caplog.set_level(logging.WARNING, "ufvnet.restore.folder.manifest")
    (out / name).write_bytes(b"\0")
    assert not is_whole(out)
    assert "is damaged, or of another release: what it told of is done again" in caplog.text


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
            else:
                shutil.rmtree(out) if what == "folder" else (out / WORK / "manifest.jsonl").unlink()

    with pytest.raises(OutputLostError, match=r"manifest\.\w+ was removed or moved away while restoring"):
        restore_folder(config_of(few, model), lose)
    assert len(done) < 60


def test_whatever_the_reader_of_a_table_raises_is_the_reason_of_its_rows(
    few: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = {"bytes": (few / "a.png").read_bytes(), "path": None}
    pd.DataFrame({"image": [picture] * 4}).to_parquet(few / "faces.parquet")
    real = runner.table_cells

    def failing(*given: Any) -> Iterator[Any]:
        for number, cell in enumerate(real(*given)):
            if number == 2:
                raise KeyError("odd")
            yield cell

    monkeypatch.setattr(runner, "table_cells", failing)
    summary = restore_folder(config_of(few, model))
    assert summary["counts"] | {"restored": 5, "failed": 2} == summary["counts"]
    assert "KeyError" in rows_of(few.parent / "out").loc["faces.parquet#000003", "reason"]


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
