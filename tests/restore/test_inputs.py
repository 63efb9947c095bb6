"""What the inputs name, and what their outputs are called."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from restore_settings import config_of

from ufvnet.config import ConfigError
from ufvnet.restore.folder.inputs import list_sources


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jpg", "a.png", "A.webp", "b.png", "a.jpg.png", "sub/a.png", "sub/deep/c.tif", ".hidden.png"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "in"


def bases(given: Any, **changes: Any) -> dict[str, str]:
    return {s.label or s.name: s.base for s in list_sources(config_of(given, Path("none"), **changes))}


def test_no_two_inputs_share_an_output_not_even_without_case(folder: Path) -> None:
    found = bases(folder)
    assert set(found) == {"a.jpg", "a.png", "A.webp", "b.png", "a.jpg.png", "sub/a.png", "sub/deep/c.tif"}
    assert len({base.casefold() for base in found.values()}) == len(found)
    assert found["b.png"] == "b"
    assert found["sub/deep/c.tif"] == "sub/deep/c"
    assert (found["a.png"], found["A.webp"]) == ("a.png", "A.webp")


def test_no_output_has_the_name_of_a_folder_or_of_the_account(folder: Path) -> None:
    for name in (
        "b.png.png/1.png",
        "c.PNG/2.png",
        "c.jpg",
        "d_r.jpg/e/3.png",
        "d.tif",
        "summary.json",
        "e.d/4.png",
        "e.png",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    found = bases(folder)
    assert (found["c.jpg"], found["d.tif"], found["e.png"]) == ("c.jpg", "d", "e")
    assert found["summary.json"] == "summary.json"
    assert bases(folder, suffix="_r")["d.tif"] == "d.tif"


def test_folders_below_are_left_out_where_told(folder: Path) -> None:
    assert "sub/a.png" not in bases(folder, recursive=False)


def test_a_glob_keeps_the_structure_below_its_plain_part(folder: Path) -> None:
    assert set(bases(folder / "**" / "*.png")) == {"a.png", "b.png", "a.jpg.png", "sub/a.png"}
    assert set(bases(folder / "*.jpg")) == {"a.jpg"}


def test_several_inputs_may_have_files_of_one_name_and_none_comes_twice(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.png").touch()
    found = bases([folder, folder / "b.png", other])
    assert len(found) == 8
    assert {"in/b.png", "other/b.png"} < set(found)
    assert len(set(found.values())) == 8


def test_file_names_that_are_no_utf_8_are_told_printably(folder: Path) -> None:
    try:
        (folder / os.fsdecode(b"caf\xe9.jpg")).touch()
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    names = [name for s in list_sources(config_of(folder, Path("none"))) for name in s.names()]
    assert "caf\\xe9.jpg" in names


@pytest.mark.parametrize(
    ("given", "message"),
    [("nowhere", "no such file or folder"), ("no*.png", "fits no file"), ("empty", "no files in it")],
)
def test_an_input_that_names_nothing_is_refused(tmp_path: Path, given: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=message):
        list_sources(config_of(tmp_path / given, Path("none")))


def test_no_original_is_overwritten_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real" / "faces" / "faces").mkdir(parents=True)
    for name in ("real/faces/x.png", "real/faces/faces/x.png"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to("real")
    for given in ("link/faces", "real/faces", "link/faces/*.png"):
        for into_input in (False, True):
            changes = {"output": tmp_path / "real", "into_input": into_input, "suffix": "_r" * into_input}
            with pytest.raises(ConfigError, match="holds the input"):
                list_sources(config_of(tmp_path / given, Path("none"), **changes))
    with pytest.raises(ConfigError, match="lies in the input"):
        list_sources(config_of(tmp_path / "real", Path("none"), output=tmp_path / "link"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "faces").symlink_to(tmp_path / "real" / "faces")
    with pytest.raises(ConfigError, match="out/faces leads to a folder of the input"):
        list_sources(config_of(tmp_path / "real", Path("none"), output=tmp_path / "out"))


def test_a_link_in_the_input_to_a_file_in_the_output_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x.png").touch()
    (tmp_path / "in" / "x.png").symlink_to(tmp_path / "out" / "x.png")
    with pytest.raises(ConfigError, match=r"lies in the input \S+ through the link \S+/in/x\.png; results"):
        list_sources(config_of(tmp_path / "in", Path("none"), output=tmp_path / "out"))


def test_an_output_in_a_folder_that_a_link_in_the_input_leads_to_is_refused_before_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "photos" / "in").mkdir(parents=True)
    (tmp_path / "photos" / "in" / "x.png").touch()
    (tmp_path / "photos" / "in" / "all").symlink_to("..")
    for output in ("photos/out", "photos/below/out"):
        config = config_of(tmp_path / "photos" / "in", Path("none"), output=tmp_path / output)
        with pytest.raises(ConfigError, match=r"lies in the input \S+ through the link \S+/in/all; results"):
            list_sources(config)
    with pytest.raises(ConfigError, match=r"lies in the input \S+; results"):  # whatever links there are
        list_sources(config.model_copy(update={"output": tmp_path / "photos" / "in" / "out"}))
    list_sources(config_of(tmp_path / "photos" / "in", Path("none"), output=tmp_path / "out"))


def test_outputs_in_the_input_are_no_inputs_though_a_link_leads_to_them(folder: Path, tmp_path: Path) -> None:
    before = bases(folder)
    (folder / "out" / "sub").mkdir(parents=True)
    for name in ("b.png", "sub/a.png"):
        (folder / "out" / name).touch()
    (tmp_path / "outlink").symlink_to(folder / "out")
    assert bases(folder, output=tmp_path / "outlink", into_input=True) == before
    for name in ("b_r.png", "mine_r.png", "b_x.png"):
        (folder / name).touch()
    (tmp_path / "inlink").symlink_to(folder)
    written = [{"output": name, "output_sha256": "0" * 64} for name in ("b_r.png", "b_x.png")]
    pd.DataFrame(written).to_parquet(folder / "manifest.parquet")
    found = bases(folder, output=tmp_path / "inlink", into_input=True, suffix="_r")
    assert not {"b_r.png", "b_x.png"} & {*found}, "what earlier runs wrote, with any suffix"
    assert {"b.png", "mine_r.png"} <= {*found}


@pytest.mark.parametrize("name", ["film.mp4", "the film.MOV"])
def test_a_video_is_refused_with_the_lines_that_make_pictures_of_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(100))
    with pytest.raises(ConfigError) as refused:
        list_sources(config_of(tmp_path / name, Path("none")))
    text = str(refused.value)
    quoted = name if " " not in name else f"'{name}'"
    assert f"ffmpeg -i {quoted} -r 25 'frames/%06d.png'" in text
    assert f"ffmpeg -framerate 25 -i 'restored/%06d.png' -i {quoted}" in text
