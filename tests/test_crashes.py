"""The crash diary: what a process that died had in work is known to the next one."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from ufvnet.crashes import DEATHS, Diary


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "a.diary"


def die_at(path: Path, *names: str) -> None:
    """Leave a diary as a process does that is killed with these in work."""
    diary = Diary(path)
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(diary.in_work(name))
        text = path.read_bytes()
    diary.close()
    path.write_bytes(text)


def test_what_a_dead_process_had_in_work_is_suspect_and_nothing_else(path: Path) -> None:
    diary = Diary(path)
    with diary.in_work("finished"):
        pass
    with diary.in_work("a.png"), diary.in_work("b\udce9.png"):
        killed = path.read_bytes()
    path.write_bytes(killed)
    with Diary(path) as diary:
        assert diary.deaths == {"a.png": 1, "b\udce9.png": 1}
    assert not path.exists()


def test_suspects_are_passed_on_until_the_work_is_over(path: Path) -> None:
    die_at(path, "a.png", "b.png")
    die_at(path, "c.png")
    die_at(path)
    with Diary(path) as diary:
        assert set(diary.deaths) == {"a.png", "b.png", "c.png"}


def test_only_deaths_one_after_the_other_condemn(path: Path) -> None:
    for name in ("a", "b") * DEATHS:
        die_at(path, name)
    with Diary(path) as diary:
        assert not diary.is_condemned("a")
        assert not diary.is_condemned("b")
    for _ in range(DEATHS):
        die_at(path, "a")
        die_at(path)  # with nothing in work: nobody's fault
    die_at(path, "b")
    with Diary(path) as diary:
        assert diary.is_condemned("a"), "once and for all"
        assert not diary.is_condemned("b")


def test_a_process_that_was_started_for_a_thing_counts_when_it_dies(path: Path) -> None:
    with Diary(path) as diary:
        for _ in range(DEATHS):
            assert not diary.is_condemned("method")
            with diary.in_work("method"):
                diary.add_death("method")
        assert diary.is_condemned("method")


def test_a_failure_that_python_sees_is_no_crash(path: Path) -> None:
    with pytest.raises(ValueError, match="no crash"), Diary(path) as diary, diary.in_work("a"):
        raise ValueError("no crash")
    assert not path.exists()


def test_a_flipped_bit_anywhere_makes_no_suspect_and_is_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    die_at(path, "a.png", "b.png")
    whole = path.read_bytes()
    for place in range(len(whole.rstrip())):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        caplog.clear()
        with Diary(path) as diary:
            assert diary.deaths == {}
        assert "is damaged and starts anew" in caplog.text


def test_a_shorter_text_leaves_nothing_of_a_longer_one(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    die_at(path, *(f"{i}.png" for i in range(100)))
    path.with_suffix(".copy").write_bytes(path.read_bytes())
    Diary(path).close()
    die_at(path, "a")
    die_at(path, "b" * 1000)
    with Diary(path) as diary:
        assert set(diary.deaths) == {"a", "b" * 1000}
    assert not caplog.text


def test_nothing_is_written_through_a_link(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    (tmp_path / "precious").write_text("precious")
    path.symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match=r"a\.diary"):
        Diary(path)
    assert (tmp_path / "precious").read_text() == "precious"
