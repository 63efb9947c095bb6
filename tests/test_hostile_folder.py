"""A sample of the hostile benchmark: every file has a row, no traceback shows, nothing outside the output changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import hostile


def test_a_folder_of_odd_files_is_survived(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = hostile.main(tmp_path, sample=60, short=True)
    assert wrong == [], capsys.readouterr().out


def test_a_missing_row_a_traceback_and_a_touched_file_are_seen(tmp_path: Path) -> None:
    hostile._surroundings(tmp_path)
    before = hostile._snapshot(tmp_path)
    (tmp_path / "outside" / "notes.txt").write_text("ours\n")
    (tmp_path / "cwd" / "new").touch()
    assert hostile._changed(before, hostile._snapshot(tmp_path)) == {"outside/notes.txt", "cwd", "cwd/new"}
    ran = hostile.Ran("it", -11, "Traceback (most recent call last)\n", 1.0, 0.1)
    assert hostile._problems(ran, tmp_path / "none.parquet", ["a.png"]) == [
        "it: 1 tracebacks", "it: exit code -11", "it: no row for a.png",
    ]  # fmt: skip
