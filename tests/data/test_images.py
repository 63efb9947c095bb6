"""Reading whatever lies in a folder: hostile files give a status and a reason, odd ones an RGB image and a note."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ufvnet.imaging.decode import ImageProblem
from ufvnet.imaging.rgb import read_image

ORIENTATION = 0x0112


@pytest.fixture
def hostile(tmp_path: Path, put_hostile: Callable[[Path], dict[str, str]]) -> Path:
    put_hostile(tmp_path)
    return tmp_path


@pytest.fixture
def picture() -> Image.Image:
    """A smooth 48x32 picture whose four quarters are red, green, blue and yellow."""
    image = Image.new("RGB", (48, 32))
    for box, colour in [
        ((0, 0, 24, 16), "red"),
        ((24, 0, 48, 16), "lime"),
        ((0, 16, 24, 32), "blue"),
        ((24, 16, 48, 32), "yellow"),
    ]:
        image.paste(colour, box)
    return image


def _colours(image: Image.Image) -> list[tuple[int, ...]]:
    """The colours of the middles of the four quarters: top left, top right, bottom left, bottom right."""
    w, h = image.size
    return [image.getpixel((x, y)) for y in (h // 4, 3 * h // 4) for x in (w // 4, 3 * w // 4)]  # pyright: ignore


@pytest.mark.parametrize("name", ["truncated.jpg", "empty.jpg", "text.jpg"])
def test_a_broken_file_is_unreadable_for_a_reason(hostile: Path, name: str) -> None:
    with pytest.raises(ImageProblem) as problem:
        read_image(hostile / name)
    assert problem.value.status == "unreadable"
    assert len(problem.value.reason) > 10


def test_the_reason_says_that_a_file_is_truncated(hostile: Path) -> None:
    with pytest.raises(ImageProblem, match="truncated"):
        read_image(hostile / "truncated.jpg")


def test_the_reason_says_that_a_text_is_no_image(hostile: Path) -> None:
    with pytest.raises(ImageProblem, match="not an image"):
        read_image(hostile / "text.jpg")


def test_the_reason_says_that_a_file_is_empty(hostile: Path) -> None:
    for given in (b"", hostile / "empty.jpg"):
        with pytest.raises(ImageProblem, match=r"empty \(0 bytes\)"):
            read_image(given)


@pytest.mark.parametrize(
    ("side", "said"), [(12_000, "12000x10000 is over"), (20_000, "its 200,000,000 pixels are over")]
)
def test_too_many_pixels_are_told_in_one_way(tmp_path: Path, side: int, said: str) -> None:
    Image.new("1", (side, 10_000)).save(tmp_path / "a.png")
    with pytest.raises(ImageProblem, match=f"{said} 100,000,000 pixels"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["large.png", "enormous.png"])
def test_a_file_that_declares_a_huge_size_is_too_large_and_not_decoded(hostile: Path, name: str) -> None:
    with pytest.raises(ImageProblem, match="pixels") as problem:
        read_image(hostile / name)
    assert problem.value.status == "too_large"


def test_the_limit_of_pixels_is_the_caller_s(tmp_path: Path, picture: Image.Image) -> None:
    picture.save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", max_pixels=48 * 32).rgb.size == (48, 32)
    with pytest.raises(ImageProblem, match="48x32") as problem:
        read_image(tmp_path / "a.png", max_pixels=48 * 32 - 1)
    assert problem.value.status == "too_large"


def test_a_missing_file_and_a_folder_are_unreadable(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.jpg", tmp_path):
        with pytest.raises(ImageProblem) as problem:
            read_image(path)
        assert problem.value.status == "unreadable"


def test_a_single_pixel_is_an_image(hostile: Path) -> None:
    read = read_image(hostile / "dot.png")
    assert read.rgb.size == (1, 1)
    assert read.rgb.getpixel((0, 0)) == (255, 0, 0)


def test_plain_rgb_is_read_unchanged_and_without_notes(tmp_path: Path, picture: Image.Image) -> None:
    picture.save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    assert (read.format, read.notes) == ("PNG", ())
    np.testing.assert_array_equal(np.asarray(read.rgb), np.asarray(picture))


def test_the_content_tells_the_format_and_not_the_name(tmp_path: Path, picture: Image.Image) -> None:
    picture.save(tmp_path / "photo.jpg", "PNG")
    assert read_image(tmp_path / "photo.jpg").format == "PNG"


def test_cmyk_becomes_rgb_of_the_same_colours(tmp_path: Path, picture: Image.Image) -> None:
    picture.convert("CMYK").save(tmp_path / "a.jpg", quality=100, subsampling=0)
    read = read_image(tmp_path / "a.jpg")
    assert read.rgb.mode == "RGB"
    assert read.notes == ("CMYK converted to RGB",)
    np.testing.assert_allclose(_colours(read.rgb), _colours(picture), atol=6)


def test_greyscale_becomes_rgb_of_three_equal_channels(tmp_path: Path, picture: Image.Image) -> None:
    picture.convert("L").save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    pixels = np.asarray(read.rgb)
    assert read.notes == ("L converted to RGB",)
    np.testing.assert_array_equal(pixels, np.asarray(picture.convert("L"))[..., None].repeat(3, 2))


def test_sixteen_bits_are_scaled_to_eight_and_not_clipped(tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(ramp * 257).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    assert read.rgb.mode == "RGB"
    assert any("reduced to 8 bits" in note for note in read.notes)
    np.testing.assert_array_equal(np.asarray(read.rgb), ramp.astype(np.uint8)[..., None].repeat(3, 2))


@pytest.mark.parametrize(
    ("least", "greatest", "taken"),
    [(0, 0.5, (0, 127.5)), (-0.05, 1.05, (0, 255)), (0, 200, (0, 200)), (0, 65535, (0, 255)), (0, 1e9, (0, 255))],
)
def test_floats_are_taken_for_the_range_that_they_fit_and_it_is_said(
    tmp_path: Path, least: float, greatest: float, taken: tuple[float, float]
) -> None:
    ramp = np.linspace(least, greatest, 256, dtype=np.float32).reshape(16, 16)
    ramp[5, 5] = np.nan
    Image.fromarray(ramp).save(tmp_path / "a.tif")
    read = read_image(tmp_path / "a.tif")
    grey = np.asarray(read.rgb)[..., 0]
    assert (int(grey.min()), int(grey.max())) == pytest.approx(taken, abs=1)
    assert 0.4 * taken[1] < grey.mean() < 0.6 * taken[1]
    (said,) = (note for note in read.notes if "F reduced to 8 bits" in note)
    assert "taken for 0 to " in said


def test_a_transparent_palette_is_flattened_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (20, 10), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(1, (10, 0, 20, 10))
    image.save(tmp_path / "a.png", transparency=0)
    read = read_image(tmp_path / "a.png")
    assert read.rgb.mode == "RGB"
    assert "alpha flattened on white" in read.notes
    assert (read.rgb.getpixel((2, 5)), read.rgb.getpixel((15, 5))) == ((255, 255, 255), (0, 0, 255))


@pytest.mark.parametrize(
    ("mode", "colour", "flat"), [("RGBA", (255, 0, 0, 128), (255, 127, 127)), ("LA", (0, 128), (127,) * 3)]
)
def test_half_transparency_is_blended_with_white(
    tmp_path: Path, mode: str, colour: tuple[int, ...], flat: tuple[int, ...]
) -> None:
    Image.new(mode, (8, 8), colour).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    assert "alpha flattened on white" in read.notes
    assert read.rgb.mode == "RGB"
    np.testing.assert_allclose(read.rgb.getpixel((4, 4)), flat, atol=1)


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    read = read_image(tmp_path / "a.gif")
    assert read.format == "GIF"
    assert "first frame of an animation" in read.notes
    assert read.rgb.getpixel((8, 8)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (6, Image.Transpose.ROTATE_90),
        (8, Image.Transpose.ROTATE_270),
    ],
)
def test_a_photo_is_turned_upright_as_its_exif_says(
    tmp_path: Path, picture: Image.Image, orientation: int, stored: Image.Transpose
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    picture.transpose(stored).save(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    read = read_image(tmp_path / "a.jpg")
    assert read.rgb.size == picture.size
    assert read.notes == ("EXIF orientation applied",)
    np.testing.assert_allclose(_colours(read.rgb), _colours(picture), atol=6)


def test_an_upright_photo_with_exif_is_left_as_it_is(tmp_path: Path, picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 1
    picture.save(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    read = read_image(tmp_path / "a.jpg")
    assert read.notes == ()
    np.testing.assert_array_equal(np.asarray(read.rgb), np.asarray(Image.open(tmp_path / "a.jpg")))
