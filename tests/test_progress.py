"""Progress: a bar on a terminal, a line now and then elsewhere, and sums of what several threads do."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from ufvnet import progress
from ufvnet.progress import Rate, Tally, shown, spell_rate, spell_seconds


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_there_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(progress.time, "perf_counter", lambda: float(next(clock)))
    with shown("restore a\x1b[2J") as show:
        for done in range(0, 1200, 100):
            show(done, 10_000, {"ok": done, "failed": 0, "loss": 0.01234})
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert not out
    assert len(lines) == 4
    assert lines[-1] == r"restore a\x1b[2J: 1,100 of 10,000, 10.0/s, 15 minutes left, 1,100 ok, 0.01234 loss"
    assert "failed" not in err


def test_a_rate_needs_enough_things_follows_the_last_minute_and_is_never_nought() -> None:
    rate = Rate()
    assert rate.account(0.0, 5_000, 9_000) == "5,000 of 9,000", "a resumed run begins with many done"
    assert rate.account(30.0, 5_009, 9_000) == "5,009 of 9,000", "nine say nothing"
    assert rate.account(100.0, 5_010, 9_000) == "5,010 of 9,000, 6.0/min, 11.1 hours left"
    for second in range(101, 181):
        account = rate.account(float(second), 5_010 + 10 * (second - 100), 9_000)
    assert account == "5,810 of 9,000, 10.0/s, 5 minutes left", "the slow beginning is forgotten"
    assert [spell_rate(1 / 1000), spell_rate(0.0), spell_seconds(40)] == ["3.6/h", "", "40 seconds"]


def test_lines_go_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    lines: list[str] = []
    with shown("build", lines.append) as show:
        show(1, 2, {})
        show(2, 2, {})
    assert [line.partition(",")[0] for line in lines] == ["build: 1 of 2", "build: 2 of 2"]
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_works_side_by_side_have_a_bar_each_and_none_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with shown("first [red]") as first, shown("second") as second:
        first(1, 10, {"ok": 1})
        second(7, 9, {})
        assert progress._display.live is not None
        progress._display.live.refresh()
    assert progress._display.live is None
    for text in ("first [red]", "second", "1 of 10", "7 of 9", "1 ok"):
        assert text in terminal.getvalue()


def test_a_tally_adds_up_what_threads_do() -> None:
    seen: list[tuple[int, int, dict[str, float]]] = []

    def show(done: int, total: int, figures: Mapping[str, float]) -> None:
        seen.append((done, total, dict(figures)))

    tally = Tally(show, 40)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: tally.add(2, {"ok": 1, "failed": i % 2}), range(20)))
    assert [done for done, _, _ in seen] == list(range(2, 42, 2))
    assert seen[-1] == (40, 40, {"ok": 20, "failed": 10})
