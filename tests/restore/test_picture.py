"""What survives a restoration: orientation, EXIF, ICC profile, alpha, grey; and what is said of the rest."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageCms, ImageDraw
from restore_settings import config_of

from ufvnet.restore import Restorer
from ufvnet.restore.folder.run import restore_folder
from ufvnet.restore.picture import encode_picture, heif_is_known, picture_of, read_picture
from ufvnet.restore.single import restore_single

ORIENTATION, MAKE, EXPOSURE = 0x0112, 271, 33434


@pytest.fixture
def face(built: Path) -> Image.Image:
    """A face of 40x40 pixels."""
    from ufvnet import data

    return Image.fromarray(data.open(built).view("MR8", "train").arrays().lr[8][0]).resize((40, 40))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def exif_of(**tags: Any) -> Image.Exif:
    exif = Image.Exif()
    exif[MAKE] = "A camera"
    exif[ORIENTATION] = tags.get("orientation", 1)
    exif.get_ifd(0x8769)[EXPOSURE] = 0.125
    return exif


@functools.cache
def profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def restored(folder: Path, model: Path, **changes: Any) -> tuple[Image.Image, pd.Series]:
    """The output of the one picture in a folder, and its row."""
    restore_folder(config_of(folder, model, **changes))
    row = pd.read_parquet(folder.parent / "out" / "manifest.parquet").iloc[0]
    assert row["status"] == "restored", row["reason"]
    return Image.open(folder.parent / "out" / row["output"]), row


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "tiff", "avif"])
def test_exif_and_icc_profile_are_kept_and_orientation_is_applied(
    folder: Path, face: Image.Image, lite: Path, format: str
) -> None:
    tall = face.resize((30, 44))
    turned = tall.transpose(Image.Transpose.ROTATE_90)
    turned.save(folder / "a.jpg", quality=97, exif=exif_of(orientation=6), icc_profile=profile())
    image, row = restored(folder, lite, scale=2, format=format)
    assert image.size == (60, 88)
    assert "EXIF orientation applied" in row["reason"]
    assert image.getexif().get(ORIENTATION, 1) == 1
    assert image.getexif()[MAKE] == "A camera"
    assert float(image.getexif().get_ifd(0x8769)[EXPOSURE]) == 0.125
    assert image.info["icc_profile"] == profile()
    upright = np.asarray(tall.resize((60, 88), Image.Resampling.BICUBIC)).astype(float)
    as_stored = np.asarray(turned.resize((60, 88), Image.Resampling.BICUBIC)).astype(float)
    result = np.asarray(image.convert("RGB")).astype(float)
    assert np.corrcoef(result.ravel(), upright.ravel())[0, 1] > np.corrcoef(result.ravel(), as_stored.ravel())[0, 1]


@pytest.mark.parametrize("format", ["png", "webp", "tiff", "avif"])
def test_alpha_is_scaled_and_kept(folder: Path, face: Image.Image, model: Path, format: str) -> None:
    alpha = Image.linear_gradient("L").resize(face.size)
    both = face.copy()
    both.putalpha(alpha)
    both.save(folder / "a.png")
    image, _ = restored(folder, model, format=format, quality=100)
    assert image.mode == "RGBA"
    expected = np.asarray(alpha.resize((64, 64), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(np.asarray(image.getchannel("A")).astype(int) - expected).max() <= 2


def test_alpha_that_jpeg_has_none_of_is_said(folder: Path, face: Image.Image, model: Path) -> None:
    both = face.copy()
    both.putalpha(0)
    both.save(folder / "a.png")
    image, row = restored(folder, model, format="jpeg")
    assert image.mode == "RGB"
    assert np.asarray(image).min() > 250
    assert "alpha flattened on white" in row["reason"]


@pytest.mark.parametrize(("format", "mode"), [("png", "L"), ("jpeg", "L"), ("tiff", "L"), ("webp", "RGB")])
def test_grey_stays_grey(folder: Path, face: Image.Image, model: Path, format: str, mode: str) -> None:
    face.convert("L").save(folder / "a.png")
    image, _ = restored(folder, model, format=format)
    assert image.mode == mode
    pixels = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(pixels - pixels[..., :1]).max() <= 3


def test_grey_with_alpha_stays_both(folder: Path, face: Image.Image, model: Path) -> None:
    face.convert("LA").save(folder / "a.png")
    assert restored(folder, model)[0].mode == "LA"


def test_sixteen_bits_are_restored_at_eight_and_said(folder: Path, face: Image.Image, model: Path) -> None:
    Image.fromarray(np.asarray(face.convert("L")).astype(np.uint16) * 257).save(folder / "a.png")
    image, row = restored(folder, model)
    assert image.mode == "L"
    assert "reduced to 8 bits" in row["reason"]
    as_eight = Restorer.load(model, "cpu")(face.convert("L"))
    assert np.abs(np.asarray(image).astype(int) - np.asarray(as_eight.convert("L"))).max() <= 1


def test_the_api_takes_deep_and_turned_crops_as_the_command_does(folder: Path, face: Image.Image, lite: Path) -> None:
    tall = face.resize((30, 44))
    Image.fromarray(np.asarray(tall.convert("L")).astype(np.uint16) * 257).save(folder / "deep.png")
    Image.fromarray(np.asarray(tall.convert("L")).astype(np.float32) / 255).save(folder / "float.tif")
    tall.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.jpg", quality=97, exif=exif_of(orientation=6))
    tall.convert("RGBA").save(folder / "alpha.png")
    restorer = Restorer.load(lite, "cpu")
    restore_folder(config_of(folder, lite))
    for path in folder.iterdir():
        (done,) = restorer.batch([Image.open(path)])
        written = Image.open(folder.parent / "out" / f"{path.stem}.png").convert("L")
        assert np.abs(np.asarray(done.image.convert("L")).astype(int) - np.asarray(written)).max() <= 2
        assert 20 < np.asarray(done.image).mean() < 235
        assert done.rate == pytest.approx(37 / 128)


def test_sixteen_bit_colour_is_said_though_pillow_reduces_it_silently() -> None:
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + bytes(6 * 8) for _ in range(8))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
    png += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert "16 bits per channel reduced to 8" in read_picture(png, 10**6).notes


def test_palettes_cmyk_and_animations_are_converted_and_said(folder: Path, face: Image.Image, model: Path) -> None:
    face.quantize(64).save(folder / "palette.png")
    face.convert("CMYK").save(folder / "cmyk.jpg", quality=97)
    face.save(folder / "moving.webp", save_all=True, append_images=[face.rotate(90)], lossless=True)
    restore_folder(config_of(folder, model))
    rows = pd.read_parquet(folder.parent / "out" / "manifest.parquet").set_index("path")
    assert set(rows["status"]) == {"restored"}
    for name, said in (("palette.png", "P converted"), ("cmyk.jpg", "CMYK converted"), ("moving.webp", "first frame")):
        assert said in rows.loc[name, "reason"]


def test_a_format_that_cannot_be_written_becomes_png_and_is_said(folder: Path, face: Image.Image, model: Path) -> None:
    face.quantize(64).save(folder / "a.gif")
    image, row = restored(folder, model, format="same")
    assert image.format == "PNG"
    assert "written as PNG, not as GIF" in row["reason"]


@pytest.mark.parametrize("name", ["a.jpeg", "b.PNG", "c.webp", "d.tiff", "e.bmp", "f.avif"])
def test_the_same_format_keeps_the_name(folder: Path, face: Image.Image, model: Path, name: str) -> None:
    face.save(folder / name)
    image, row = restored(folder, model, format="same")
    assert row["output"] == name
    assert image.format == Image.open(folder / name).format


@pytest.mark.skipif(not heif_is_known(), reason="pillow-heif is not installed")
def test_heic_is_read_and_written(folder: Path, face: Image.Image, model: Path) -> None:
    face.save(folder / "a.heic", quality=95)
    image, row = restored(folder, model, format="same")
    assert (image.format, image.size, row["output"]) == ("HEIF", (64, 64), "a.heic")


def test_a_picture_named_as_something_else_is_still_restored(folder: Path, face: Image.Image, model: Path) -> None:
    face.save(folder / "a.dat", format="PNG")
    assert restored(folder, model)[1]["output"] == "a.png"


def test_the_same_picture_gives_the_same_bytes(face: Image.Image) -> None:
    file = io.BytesIO()
    face.save(file, "PNG", exif=exif_of(), icc_profile=profile())
    picture = read_picture(file.getvalue(), 10**6)
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP"):
        assert encode_picture(picture, kind, 90) == encode_picture(picture, kind, 90)


def test_neighbours_that_are_no_pictures_are_skipped_and_broken_pictures_fail(
    folder: Path, face: Image.Image, model: Path
) -> None:
    face.save(folder / "nameless", "PNG")
    (folder / "LICENSE").write_text("As is.")
    (folder / "doc.pdf").write_bytes(b"%PDF-1.4")
    (folder / "v.mpg").write_bytes(bytes.fromhex("000001b3140000f023ffff"))
    (folder / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    (folder / "EMPTY").touch()
    (folder / "empty.png").touch()
    (folder / "junk.jpg").write_text("As is.")
    (folder / "junk.mpo").write_text("As is.")
    (folder / "junk.heic").write_text("As is.")
    restore_folder(config_of(folder, model))
    rows = pd.read_parquet(folder.parent / "out" / "manifest.parquet").set_index("path")
    assert rows.groupby("status").groups.keys() == {"restored", "skipped", "failed"}
    assert set(rows.index[rows["status"] == "restored"]) == {"nameless"}
    assert set(rows.index[rows["status"] == "failed"]) == {"empty.png", "junk.jpg", "junk.mpo", "junk.heic"}
    assert "empty (0 bytes)" in rows.loc["empty.png", "reason"]
    assert not rows["reason"].str.contains("Error|Pillow").any()


def test_a_row_of_a_table_and_a_single_file_are_never_skipped_for_their_names(folder: Path, model: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"image": [b"As is."]}), folder / "a.parquet")
    restore_folder(config_of(folder, model))
    assert list(pd.read_parquet(folder.parent / "out" / "manifest.parquet")["status"]) == ["failed"]
    (folder / "LICENSE").write_text("As is.")
    assert restore_single(config_of(folder / "LICENSE", model, output=folder.parent / "b.png"))["status"] == "failed"


def test_a_crop_s_colour_profile_stays_with_the_restored_face(face: Image.Image, lite: Path, tmp_path: Path) -> None:
    face.save(tmp_path / "a.png", icc_profile=profile())
    face.convert("L").save(tmp_path / "grey.png", icc_profile=profile())
    restorer = Restorer.load(lite, "cpu")
    made = restorer.batch([Image.open(tmp_path / "a.png"), face, Image.open(tmp_path / "grey.png")])
    made[0].image.save(tmp_path / "out.png")
    assert Image.open(tmp_path / "out.png").info["icc_profile"] == profile()
    assert [restored.image.info for restored in made[1:]] == [{}, {}]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_alpha_hides_does_not_bleed_into_the_edges_of_an_enlarged_picture(mode: str) -> None:
    seen = Image.new("L", (40, 40))
    ImageDraw.Draw(seen).ellipse((8, 8, 32, 32), fill=255)
    cut_out = Image.new("L", (40, 40))
    cut_out.paste(220, mask=seen)
    cut_out = cut_out.convert(mode)
    cut_out.putalpha(seen)
    for size in ((160, 160), (17, 23)):
        enlarged = picture_of(cut_out).resized(size).whole()
        assert enlarged.mode == mode
        shown = np.asarray(enlarged.getchannel("A"), float) / 255  # a colour counts as much as it is seen
        assert ((220 - np.asarray(enlarged.getchannel(0), float)) * shown).max() <= 3, "darker than the face"
    assert picture_of(cut_out).resized((40, 40)).whole().tobytes() == cut_out.tobytes()
