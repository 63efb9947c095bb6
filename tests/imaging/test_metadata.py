"""What goes with a picture: orientation only where it is valid, EXIF tag by tag, writing it in each format."""

from __future__ import annotations

import io
import struct

import damaged
import numpy as np
import pytest
from PIL import Image, ImageCms

from ufvnet.imaging.rgb import read_image
from ufvnet.restore.picture import Picture, encode_picture, heif_is_known, picture_of, read_picture

WRITTEN = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "AVIF", *(["HEIF"] if heif_is_known() else []))


@pytest.mark.parametrize("value", [0, 1, 9, 60_000])
def test_an_orientation_that_is_none_is_not_called_applied(value: int) -> None:
    data = damaged.jpeg_with_exif(damaged.orientation(value))
    tiff = damaged.file_of(damaged.picture(), "TIFF", tiffinfo={274: value})
    for read in (read_image(data), read_picture(data, 10**6), read_image(tiff), read_picture(tiff, 10**6)):
        assert "EXIF orientation applied" not in read.notes


def test_an_orientation_of_another_type_is_not_called_applied() -> None:
    data = damaged.jpeg_with_exif(damaged.ifd((274, 2, 2, b"6\0\0\0")))
    assert "EXIF orientation applied" not in read_picture(data, 10**6).notes


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_an_orientation_is_applied_once_and_said_once_in_every_format(kind: str) -> None:
    exif = Image.Exif()
    exif[274] = 6
    upright = damaged.picture()
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    given = {"tiffinfo": {274: 6}} if kind == "TIFF" else {"exif": exif}
    data = damaged.file_of(stored, kind, quality=95, **given)
    for read in (read_image(data), read_picture(data, 10**6)):
        assert read.notes.count("EXIF orientation applied") == 1
        image = read.rgb if hasattr(read, "rgb") else read.colour
        assert np.abs(np.asarray(image).astype(int) - np.asarray(upright)).mean() < 20
    assert 274 not in Image.open(io.BytesIO(encode_picture(read_picture(data, 10**6), "PNG", 90)[0])).getexif()


def test_of_broken_exif_tags_only_those_are_lost() -> None:
    data = damaged.jpeg_with_exif(damaged.ifd((271, 2, 4, b"ABC\0"), (282, 2, 2, b"a\0\0\0")))
    written, _ = encode_picture(read_picture(data, 10**6), "PNG", 90)
    assert dict(Image.open(io.BytesIO(written)).getexif()) == {271: "ABC"}


def test_the_caller_s_image_keeps_its_exif() -> None:
    image = Image.open(io.BytesIO(damaged.jpeg_with_exif(damaged.orientation(6))))
    picture_of(image)
    assert image.getexif()[274] == 6


@pytest.mark.parametrize("kind", WRITTEN)
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("exif", damaged.JUNK),
        ("exif", damaged.long_exif().tobytes()),
        ("icc_profile", "no bytes"),
        ("icc_profile", damaged.JUNK),
        ("dpi", (float("nan"), 72)),
        ("dpi", (1e300, -1)),
        ("xmp", 7),
        ("xmp", bytes(70_000)),
    ],
)
def test_no_extra_fails_the_writing_of_any_format_and_the_others_stay(
    kind: str, mode: str, name: str, value: object
) -> None:
    sound = Image.Exif()
    sound[271] = "A camera"
    extras = {"exif": sound.tobytes(), "dpi": (72, 72), name: value}
    written, _ = encode_picture(Picture(damaged.picture(mode), extras=extras), kind, 90)
    image = Image.open(io.BytesIO(written))
    image.load()
    assert image.size == damaged.SIZE
    if name != "exif" and kind != "BMP":
        assert image.getexif()[271] == "A camera"


def test_exif_that_a_jpeg_cannot_hold_is_said() -> None:
    picture = read_picture(damaged.file_of(damaged.picture(), "PNG", exif=damaged.long_exif()), 10**6)
    assert encode_picture(picture, "JPEG", 90)[1] == "JPEG cannot hold its EXIF"
    assert encode_picture(picture, "PNG", 90)[1] == ""


def test_xmp_without_its_orientation_is_kept_in_a_png() -> None:
    xmp = b'<x tiff:Orientation="6" dc:title="A face"/>'
    picture = read_picture(damaged.file_of(damaged.picture(), "JPEG", xmp=xmp), 10**6)
    kept = Image.open(io.BytesIO(encode_picture(picture, "PNG", 90)[0])).info["xmp"]
    assert b"A face" in kept
    assert b"Orientation" not in kept
    assert picture.size == damaged.SIZE[::-1]


def grey_profile() -> bytes:
    """A profile for grey of gamma 1, made by hand: the smallest that lcms takes."""
    curve = b"curv" + bytes(4) + struct.pack(">I", 0)
    white = b"XYZ " + bytes(4) + struct.pack(">iii", 63190, 65536, 54061)
    text = b"desc" + bytes(4) + struct.pack(">I", 7) + b"linear\0" + bytes(78 + 1)
    tags = [(b"desc", text), (b"wtpt", white), (b"kTRC", curve)]
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, value in tags:
        value += bytes(-len(value) % 4)
        table += name + struct.pack(">II", at + len(body), len(value))
        body += value
    head = struct.pack(">I4sI4s4s4s", 0, b"lcms", 0x02100000, b"mntr", b"GRAY", b"XYZ ") + bytes(12) + b"acsp"
    head = head.ljust(68, b"\0") + struct.pack(">iii", 63190, 65536, 54061)
    profile = head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
    return struct.pack(">I", len(profile)) + profile[4:]


@pytest.mark.parametrize("kind", WRITTEN)
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "CMYK"])
@pytest.mark.parametrize("profile", ["srgb", "grey", "junk"])
def test_the_profile_and_the_pixels_of_an_output_agree(kind: str, mode: str, profile: str) -> None:
    icc = {"srgb": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), "grey": grey_profile(),
           "junk": damaged.JUNK}[profile]  # fmt: skip
    source = "JPEG" if mode in ("RGB", "CMYK", "L") else "PNG"
    picture = read_picture(damaged.file_of(damaged.picture(mode), source, icc_profile=icc), 10**6)
    fits = (profile, mode) in (("srgb", "RGB"), ("grey", "L"), ("grey", "LA"))
    assert fits == ("icc_profile" in picture.extras)
    assert fits or "profile left out" in "; ".join(picture.notes)
    written, lost = encode_picture(picture, kind, 90)
    image = Image.open(io.BytesIO(written))
    found = image.info.get("icc_profile")
    if found:
        assert found[16:20] == (b"GRAY" if image.mode in ("L", "LA") else b"RGB ")
    elif fits:
        assert "profile" in lost
