"""Pictures and tables in an object store, restored into a folder."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ufvnet.config import ConfigError, RestoreConfig, load
from ufvnet.remote import RemotePath
from ufvnet.restore.console import restore_here
from ufvnet.restore.folder.inputs import list_sources
from ufvnet.restore.folder.run import restore_folder


def config_of(source: Path | str, output: Path | str, **changes: object) -> RestoreConfig:
    base = {"input": source, "output": output, "mode": "aligned", "device": "cpu", "threads": 1}
    return load(RestoreConfig, base | changes)


@pytest.fixture
def stored(few: Path) -> RemotePath:
    """Three pictures, a table of two of them, and an object whose name no file can have."""
    pytest.importorskip("fsspec")
    root = RemotePath("memory://restore/in")
    for path in few.rglob("*.png"):
        (root / path.relative_to(few).as_posix()).write_bytes(path.read_bytes())
    buffer = io.BytesIO()
    content = [(few / name).read_bytes() for name in ("a.png", "b.png")]
    pq.write_table(pa.table({"image": content, "label": [1, 2]}), buffer)
    (root / "t.parquet").write_bytes(buffer.getvalue())
    (root / "x//odd.png").write_bytes(content[0])
    return root


def test_objects_are_restored_like_files(stored: RemotePath, few: Path, model: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    restore_folder(config_of(few, here, model=model))
    summary = restore_folder(config_of(stored.url, there, model=model))
    assert (summary["counts"]["restored"], summary["counts"]["failed"]) == (5, 1)
    rows = pd.read_parquet(there / "manifest.parquet").set_index("path")
    assert rows.loc["x%2f%2fodd.png", "reason"] == "no file can have the name of this object, and so no output"
    for name in ("a.png", "b.png", "below/c.png"):
        assert (there / name).read_bytes() == (here / name).read_bytes()
    assert len(pd.read_parquet(there / "t")) == 2
    again = restore_folder(config_of(stored.url, there, model=model, resume=True))
    assert again["counts"]["restored"] == 5
    assert Image.open(there / "a.png").size == (64, 64)


def test_one_object_is_restored_to_one_file_or_object(
    stored: RemotePath, few: Path, model: Path, tmp_path: Path
) -> None:
    restore_here(config_of(few / "a.png", tmp_path / "local.png", model=model))
    for output in (tmp_path / "one.png", f"{stored}/one.png"):
        config = config_of(f"{stored}/a.png", output, model=model)
        assert restore_here(config) is False
        written = config.output.read_bytes()
        assert written == (tmp_path / "local.png").read_bytes()
        with pytest.raises(ConfigError, match="is there already; --overwrite replaces it"):
            restore_here(config)
    config.output.unlink()
    with pytest.raises(ConfigError, match="is the input"):
        restore_here(config_of(f"{stored}/a.png", f"{stored}/a.png", model=model, overwrite=True))
    with pytest.raises(ConfigError, match=r"none\.png: no objects in it"):
        restore_here(config_of(f"{stored}/none.png", tmp_path / "none.png", model=model))


def test_objects_are_named_by_url_glob_and_folder(stored: RemotePath, tmp_path: Path) -> None:
    def names(given: str, **changes: object) -> list[str]:
        return [s.name for s in list_sources(config_of(given, tmp_path / "out", **changes))]

    assert names(f"{stored}/a.png") == ["a.png"]
    assert names(f"{stored}/[ab].png") == ["a.png", "b.png"]
    assert names(f"{stored}/below") == ["c.png"]
    assert "below/c.png" not in names(stored.url, recursive=False)
    with pytest.raises(ConfigError, match=r"^input = memory://restore/none: no objects in it"):
        names("memory://restore/none")


def test_an_object_whose_name_looks_like_a_pattern_is_that_object(stored: RemotePath, tmp_path: Path) -> None:
    root, content = RemotePath("memory://odd/in"), (stored / "a.png").read_bytes()
    for name in ("face1.png", "face[1].png", "set [2024]/b.png"):
        (root / name).write_bytes(content)
    for given, found in (
        ("face[1].png", ["face[1].png"]), ("set [2024]", ["b.png"]), ("face[12].png", ["face1.png"]),
    ):  # fmt: skip
        sources = list_sources(config_of(f"{root.url}/{given}", tmp_path / "out"))
        assert [source.name for source in sources] == found
