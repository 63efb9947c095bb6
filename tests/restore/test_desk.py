"""Outputs in an object store: resumed at the same desk and at another one, apart from inputs and files of others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from ufvnet.config import ConfigError, RestoreConfig, load
from ufvnet.errors import OutputLostError
from ufvnet.files import MARKER
from ufvnet.remote import RemotePath
from ufvnet.restore.folder import desk
from ufvnet.restore.folder.desk import desk_of
from ufvnet.restore.folder.run import open_run, resolve_run, restore_folder
from ufvnet.restore.single import restore_single

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RemotePath:
    """An empty folder of a store; the desk is below the test's own folder, and segments are sent at once."""
    pytest.importorskip("fsspec")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(desk, "INTERVAL", 0.0)
    return RemotePath(f"memory://restored/{tmp_path.name}")


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the pictures that were written to the store, in order."""
    names: list[str] = []
    write = RemotePath.write_bytes

    def spy(path: RemotePath, content: bytes) -> None:
        write(path, content)
        names.extend([path.name] if path.suffix == ".png" else [])

    monkeypatch.setattr(RemotePath, "write_bytes", spy)
    return names


@pytest.fixture
def run(few: Path, model: Path, output: RemotePath) -> Run:
    def restore(**changes: object) -> dict[str, Any]:
        return restore_folder(load(RestoreConfig, _settings(few, output.url, model=model) | changes))

    return restore


def _settings(source: object, output: object, **changes: object) -> dict[str, Any]:
    base = {"input": source, "output": output, "mode": "aligned", "device": "cpu", "threads": 1, "batch_size": 1}
    return base | changes


def _names(folder: RemotePath) -> list[str]:
    return sorted(path.split("/", 3)[3] for path in folder._store.find(folder.url))


def _cut(run: Run, monkeypatch: pytest.MonkeyPatch, after: int = 1) -> None:
    """Let the store fail after some outputs, so that the run ends."""
    calls = []
    write = RemotePath.write_bytes

    def refuse(path: RemotePath, content: bytes) -> None:
        calls.append(path.suffix == ".png")
        if sum(calls) > after:
            raise OSError("the store is gone")
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(RemotePath, "write_bytes", refuse)
        with pytest.raises(OutputLostError, match=r"png: cannot be written \(the store is gone\).*--resume"):
            run()


def test_outputs_manifest_and_sheets_are_those_of_a_folder(
    run: Run, output: RemotePath, few: Path, model: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    restore_folder(load(RestoreConfig, _settings(few, here, model=model)))
    summary = run(compare=tmp_path / "sheets")
    assert summary["counts"]["restored"] == 3
    assert _names(output) == ["a.png", "b.png", "below/c.png", "manifest.parquet", "summary.json"]
    for name in ("a.png", "b.png", "below/c.png"):
        assert (output / name).read_bytes() == (here / name).read_bytes()
    with (output / "manifest.parquet").open() as file:
        there = pd.read_parquet(file).drop(columns="seconds")
    pd.testing.assert_frame_equal(there, pd.read_parquet(here / "manifest.parquet").drop(columns="seconds"))
    assert len(list((tmp_path / "sheets").rglob("*.jpg"))) == 3
    assert not any(path.is_file() for path in desk_of(output).rglob("*"))


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_run_that_was_cut_off_goes_on_here_and_elsewhere(
    run: Run, output: RemotePath, written: list[str], elsewhere: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cut(run, monkeypatch)
    assert written == ["a.png"]
    assert (output / MARKER).is_file()
    assert not (output / "summary.json").is_file()
    if elsewhere:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    assert run(resume=True)["counts"]["restored"] == 3
    assert written == ["a.png", "b.png", "c.png"]
    assert _names(output) == ["a.png", "b.png", "below/c.png", "manifest.parquet", "summary.json"]


def test_a_finished_run_is_kept_by_what_its_objects_hold(
    run: Run, output: RemotePath, written: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    content = (output / "b.png").read_bytes()
    output._store.pipe_file(f"{output}/b.png", content[:-9])
    written.clear()
    run(resume=True)
    assert written == ["b.png"]
    assert (output / "b.png").read_bytes() == content


def test_parts_of_pictures_are_kept_whole(run: Run, output: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    run(format="parquet")
    assert _names(output) == ["manifest.parquet", "part-00000.parquet", "summary.json"]
    monkeypatch.setattr(RemotePath, "write_bytes", lambda path, _: pytest.fail(f"{path} is written again"))
    assert run(format="parquet", resume=True)["counts"]["restored"] == 3


def test_a_changed_object_is_replaced_only_if_a_run_wrote_there(run: Run, output: RemotePath) -> None:
    run()
    (output / "below/d.png").write_bytes(b"mine")
    assert run(suffix="_2")["counts"]["restored"] == 3  # the outputs of the first run stay
    assert run(size="native", scale=None, suffix="")["counts"]["restored"] == 3
    assert (output / "below/d.png").read_bytes() == b"mine"
    assert "a_2.png" in _names(output)


def test_an_object_of_others_is_not_replaced(run: Run, output: RemotePath) -> None:
    (output / MARKER).write_bytes(b'{"made_by": "ufvnet", "kind": "restored", "run": "0"}')
    (output / "a.png").write_bytes(b"mine")
    assert run()["counts"] | {"restored": 2, "failed": 1} == run(resume=True)["counts"]
    assert (output / "a.png").read_bytes() == b"mine"


def test_the_run_that_began_last_goes_on(
    few: Path, model: Path, output: RemotePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load(RestoreConfig, _settings(few, output.url, model=model))
    with open_run(resolve_run(config)) as shards:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
        with open_run(resolve_run(config)):
            pass
        journal = shards[0].desk / ".ufvnet" / "manifest.jsonl"
        journal.write_bytes(b"{}\n")
        copy = desk.JournalCopy(output, shards[0].desk, journal)
        with pytest.raises(OutputLostError, match="another run has begun to write there"):
            copy.send(now=True)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"into_input": True}, "^into_input = True: output = memory://"),
        ({"output": "memory://others"}, "^output = memory://others: is not empty, and ufvnet did not make it"),
        ({"input": "memory://others", "output": "memory://others/below"}, "lies in the input memory://others"),
        ({"input": "memory://others/x", "output": "memory://others"}, "holds the input memory://others/x"),
        ({"faces": "memory://faces"}, "faces = 'memory://faces': is a URL; it must be a path of a file system"),
        ({"output": "ftp://host/out"}, r"output = 'ftp://host/out': ftp:// is not supported"),
        ({"output": "s3://key:secret@bucket/out"}, r"output = 's3://\*\*\*@bucket/out': names credentials"),
    ],
)  # fmt: skip
def test_outputs_that_cannot_be_are_refused_by_key(
    changes: dict[str, object], why: str, few: Path, output: RemotePath, model: Path
) -> None:
    RemotePath("memory://others/x/photo.png").write_bytes((few / "a.png").read_bytes())
    with pytest.raises(ConfigError, match=why):
        resolve_run(load(RestoreConfig, _settings(few, output.url, model=model) | changes))


def test_one_picture_becomes_one_object(few: Path, model: Path, output: RemotePath) -> None:
    config = load(RestoreConfig, _settings(few / "a.png", f"{output}/one.png", model=model))
    assert restore_single(config)["status"] == "restored"
    with (output / "one.png").open() as file:
        assert Image.open(file).size == (64, 64)
    with pytest.raises(ConfigError, match=r"one\.png: is there already; --overwrite replaces it"):
        restore_single(config)
    assert restore_single(config.model_copy(update={"overwrite": True}))["status"] == "restored"


def test_a_name_that_no_object_can_have_is_a_failed_row(few: Path, model: Path, output: RemotePath) -> None:
    (few / "a\nb.png").write_bytes((few / "a.png").read_bytes())
    summary = restore_folder(load(RestoreConfig, _settings(few, output.url, model=model)))
    assert summary["counts"]["failed"] == 1
    assert "no object can have its name" in summary["failures"][0]
