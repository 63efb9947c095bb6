"""Folders of images and files of networks as methods, with things in them that are none."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ufvnet.config import ConfigError, Method
from ufvnet.results.methods.faces import Faces
from ufvnet.results.methods.kinds import read_images
from ufvnet.results.methods.own_process import MethodError
from ufvnet.results.methods.resolve import resolve_method

SIDE = 16


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of images: a good one, and one of each other kind, named by the reason that it must get."""
    folder = tmp_path / "restored" / "A" / "8"
    folder.mkdir(parents=True)
    good = Image.fromarray(np.full((SIDE, SIDE, 3), 7, np.uint8))
    good.save(folder / "good.png")
    whole = (folder / "good.png").read_bytes()
    good.resize((SIDE + 1, SIDE)).save(folder / "has 17x16 pixels instead of 16x16.png")
    good.save(folder / "cannot be read.png", "JPEG")
    (folder / "cannot be read (.png").write_bytes(whole[:-30])
    (folder / "cannot be read (c.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n")
    (folder / "is no file.png").mkdir()
    os.mkfifo(folder / "is no file .png")
    (folder / "is not there.png").symlink_to(folder / "is not there.png")
    (tmp_path / "restored" / "loop").symlink_to(tmp_path / "restored")
    return tmp_path / "restored"


def _faces(face: str) -> Faces:
    return Faces(np.zeros((1, 8, 8, 3), np.uint8), 0.5, SIDE, [face], "A", "8")


def test_what_is_no_image_is_the_reason_of_its_face_alone(images: Path) -> None:
    assert resolve_method(Method(name="theirs", images=images)).fingerprint
    sr, _ = read_images(images, _faces("good"))
    assert (sr == 7).all()
    names = [p.name.removesuffix(".png") for p in (images / "A" / "8").iterdir() if p.name != "good.png"]
    assert len(names) == 7
    for name in names:
        with pytest.raises(MethodError) as caught:
            read_images(images, _faces(name))
        assert name.split(" (")[0].strip() in str(caught.value).partition(f"{name}.png")[2]


def test_pixels_that_would_be_scored_wrongly_are_a_reason(images: Path) -> None:
    folder = images / "A" / "8"
    Image.fromarray(np.full((SIDE, SIDE), 30_000, np.uint16)).save(folder / "deep.png")
    plain = Image.new("RGB", (SIDE, SIDE), (7, 7, 7))
    see_through = Image.new("RGBA", (SIDE, SIDE), (7, 7, 7, 255))
    see_through.putpixel((3, 3), (7, 7, 7, 254))
    see_through.save(folder / "alpha.png")
    Image.new("L", (SIDE, SIDE), 7).save(folder / "key.png", transparency=7)
    for name, reason in (("deep", "has mode I"), ("alpha", "is transparent"), ("key", "is transparent")):
        with pytest.raises(MethodError, match=f"{name}.png {reason}"):
            read_images(images, _faces(name))
    for opaque in (*map(plain.convert, ("L", "LA", "RGBA")), plain.quantize()):
        opaque.save(folder / "opaque.png")
        assert (read_images(images, _faces("opaque"))[0] == 7).all(), opaque.mode


def test_a_face_s_name_leads_to_no_image_elsewhere(images: Path) -> None:
    Image.new("RGB", (SIDE, SIDE)).save(images.parent / "secret.png")
    for name in ("../../../secret", str(images.parent / "secret"), "a\0b", "n" * 300):
        with pytest.raises(MethodError, match="is not there"):
            read_images(images, _faces(name))


@pytest.mark.parametrize("kind", ["onnx", "torchscript", "images"])
def test_another_kind_of_file_is_one_line_before_any_work(tmp_path: Path, kind: str) -> None:
    pickled, pipe, text = tmp_path / "pickled", tmp_path / "pipe", tmp_path / "text"
    pickled.write_bytes(pickle.dumps(print))
    text.write_text("no network")
    os.mkfifo(pipe)
    (tmp_path / "folder").mkdir()
    others = [pickled, pipe, text, tmp_path / "nul\0"] + [tmp_path / "folder"] * (kind != "images")
    for file in others:
        with pytest.raises(ConfigError) as caught:
            resolve_method(Method.model_validate({"name": "theirs", kind: file}))
        assert len(str(caught.value).splitlines()) == 1
        assert str(caught.value).isprintable()
