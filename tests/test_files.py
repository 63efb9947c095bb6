"""What writes, marks, names and proves files, and how children of ours start."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from ufvnet import files
from ufvnet.children import environment, python
from ufvnet.errors import ConfigError

# Writing


def test_a_write_that_fails_leaves_what_was_there_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "a.json"
    files.write_json(path, {"a": 1})

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_atomically(path, fail)
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_a_link_is_replaced_not_written_through(tmp_path: Path) -> None:
    theirs, link = tmp_path / "theirs.txt", tmp_path / "link.txt"
    theirs.write_text("theirs")
    link.symlink_to(theirs)
    files.write_text(link, "ours")
    assert (theirs.read_text(), link.read_text()) == ("theirs", "ours")


def test_a_name_as_long_as_names_can_be_is_written(tmp_path: Path) -> None:
    files.write_bytes(tmp_path / ("x" * 255), b"1")
    assert (tmp_path / ("x" * 255)).read_bytes() == b"1"


def test_only_files_have_a_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    os.mkfifo(tmp_path / "pipe")
    assert files.sha256(tmp_path / "a") == files.sha256(b"abc") != files.sha256(b"")
    assert [files.sha256(p) for p in (tmp_path / "pipe", tmp_path, tmp_path / "none", None)] == [None] * 4


# Folders of ours


def test_a_folder_is_ours_if_it_is_missing_empty_or_marked(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    files.check_ours("out", folder, "dataset")
    folder.mkdir()
    (folder / ".ufvnet.lock").touch()
    (folder / ".ufvnet-0123456789ab.tmp").touch()
    files.check_ours("out", folder, "dataset")
    files.claim(folder, "dataset")
    (folder / "a.parquet").touch()
    files.check_ours("out", folder, "dataset")
    with pytest.raises(ConfigError, match=r"out = .*: holds a dataset of ufvnet; name a new or empty folder"):
        files.check_ours("out", folder, "evaluation")


@pytest.mark.parametrize(
    "marker", ["", "[]", "{}", "null", '{"made_by": "me", "kind": "dataset"}', "[" * 99_999, "pipe"]
)
def test_a_folder_of_somebody_else_is_not_ours(tmp_path: Path, marker: str) -> None:
    (tmp_path / "photo.jpg").touch()
    if marker == "pipe":
        os.mkfifo(tmp_path / files.MARKER)
    else:
        (tmp_path / files.MARKER).write_text(marker)
    with pytest.raises(ConfigError, match="is not empty, and ufvnet did not make it"):
        files.check_ours("out", tmp_path, "dataset")
    files.check_ours("out", tmp_path, "dataset", cards=lambda folder: (folder / "photo.jpg").exists())


@pytest.mark.parametrize(("out", "source"), [("a", "a"), ("a/b", "a"), ("a", "a/b"), ("link", "a"), ("a/x/../b", "a")])
def test_an_output_never_overlaps_what_is_read(tmp_path: Path, out: str, source: str) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "x").mkdir()
    (tmp_path / "link").symlink_to("a")
    files.check_ours("out", tmp_path / "ab", "dataset", [("root", tmp_path / "a")])
    with pytest.raises(ConfigError, match=r"overlaps root = .*; outputs need a folder apart"):
        files.check_ours("out", tmp_path / out, "dataset", [("root", tmp_path / source)])


@pytest.mark.parametrize("name", ["file", "file/below", "a\0b", "x" * 300])
def test_what_cannot_be_a_folder_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError) as told:
        files.check_writable("out", tmp_path / name)
    assert str(told.value).startswith("out = ")
    assert str(told.value).isprintable()


@pytest.mark.parametrize("name", ["link", "link/below"])
def test_a_link_to_a_drive_that_is_not_there_is_no_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "unmounted" / "drive")
    with pytest.raises(ConfigError, match="link is not a folder that can be written to"):
        files.check_writable("out", tmp_path / name)
    with pytest.raises(ConfigError, match=r"out = .*: no folder can be made there"):
        files.claim(tmp_path / name, "dataset")
    assert not (tmp_path / "unmounted").exists()


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="no folder here that refuses what its rights allow")
def test_a_folder_that_only_its_file_system_refuses_is_told_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"out = /proc/x: no folder can be made there"):
        files.claim(Path("/proc/x"), "dataset")


# Names

ODD = ["", ".", "..", "/", "a/b", "../../x", "/etc/passwd", "a\0b", "\n", ".hidden", "x" * 300, "é" * 150,
       "back\\slash", "\ud800", "\\ud800", "\udcff", "\\xff", "%2e", "a", "A", "😀"]  # fmt: skip


def test_any_text_becomes_one_file_of_its_own_in_its_folder(tmp_path: Path) -> None:
    texts = [*ODD, *(files.safe_name(text) for text in ODD if files.safe_name(text) != text)]
    for number, text in enumerate(texts):
        (tmp_path / files.safe_name(text)).write_text(str(number))
    assert len(list(tmp_path.iterdir())) == len(set(texts))
    assert all(len(os.fsencode(path.name)) <= files.LONGEST for path in tmp_path.iterdir())


def test_plain_names_stay_as_they_are() -> None:
    for name in ("a.png", "two words.jpg", "naïve", "-rf", "~", "a~b", "x" * files.LONGEST):
        assert files.safe_name(name) == name


def test_names_from_data_stay_below_their_folder(tmp_path: Path) -> None:
    for text in [*ODD, "a//b", "./a", "a/../../b", "a/./b/"]:
        path = files.below(tmp_path / "root", text)
        assert (tmp_path / "root") in path.resolve().parents
    assert files.below(tmp_path, "split/a.png") == tmp_path / "split" / "a.png"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "sub").symlink_to("elsewhere")
    with pytest.raises(OSError, match="is a symbolic link; nothing is written through it"):
        files.below(tmp_path, "sub/a.png")


def test_what_is_printed_moves_no_cursor_and_is_utf_8() -> None:
    shown = files.printed("a\x1b[2J\r\x07\u202eb\udcff\x9b\ufeff\ud800")
    assert shown == r"a\x1b[2J\x0d\x07\u202eb\xff\x9b\ufeff\ud800"
    assert files.printed("two\nlines\tnaïve 😀") == "two\nlines\tnaïve 😀"
    shown.encode()


# What a later run trusts


def test_a_sealed_object_comes_back_and_a_changed_one_does_not() -> None:
    data = {"step": 5, "loss": 0.1, "names": ["é"]}
    text = json.dumps(files.seal(data))
    assert files.unseal(text) == data
    assert files.unseal(text.replace('"step": 5', '"step": 6')) is None
    line = files.sealed_line(data)
    assert json.loads(line) == files.seal(data)
    assert files.unseal(line) == data
    assert line.count(b"\n") == 1
    assert json.loads(files.sealed_line({})) == files.seal({})
    for damaged in ("", "[]", "null", "{}", text[:-1], "[" * 99_999, b"\xff", json.dumps(data)):
        assert files.unseal(damaged) is None


# Children


def test_no_child_nor_its_child_imports_from_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "decoy.py").write_text("print('imported')")
    once = "import sys, subprocess\ntry: import decoy\nexcept ImportError: print('safe')\n"
    twice = once + f"subprocess.run([sys.executable, '-c', {once!r}])"
    ran = subprocess.run(
        python("-uc", twice), cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert ran.stdout == "safe\nsafe\n"


def test_what_the_user_s_environment_says_goes_before_what_we_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    found = environment(OMP_NUM_THREADS="1", OMP_OTHER="2")
    assert (found["OMP_NUM_THREADS"], found["OMP_OTHER"]) == ("7", "2")


@pytest.mark.skipif(os.sep != "/", reason="names are Unicode there, and a backslash parts folders")
def test_names_in_tables_are_text_and_give_the_names_back() -> None:
    names = ["plain.jpg", "a\\xe9.jpg", os.fsdecode(b"a\xe9.jpg"), "é\n.jpg", "\\x5cxe9"]
    told = [files.escape_name(name) for name in names]
    assert len({name.encode("utf-8") for name in told}) == len(names)
    assert [files.unescape_name(name) for name in told] == names
