"""Photos: every small face found or given is restored and pasted back, and nothing else is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image, features
from restore_settings import config_of

from ufvnet.config import ConfigError
from ufvnet.data.sample import FACE
from ufvnet.faces.finders import choose_finder, why_not_best, yunet
from ufvnet.models.store import shipped
from ufvnet.restore import Restorer
from ufvnet.restore.folder.run import restore_folder


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    """A photo with one face of about 110 pixels."""
    from skimage.data import astronaut

    return Image.fromarray(astronaut())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def run(folder: Path, model: Path, **changes: Any) -> tuple[dict[str, Any], pd.DataFrame]:
    summary = restore_folder(config_of(folder, model, **{"mode": "photo"} | changes))
    return summary, pd.read_parquet(folder.parent / "out" / "manifest.parquet").set_index("path")


def boxes_file(folder: Path, rows: list[tuple[Any, ...]]) -> Path:
    path = folder.parent / "boxes.csv"
    path.write_text("file,left,top,right,bottom\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def test_the_finder_is_named_in_the_account_and_decides_what_is_kept(
    folder: Path, astronaut: Image.Image, lite: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    astronaut.resize((100, 100)).save(folder / "photo.png")
    summary, rows = run(folder, lite)
    best = choose_finder().NAME
    assert summary["finder"] == summary["config"]["finder"] == best
    assert summary["finder_reason"] == why_not_best(choose_finder())
    again, kept = run(folder, lite, finder=best, resume=True)
    assert list(kept["key"]) == list(rows["key"])
    assert again["finder_reason"] is None  # the user chose it
    _, by_hog = run(folder, lite, finder="hog", resume=True)
    assert best == "hog" or list(by_hog["key"]) != list(rows["key"])
    monkeypatch.setattr(yunet, "why_unusable", lambda: "no wheel")
    summary, _ = run(folder, lite)
    assert (summary["finder"], summary["finder_reason"]) == ("hog", "yunet: no wheel")
    assert "faces are searched by hog, which misses small and turned ones; yunet: no wheel" in caplog.text
    with pytest.raises(ConfigError, match="finder = yunet: no wheel"):
        run(folder, lite, finder="yunet")


def test_a_face_is_restored_and_the_rest_is_untouched_pixel_for_pixel(
    folder: Path, astronaut: Image.Image, lite: Path
) -> None:
    photo = astronaut.resize((300, 300), Image.Resampling.BICUBIC)
    photo.save(folder / "photo.png")
    summary, rows = run(folder, lite, size="input")
    row = rows.loc["photo.png"]
    assert summary["counts"]["restored"] == summary["faces"] == row["faces_restored"] == 1
    result = np.asarray(Image.open(folder.parent / "out" / "photo.png")).astype(int)
    before = np.asarray(photo).astype(int)
    (face,) = row["faces"]
    box = [int(face[edge]) for edge in ("left", "top", "right", "bottom")]
    inside = np.zeros(before.shape[:2], bool)
    inside[box[1] : box[3], box[0] : box[2]] = True
    assert (result[~inside] == before[~inside]).all()
    assert (result[inside] != before[inside]).any()
    assert row["face_size"] == max(box[2] - box[0], box[3] - box[1])
    assert row["w1"] + row["w2"] + row["w3"] == pytest.approx(1, abs=1e-5)


def test_large_faces_are_left_as_they_are_and_counted(folder: Path, astronaut: Image.Image, lite: Path) -> None:
    astronaut.save(folder / "photo.png")
    given = boxes_file(folder, [("photo.png", 150, 20, 330, 200), ("photo.png", 10, 10, 60, 60)])
    summary, rows = run(folder, lite, boxes=given, size="input")
    row = rows.loc["photo.png"]
    assert (row["status"], row["faces_found"], row["faces_restored"]) == ("restored", 2, 1)
    assert "1 face of at least 128 pixels left" in row["reason"]
    result = np.asarray(Image.open(folder.parent / "out" / "photo.png"))
    assert (result[60:] == np.asarray(astronaut)[60:]).all()
    summary, rows = run(folder, lite, boxes=given, max_face=40)
    assert summary["counts"]["copied"] == 1
    assert (folder.parent / "out" / "photo.png").read_bytes() == (folder / "photo.png").read_bytes()


@pytest.mark.parametrize("unrestored", ["copy", "leave"])
def test_a_photo_without_a_face_is_no_face_never_restored(folder: Path, lite: Path, unrestored: str) -> None:
    Image.linear_gradient("L").save(folder / "grey.jpg")
    summary, rows = run(folder, lite, unrestored=unrestored)
    assert rows.loc["grey.jpg", "status"] == "no_face"
    assert summary["counts"]["restored"] == summary["faces"] == 0
    output = folder.parent / "out" / "grey.jpg"
    assert output.exists() == (unrestored == "copy")
    if unrestored == "copy":
        assert output.read_bytes() == (folder / "grey.jpg").read_bytes()


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, (640, 480)), ({"max_pixels": 40_000}, (230, 173)),
        ({"size": "input"}, (200, 150)), ({"scale": 2.5}, (500, 375)), ({"size": 400}, (400, 300)),
        ({"size": "native"}, (640, 480)),
    ],
)  # fmt: skip
def test_the_output_has_the_size_that_is_asked_for(
    folder: Path, astronaut: Image.Image, lite: Path, changes: dict[str, Any], size: tuple[int, int]
) -> None:
    photo = astronaut.resize((200, 150), Image.Resampling.BICUBIC)
    photo.save(folder / "photo.png")
    run(folder, lite, boxes=boxes_file(folder, [("photo", 70, 5, 110, 45)]), **changes)
    result = Image.open(folder.parent / "out" / "photo.png")
    assert result.size == size
    expected = np.asarray(photo.resize(size, Image.Resampling.BICUBIC))
    below = round(size[1] * 50 / 150)
    assert (np.asarray(result)[below:] == expected[below:]).all()


@pytest.mark.parametrize(
    ("changes", "size"),
    [({}, (128, 128)), ({"size": "native"}, (128, 128)), ({"size": "input"}, (20, 28)), ({"scale": 3}, (60, 84)),
     ({"size": 200}, (200, 200))],
)  # fmt: skip
def test_a_crop_has_the_size_that_is_asked_for(
    folder: Path, astronaut: Image.Image, lite: Path, changes: dict[str, Any], size: tuple[int, int]
) -> None:
    astronaut.crop(FACE).resize((20, 28)).save(folder / "face.png")
    run(folder, lite, mode="aligned", **changes)
    assert Image.open(folder.parent / "out" / "face.png").size == size


def test_auto_takes_small_pictures_without_a_findable_face_for_crops(
    folder: Path, astronaut: Image.Image, lite: Path
) -> None:
    astronaut.crop((0, 250, 100, 350)).resize((60, 90)).save(folder / "crop.png")  # no face in it
    astronaut.crop((100, 0, 400, 300)).resize((120, 100)).save(folder / "photo.png")
    astronaut.crop((0, 300, 150, 500)).save(folder / "nobody.png")
    _, rows = run(folder, lite, mode="auto")
    assert dict(rows["mode"]) == {"crop.png": "aligned", "photo.png": "photo", "nobody.png": "photo"}
    assert dict(rows["status"]) == {"crop.png": "restored", "photo.png": "restored", "nobody.png": "no_face"}


def test_given_landmarks_take_the_place_of_the_search(folder: Path, astronaut: Image.Image, lite: Path) -> None:
    astronaut.resize((256, 256)).save(folder / "photo.png")
    points = [(60 + i % 10 * 4, 40 + i // 10 * 6) for i in range(68)]
    header = "file," + ",".join(f"x{i},y{i}" for i in range(68))
    line = "photo.png," + ",".join(f"{x},{y}" for x, y in points)
    (folder.parent / "landmarks.csv").write_text(f"{header}\n{line}\n")
    _, rows = run(folder, lite, landmarks=[folder.parent / "landmarks.csv"])
    (face,) = rows.loc["photo.png", "faces"]
    assert (face["left"], face["right"]) == (55, 101)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"landmarks": ["nowhere.csv"]}, "landmarks = nowhere.csv: must be an existing"),
        ({"boxes": "nowhere.csv"}, "boxes = nowhere.csv: "),
    ],
)
def test_missing_landmarks_or_boxes_are_refused(folder: Path, lite: Path, changes: Any, message: str) -> None:
    Image.new("RGB", (300, 300)).save(folder / "a.png")
    with pytest.raises(ConfigError, match=message):
        run(folder, lite, **changes)
    assert not (folder.parent / "out").exists()


def test_boxes_that_are_of_other_pictures_or_have_no_use_are_refused(folder: Path, lite: Path) -> None:
    Image.new("RGB", (300, 300)).save(folder / "a.png")
    given = boxes_file(folder, [("b.png", 1, 2, 3, 4)])
    with pytest.raises(ConfigError, match=r"name none of the 1 pictures, but e\.g\. b\.png"):
        run(folder, lite, boxes=given)
    with pytest.raises(ConfigError, match="mode = aligned: "):
        run(folder, lite, boxes=given, mode="aligned")


def test_a_picture_copied_as_it_came_is_not_said_to_be_turned(folder: Path, lite: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    Image.linear_gradient("L").save(folder / "grey.jpg", exif=exif)
    _, rows = run(folder, lite)
    assert rows.loc["grey.jpg", "reason"] == "no face found"
    _, rows = run(folder, lite, scale=2)
    assert rows.loc["grey.jpg", "status"] == "scaled"
    assert "EXIF orientation applied" in rows.loc["grey.jpg", "reason"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("a.png", 1, 2, 3), "line 3: must be a file name and four numbers, not 'a.png,1,2,3'"),
        (("a.png", 1, 2, "x", 4), "line 3: must be a file name and four numbers, not 'a.png,1,2,x,4'"),
        (("a.png", 9, 2, 3, 4), "line 3: left must be below right"),
    ],
)
def test_a_malformed_row_of_boxes_is_refused_by_its_line(
    folder: Path, lite: Path, row: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(folder, lite, boxes=boxes_file(folder, [("a.png", 1, 2, 3, 4), row]))


def test_size_and_scale_together_are_refused_by_their_names(folder: Path, lite: Path) -> None:
    with pytest.raises(ConfigError, match=r"scale = 2: .*size = input is given too"):
        run(folder, lite, size="input", scale=2)


def test_boxes_outside_their_picture_fail_with_that_reason(folder: Path, astronaut: Image.Image, lite: Path) -> None:
    astronaut.save(folder / "photo.png")
    _, rows = run(folder, lite, boxes=boxes_file(folder, [("photo.png", 600, 10, 650, 60)]))
    assert rows.loc["photo.png", "status"] == "failed"
    assert "outside the 512x512 image" in rows.loc["photo.png", "reason"]


def test_an_output_of_too_many_pixels_fails_with_that_reason(folder: Path, astronaut: Image.Image, lite: Path) -> None:
    astronaut.save(folder / "photo.png")
    given = boxes_file(folder, [("photo.png", 10, 10, 60, 60)])
    _, rows = run(folder, lite, boxes=given, scale=8, max_pixels=10_000_000)
    assert "the output would have 4096x4096" in rows.loc["photo.png", "reason"]


def test_threads_find_the_same_faces_as_one(folder: Path, astronaut: Image.Image, lite: Path) -> None:
    for i in range(3):
        astronaut.rotate(3 * i).resize((100, 100)).save(folder / f"{i}.png")
    _, alone = run(folder, lite)
    before = {p.name: p.read_bytes() for p in (folder.parent / "out").glob("*.png")}
    _, rows = run(folder, lite, threads=3)
    assert list(rows["faces_found"]) == list(alone["faces_found"])
    assert {p.name: p.read_bytes() for p in (folder.parent / "out").glob("*.png")} == before


def test_many_faces_of_one_photo_go_through_several_batches(folder: Path, astronaut: Image.Image, lite: Path) -> None:
    astronaut.save(folder / "photo.png")
    given = [("photo.png", 50 * (i % 10), 50 * (i // 10), 50 * (i % 10) + 40, 50 * (i // 10) + 40) for i in range(37)]
    summary, rows = run(folder, lite, boxes=boxes_file(folder, given))
    assert summary["faces"] == rows.loc["photo.png", "faces_restored"] == 37
    assert json.loads((folder.parent / "out" / "summary.json").read_text())["faces"] == 37


def test_the_api_gives_a_photo_with_its_faces_restored(astronaut: Image.Image, lite: Path) -> None:
    restorer = Restorer.load(lite, "cpu")
    photo = astronaut.resize((256, 256), Image.Resampling.BICUBIC).convert("RGBA")
    done = restorer.photo(photo, scale=2)
    assert (done.image.mode, done.image.size) == ("RGBA", (512, 512))
    assert len(done.boxes) == len(done.faces) == 1
    assert done.faces[0] is not None
    assert done.faces[0].image.size == (128, 128)
    left = restorer.photo(photo, [(0, 0, 200, 200)], max_face=64)
    assert left.faces == (None,)
    assert (np.asarray(left.image) == np.asarray(photo)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 0}, "scale = 0: must be"), ({"scale": float("nan")}, "scale = nan: must be"),
        ({"scale": 1000}, "200000x200000, over 100,000,000 pixels"),
        ({"boxes": [(40, 0, 10, 30)]}, "left must be below right"), ({"boxes": [(0.5, 0, 10, 30)]}, "whole pixels"),
        ({"boxes": [(300, 0, 310, 30)]}, "outside the 200x200 image"), ({"boxes": [(0, 0, 9)]}, "whole pixels"),
    ],
)  # fmt: skip
def test_the_api_refuses_what_makes_no_photo(
    astronaut: Image.Image, lite: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Restorer.load(lite, "cpu").photo(astronaut.crop((0, 0, 200, 200)), **arguments)


def test_the_api_clips_boxes_to_the_photo_and_takes_an_empty_batch(astronaut: Image.Image, lite: Path) -> None:
    restorer = Restorer.load(lite, "cpu")
    done = restorer.photo(astronaut.crop((0, 0, 200, 200)), [(-10, 170, 40, 220)])
    assert done.boxes == ((0, 170, 40, 200),)
    assert done.image.size == (200, 200)
    assert restorer.batch([]) == []


def test_the_api_restores_nothing_that_is_too_small_for_a_face(astronaut: Image.Image, lite: Path) -> None:
    restorer = Restorer.load(lite, "cpu")
    for size in ((1, 1), (3, 3), (0, 9)):
        with pytest.raises(ValueError, match="its longer side may not be under 4 pixels"):
            restorer(Image.new("RGB", size))
    assert restorer.photo(astronaut, [(10, 10, 12, 12)]).faces == (None,)


@pytest.mark.parametrize("given", [None, "face.png", Path("face.png"), np.zeros((9, 9, 3), np.uint8)])
def test_the_api_says_that_it_takes_pil_images(given: Any, lite: Path) -> None:
    restorer = Restorer.load(lite, "cpu")
    for restore in (restorer, restorer.photo):
        with pytest.raises(TypeError, match=r"must be a PIL image, as PIL\.Image\.open returns it"):
            restore(given)


@pytest.mark.skipif("ufvnet-lite" not in shipped(), reason="ufvnet-lite's weights are not in this checkout")
@pytest.mark.parametrize("shrink", [2, 4, 8])
def test_pasted_portraits_beat_bicubic_on_the_face(faces_root: Path, shrink: int) -> None:
    restorer = Restorer.load("ufvnet-lite", "cpu")
    gains = []
    for path in sorted((faces_root / "us_congress" / "images").iterdir())[::200]:
        photo = Image.open(path).convert("RGB").crop((0, 0, 224, 272))
        small = photo.resize((224 // shrink, 272 // shrink), Image.Resampling.BICUBIC)
        done = restorer.photo(small, scale=shrink)
        bicubic = np.asarray(small.resize(photo.size, Image.Resampling.BICUBIC), float)
        for left, top, right, bottom in done.boxes:
            face = slice(top * shrink, bottom * shrink), slice(left * shrink, right * shrink)
            truth = np.asarray(photo, float)[face]
            errors = [((np.asarray(a, float)[face] - truth) ** 2).mean() for a in (bicubic, done.image)]
            gains.append(10 * np.log10(errors[0] / errors[1]))
    assert len(gains) >= 4
    assert np.mean(gains) > 0.3


@pytest.mark.skipif("ufvnet-lite" not in shipped(), reason="ufvnet-lite's weights are not in this checkout")
def test_the_api_s_example_runs() -> None:
    import doctest

    from ufvnet.restore import restorer

    assert doctest.testmod(restorer).failed == 0


@pytest.mark.parametrize(
    ("name", "changes", "output"),
    [
        ("a.jpeg", {}, ("a.jpeg", "JPEG")), ("a.jpg", {"format": "png"}, ("a.png", "PNG")),
        ("a.webp", {}, ("a.png", "PNG")), ("a.avif", {}, ("a.jpg", "JPEG")),
        ("a.jpg", {"mode": "aligned", "boxes": None}, ("a.png", "PNG")),
        ("a.jpg", {"scale": 2, "max_face": 8}, ("a.jpg", "JPEG")),
    ],
)  # fmt: skip
def test_photos_that_came_with_losses_become_jpeg_and_all_others_png(
    folder: Path, astronaut: Image.Image, lite: Path, name: str, changes: dict[str, Any], output: tuple[str, str]
) -> None:
    if name.endswith("avif") and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    astronaut.resize((100, 100)).save(folder / name)
    run(folder, lite, **{"boxes": boxes_file(folder, [(name, 30, 0, 60, 30)])} | changes)
    written = Image.open(folder.parent / "out" / output[0])
    assert written.format == output[1]
    if output[1] == "JPEG":
        assert all(layer[1:3] == (1, 1) for layer in written.layer), "chroma is not subsampled"
