"""Command lines of somebody who comes from another face tool: what they find, show, write and say."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from ufvnet.cli import commands as cli
from ufvnet.config import RestoreConfig
from ufvnet.faces.finders import choose_finder
from ufvnet.restore import supervise
from ufvnet.restore.console import restore_here

Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lite: Path) -> Run:
    """Runs ``ufvnet restore`` with these words in the folder of the test, in this process; gives its exit code."""

    def here(config: RestoreConfig, *_: object) -> int:
        return int(restore_here(config))

    monkeypatch.setattr(supervise, "supervise", here)
    monkeypatch.setattr("ufvnet.cli.restore.leave_on_signals", lambda _: None)
    monkeypatch.chdir(tmp_path)
    more = ["--model", str(lite), "--device", "cpu", "--threads", "1"]
    return lambda words: cli.app(["restore", *words.split(), *more], standalone_mode=False)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A photo with a face of about 45 pixels, one with a sharp large face, and one without a face."""
    from skimage.data import astronaut

    (tmp_path / "photos").mkdir()
    image = Image.fromarray(astronaut())
    image.resize((200, 200)).save(tmp_path / "photos" / "small.jpg", quality=95)
    image.crop((125, 0, 325, 200)).resize((360, 360)).save(tmp_path / "photos" / "sharp.png")
    Image.new("RGB", (160, 120), "teal").save(tmp_path / "photos" / "nobody.png")
    return tmp_path / "photos"


def test_a_first_run_shows_a_difference_and_says_what_became_of_all_others(
    run: Run, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("photos out") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1 restored, 1 copied, 1 no_face, 0 failed; 1 face")
    assert lines[1:] == [
        "  1 photo enlarged until the restored faces show (--size input keeps the size)",
        "  1 no_face: no face found (--min-face 8 searches for smaller ones; --mode aligned takes every picture for a "
        "face crop)",
        "  1 copied: faces already larger than 128 px (--max-face N restores those below N pixels too)",
    ]
    assert json.loads(Path("out/summary.json").read_text())["finder"] == choose_finder().NAME
    output = Image.open("out/small.jpg")
    assert output.format == "JPEG"
    assert 200 < output.width <= 800
    assert Path("out/sharp.png").read_bytes() == (photos / "sharp.png").read_bytes()


def test_archives_frames_faces_sheets_and_larger_faces_in_the_words_of_other_tools(run: Run, photos: Path) -> None:
    with zipfile.ZipFile("photos.zip", "w") as archive:
        archive.write(photos / "small.jpg", "album/small.jpg")
        archive.write(photos / "sharp.png", "album/sharp.png")
    frames = [Image.new("RGB", (24, 24), colour) for colour in ("tan", "brown")]
    frames[0].save("film.gif", save_all=True, append_images=frames[1:])
    words = "-i photos.zip -i film.gif -o out --upscale 1 --max-face 1000 --frames all --faces faces --compare sheets"
    assert run(words) == 0

    def names(folder: str) -> set[str]:
        return {p.relative_to(folder).as_posix() for p in Path(folder).rglob("*.*") if p.suffix in (".png", ".jpg")}

    assert names("out") == {"album/small.jpg", "album/sharp.png", "film.gif/000000.png", "film.gif/000001.png"}
    assert Image.open("out/album/small.jpg").size == (200, 200)
    assert names("sheets") == {f"{name}.jpg" for name in names("out")}
    ends = ("-0-input.png", "-0-restored.png")
    assert names("faces") == {f"{name}{end}" for name in names("out") for end in ends}
    assert Image.open("faces/album/sharp.png-0-restored.png").size == (128, 128)
