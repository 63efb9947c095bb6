"""Colours: profiles are used for datasets, sRGB changes nothing, 16 bits and transparency a band at a time."""

from __future__ import annotations

import struct

import damaged
import numpy as np
import pytest
from PIL import Image, ImageCms
from test_metadata import grey_profile

from ufvnet.imaging import colour
from ufvnet.imaging.colour import eight_bits, is_srgb, on_white
from ufvnet.imaging.rgb import read_image

D50 = (0.96420, 1.0, 0.82491)
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))


def rgb_profile(name: str, primaries: tuple[tuple[float, ...], ...], gamma: float) -> bytes:
    """A profile of three primaries (XYZ at D50) and a gamma."""

    def fixed(values: tuple[float, ...]) -> bytes:
        return b"XYZ " + bytes(4) + struct.pack(">iii", *(round(v * 65536) for v in values))

    text = name.encode()
    described = b"desc" + bytes(4) + struct.pack(">I", len(text) + 1) + text + bytes(80)
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    tags = [(b"desc", described), (b"wtpt", fixed(D50))]
    tags += [(kind, fixed(xyz)) for kind, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries)]
    tags += [(kind, curve) for kind in (b"rTRC", b"gTRC", b"bTRC")]
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for kind, value in tags:
        value += bytes(-len(value) % 4)
        table += kind + struct.pack(">II", at + len(body), len(value))
        body += value
    head = struct.pack(">I4sI4s4s4s", 0, b"lcms", 0x02100000, b"mntr", b"RGB ", b"XYZ ") + bytes(12) + b"acsp"
    head = head.ljust(68, b"\0") + struct.pack(">iii", *(round(v * 65536) for v in D50))
    profile = head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
    return struct.pack(">I", len(profile)) + profile[4:]


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def test_a_photograph_in_adobe_rgb_becomes_srgb_and_it_is_said() -> None:
    image = damaged.picture()
    read = read_image(damaged.file_of(image, "PNG", icc_profile=rgb_profile("Adobe RGB (1998)", ADOBE, 2.19921875)))
    assert read.notes == ("RGB converted to sRGB by its profile, Adobe RGB (1998)",)
    # Adobe RGB to linear light to sRGB by hand
    linear = (np.asarray(image) / 255) ** 2.19921875
    to_srgb = np.linalg.inv(np.array(SRGB).T) @ np.array(ADOBE).T
    light = np.clip(linear @ to_srgb.T, 0, 1)
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(np.asarray(read.rgb) - expected).max() < 3
    assert np.abs(np.asarray(read.rgb).astype(int) - np.asarray(image)).mean() > 3


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_a_profile_of_srgb_changes_no_bit(kind: str) -> None:
    for profile in (srgb_profile(), rgb_profile("sRGB, simplified", SRGB, 2.2)):
        with_it = read_image(damaged.file_of(damaged.picture(), kind, icc_profile=profile))
        without = read_image(damaged.file_of(damaged.picture(), kind))
        assert with_it.notes == ()
        np.testing.assert_array_equal(np.asarray(with_it.rgb), np.asarray(without.rgb))


def test_srgb_is_told_by_what_a_profile_does_and_not_by_its_name_alone() -> None:
    assert is_srgb(srgb_profile())
    assert not is_srgb(rgb_profile("sRGB", ADOBE, 2.2))
    assert not is_srgb(rgb_profile("a camera", SRGB, 1.8))


def test_grey_is_converted_by_its_profile() -> None:
    read = read_image(damaged.file_of(damaged.picture("L"), "PNG", icc_profile=grey_profile()))
    assert read.notes == ("L converted to sRGB by its profile, linear",)
    light = np.asarray(damaged.picture("L")) / 255
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(np.asarray(read.rgb)[..., 0] - expected).max() < 3


def test_what_is_read_carries_no_profile_and_no_metadata() -> None:
    data = damaged.file_of(damaged.picture(), "PNG", icc_profile=srgb_profile(), exif=damaged.long_exif(), dpi=(72, 72))
    assert read_image(data).rgb.info == {}


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_deep_pictures_are_reduced_alike_in_any_number_of_bands(
    monkeypatch: pytest.MonkeyPatch, dtype: type[np.generic]
) -> None:
    values = np.random.default_rng(0).integers(0, 60_000, (53, 31)).astype(dtype)
    if dtype is np.float32:
        values[3, 4], values[50, 2] = np.nan, np.inf
    whole = eight_bits(Image.fromarray(values), notes := [])
    monkeypatch.setattr(colour, "BAND", 100)
    np.testing.assert_array_equal(np.asarray(eight_bits(Image.fromarray(values), [])), np.asarray(whole))
    assert len(notes) == 1
    expected = np.nan_to_num(np.clip(values.astype(np.float64) * (255 / 65535), 0, 255))
    np.testing.assert_array_equal(np.asarray(whole), np.rint(expected))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white_as_it_was(mode: str) -> None:
    image = damaged.picture("L").convert(mode) if mode == "LA" else damaged.picture("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    rgba = image.convert("RGBA")
    expected = Image.new("RGB", rgba.size, "white")
    expected.paste(rgba, mask=rgba.getchannel("A"))
    np.testing.assert_array_equal(np.asarray(on_white(image).convert("RGB")), np.asarray(expected))
