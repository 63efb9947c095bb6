"""Animated pictures: the first frame, or each as a picture of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from restore_settings import config_of

from ufvnet.config import ConfigError
from ufvnet.remote import RemotePath
from ufvnet.restore.folder.animations import open_frames
from ufvnet.restore.folder.run import restore_folder
from ufvnet.restore.picture import read_picture
from ufvnet.restore.single import restore_single

COLOURS = ("red", "green", "blue")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    first, *others = (Image.new("RGB", (20, 24), colour) for colour in COLOURS)
    first.save(tmp_path / "in" / "sub" / "moving.gif", save_all=True, append_images=others)
    first.save(tmp_path / "in" / "still.gif")
    (tmp_path / "in" / "broken.gif").write_bytes((tmp_path / "in" / "still.gif").read_bytes()[:20])
    return tmp_path / "in"


def test_all_frames_become_pictures_in_a_folder_of_the_animation_s_name(folder: Path, model: Path) -> None:
    restore_folder(config_of(folder, model, frames="all"))
    rows = pd.read_parquet(folder.parent / "out" / "manifest.parquet").set_index("path")
    frames = [f"sub/moving.gif/{number:06d}.png" for number in range(3)]
    assert list(rows.index) == ["broken.gif", "still.gif", *frames]
    assert list(rows["status"]) == ["failed", *["restored"] * 4]
    assert list(rows["output"])[1:] == ["still.png", *frames]
    opened = open_frames(folder / "sub" / "moving.gif")
    for number in (2, 0, 1):  # in any order
        pixels = np.asarray(Image.open(opened[f"{number:06d}.png"]()).convert("RGB"))
        assert (pixels == np.asarray(Image.new("RGB", (20, 24), COLOURS[number]))).all()


def test_so_do_those_of_an_animation_in_a_store(folder: Path, model: Path) -> None:
    pytest.importorskip("fsspec")
    stored = RemotePath("memory://animations/in/moving.gif")
    with stored.open("wb") as file:
        file.write((folder / "sub" / "moving.gif").read_bytes())
    restore_folder(config_of(stored.parent, model, output=folder.parent / "out", frames="all"))
    rows = pd.read_parquet(folder.parent / "out" / "manifest.parquet")
    assert list(rows["path"]) == [f"moving.gif/{number:06d}.png" for number in range(3)]
    assert list(rows["status"]) == ["restored"] * 3


def test_by_default_the_first_frame_is_restored(folder: Path, model: Path) -> None:
    restore_folder(config_of(folder, model))
    rows = pd.read_parquet(folder.parent / "out" / "manifest.parquet").set_index("path")
    assert rows.loc["sub/moving.gif", "reason"].startswith("first frame of an animation")
    assert rows.loc["sub/moving.gif", "output"] == "sub/moving.png"


def test_all_frames_need_a_folder(folder: Path, model: Path) -> None:
    output = folder.parent / "one.png"
    with pytest.raises(ConfigError, match=r"output = .*one\.png: all frames need a folder"):
        restore_single(config_of(folder / "sub" / "moving.gif", model, output=output, frames="all"))


def test_pages_of_16_bits_and_turned_frames_are_read_as_the_first_is(tmp_path: Path) -> None:
    deep = [Image.fromarray(np.linspace(start, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)) for start in (0, 99)]
    deep[0].save(tmp_path / "deep.tif", save_all=True, append_images=deep[1:])
    turned, exif = [Image.new("RGB", (60, 40), colour) for colour in COLOURS], Image.Exif()
    exif[0x0112] = 6  # orientation: a quarter turn
    turned[0].save(tmp_path / "turned.webp", save_all=True, append_images=turned[1:], exif=exif)
    for name in ("deep.tif", "turned.webp"):
        first = read_picture((tmp_path / name).read_bytes(), 10**6).whole()
        for number, opened in enumerate(open_frames(tmp_path / name).values()):
            frame = Image.open(opened())
            assert (frame.mode, frame.size) == (first.mode, first.size)
            difference = np.asarray(frame, float) - np.asarray(first, float)
            assert number or not difference.any()
    assert 100 < np.asarray(Image.open(open_frames(tmp_path / "deep.tif")["000001.png"]())).mean() < 156
