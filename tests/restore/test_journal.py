"""What a resumed run trusts: rows of journals, and an account that proves itself."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from restore_settings import config_of

from ufvnet.restore.folder.journal import Journal
from ufvnet.restore.folder.manifest import close_account, is_whole
from ufvnet.restore.folder.notes import WORK
from ufvnet.restore.folder.output_folder import check_foreign_names
from ufvnet.restore.folder.run import open_run, resolve_run, restore_folder
from ufvnet.restore.folder.shard import restore_shard


@pytest.fixture
def killed(few: Path, model: Path) -> Path:
    """The output folder of a run that was killed when everything was restored."""
    run = resolve_run(config_of(few, model))
    with contextlib.suppress(KeyboardInterrupt), open_run(run) as shards:
        restore_shard(shards[0], run.resolved)
        raise KeyboardInterrupt
    return run.config.output


def flipped(path: Path, step: int = 1) -> Iterator[None]:
    """A file with one of its bits flipped, at every byte in turn."""
    whole = path.read_bytes()
    for place in range(0, len(whole), step):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        yield
    path.write_bytes(whole)


def earlier_rows(out: Path) -> dict[str, Any]:
    with Journal(out) as journal:
        return {name: journal.earlier(name) for name in ("a.png", "b.png", "below/c.png")}


def test_no_flipped_bit_of_a_journal_is_taken_for_a_row(killed: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = earlier_rows(killed)
    assert all(whole.values())
    caplog.set_level(logging.CRITICAL, "ufvnet.restore.folder.journal")
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
    assert "1 lines are damaged or cut off: what they recorded is done again" in caplog.text
    Image.open(killed / "b.png").load()


def test_a_row_that_is_damaged_when_the_run_ends_is_a_failed_row(killed: Path, few: Path, model: Path) -> None:
    journal = killed / WORK / "manifest.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"status":"restored"', b'"status":"sestored"', 1))
    summary = close_account(config_of(few, model), ["a.png", "b.png", "below/c.png"], {"seconds": 0.0})
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
        check_foreign_names(out)  # which takes it for ours all the same
        before = (out / name).read_bytes()
        assert restore_folder(config_of(few, model, resume=True, scale=2))["counts"]["restored"] == 3
        for path, data in account.items():
            path.write_bytes(data)
        (out / name).write_bytes(before)
    caplog.set_level(logging.WARNING, "ufvnet.restore.folder.manifest")
    (out / name).write_bytes(b"\0")
    assert not is_whole(out)
    assert "is damaged, or of another release: what it recorded is done again" in caplog.text
