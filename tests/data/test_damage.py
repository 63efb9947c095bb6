"""Damage: its steps, a training's random chain of them, and docs/method.md section 8's kinds by name."""

from __future__ import annotations

import io
import math
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from ufvnet.config import ConfigError, Damage, Recipe, load
from ufvnet.config.lr_images import NAMES, UNSEEN
from ufvnet.data.build.degrade import degrade
from ufvnet.data.damage import chain, named
from ufvnet.data.damage import steps as damage
from ufvnet.imaging.resize import resize

ALWAYS = Damage(clean=0)


def face(seed: int = 0, side: int = 64) -> np.ndarray:
    """Smooth colours with fine detail: (side, side, 3) uint8."""
    rng = np.random.default_rng(seed)
    rough = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((side, side))
    return np.clip(np.asarray(rough).astype(int) + rng.integers(-20, 21, (side, side, 3)), 0, 255).astype(np.uint8)


def clean(hr: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(resize(Image.fromarray(hr), width, height))


def rms(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.square(a.astype(float) - b).mean()))


# steps


@pytest.mark.parametrize("kernel", [damage.gaussian(1.5), damage.gaussian(2, 0.3, 0.7), damage.motion(6, 1.1)])
def test_a_blur_keeps_brightness_and_place(kernel: np.ndarray) -> None:
    assert kernel.sum() == pytest.approx(1)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-15)
    point = np.zeros((41, 41, 3), np.uint8)
    point[20, 20] = 255
    seen = damage.blurred(point, kernel)
    np.testing.assert_array_equal(seen, seen[::-1, ::-1])
    np.testing.assert_array_equal(damage.blurred(np.full((9, 30, 3), 77, np.uint8), kernel), 77)


def test_blurs_run_along_their_angle() -> None:
    for kernel in (damage.gaussian(2, 0.25, 0.0), damage.motion(9, 0.0)):
        assert np.count_nonzero(kernel.sum(0) > 0.01) > 2 * np.count_nonzero(kernel.sum(1) > 0.01)
    assert damage.spread(damage.gaussian(2.0)) == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("way", damage.FILTERED + damage.UNFILTERED)
def test_every_way_of_resizing_gives_the_size_asked_for_and_keeps_plain_colour(way: str) -> None:
    plain = np.full((64, 64, 3), (10, 200, 90), np.uint8)
    for height, width in ((7, 13), (64, 64), (90, 20)):
        seen = damage.resized(plain, height, width, way)
        assert seen.shape == (height, width, 3)
        assert seen.dtype == np.uint8
        assert (seen == plain[0, 0]).all()


def test_unfiltered_ways_are_opencv_s_and_pillow_s() -> None:
    hr = face()
    assert np.array_equal(damage.resized(hr, 16, 16, "corner"), hr[::4, ::4])
    assert np.array_equal(damage.resized(hr, 16, 16, "nearest"), hr[2::4, 2::4])
    middle = hr.astype(float)[1::4, 1::4] + hr[2::4, 1::4] + hr[1::4, 2::4] + hr[2::4, 2::4]
    assert np.array_equal(damage.resized(hr, 16, 16, "cv2-linear"), np.rint(middle / 4).astype(np.uint8))
    (cubic,) = degrade("cv2-bicubic", Image.fromarray(hr), [24], [0])
    assert np.array_equal(damage.resized(hr, 24, 24, "cv2-cubic"), np.asarray(cubic))
    with pytest.raises(ValueError, match="way 'magic': must be one of bicubic, box"):
        damage.resized(hr, 16, 16, "magic")


@pytest.mark.parametrize("photon", [False, True])
def test_noise_has_the_strength_asked_for_and_grey_noise_no_colour(photon: bool) -> None:
    plain, rng = np.full((80, 80, 3), 128, np.uint8), np.random.default_rng(0)
    colour = damage.noisy(plain, rng, 6, photon).astype(float) - 128
    assert colour.std() == pytest.approx(6, rel=0.1)
    assert abs(np.corrcoef(colour[..., 0].ravel(), colour[..., 1].ravel())[0, 1]) < 0.1
    grey = damage.noisy(plain, rng, 6, photon, grey=True)
    assert (grey == grey[..., :1]).all()


def test_photon_noise_grows_with_brightness() -> None:
    rng = np.random.default_rng(0)
    dark, bright = (damage.noisy(np.full((60, 60, 3), v, np.uint8), rng, 6, True).std() for v in (16, 220))
    assert bright / dark == pytest.approx(math.sqrt(220 / 16), rel=0.15)


def test_compression_is_pillow_s_with_the_grid_where_it_is_asked_for() -> None:
    lr = face(side=40)
    buffer = io.BytesIO()
    Image.fromarray(lr).save(buffer, "JPEG", quality=50)
    assert np.array_equal(damage.compressed(lr, "JPEG", 50), np.asarray(Image.open(buffer)))
    ways = [("JPEG", False, (0, 0)), ("JPEG", True, (0, 0)), ("JPEG", False, (3, 5)), ("WEBP", False, (0, 0))]
    seen = [damage.compressed(lr, f, 50, c, at) for f, c, at in ways]  # type: ignore[arg-type]
    assert all(x.shape == lr.shape and rms(x, lr) > 1 for x in seen)
    assert len({x.tobytes() for x in seen}) == 4


# a training's chain


def test_damage_depends_on_the_seed_alone() -> None:
    hr = face()
    lrs = [chain.damaged(hr, clean(hr, 20, 16), ALWAYS, (3, i)) for i in range(60)]
    again = [chain.damaged(hr, clean(hr, 20, 16), ALWAYS, (3, i)) for i in reversed(range(60))][::-1]
    for a, b in zip(lrs, again):
        assert a.lr.shape == (20, 16, 3)
        assert a.lr.dtype == np.uint8
        assert np.array_equal(a.lr, b.lr)
        assert np.array_equal(a.hr, b.hr)
        assert np.array_equal(a.amounts, b.amounts)
    assert len({x.lr.tobytes() for x in lrs}) > 40


def test_all_steps_come_and_about_three_tenths_of_the_faces_stay_clean() -> None:
    hr, counts, untouched = face(), Counter[str](), 0
    small = clean(hr, 16, 16)
    for i in range(800):
        trace: list[str] = []
        seen = chain.damaged(hr, small, Damage(), (0, i), trace)
        untouched += np.array_equal(seen.lr, small)
        counts.update(trace)
    assert 0.25 < untouched / 800 < 0.4
    blurs, noises = {"blur", "anisotropic blur", "motion blur"}, {"noise", "photon noise"}
    assert {*counts} == {"grey", "twice", "JPEG", "WEBP"} | blurs | noises | {
        *damage.FILTERED[1:],
        *damage.UNFILTERED,
    }


@pytest.mark.parametrize("size", [(6, 6), (112, 112), (9, 40), (63, 64)])
def test_every_size_can_be_damaged(size: tuple[int, int]) -> None:
    hr = face(side=128)
    assert {chain.damaged(hr, clean(hr, *size), ALWAYS, (i,)).lr.shape for i in range(40)} == {(*size, 3)}


def test_without_a_step_the_lr_image_stays_as_it_was() -> None:
    hr = face()
    off = {"grey": 0, "blur": 0, "other_filter": 0, "twice": 0, "noise": 0, "compression": 0}
    for settings in (Damage(clean=1), Damage(clean=0, **off)):
        seen = chain.damaged(hr, clean(hr, 16, 16), settings, (0,))
        assert np.array_equal(seen.lr, clean(hr, 16, 16))
        assert not seen.amounts.any()


def test_a_grey_face_is_grey_in_both_pictures() -> None:
    settings = Damage(clean=0, grey=1, blur=0, other_filter=0, twice=0, noise=0, compression=0)
    seen = chain.damaged(face(), clean(face(), 16, 16), settings, (0,))
    for picture in (seen.lr, seen.hr):
        assert (picture == picture[..., :1]).all()


@pytest.mark.parametrize(
    ("on", "kind"),
    [({"blur": 1}, 0), ({"other_filter": 1, "unfiltered": 1}, 1), ({"noise": 1}, 2), ({"compression": 1}, 3)],
)
def test_what_was_done_is_told_by_kind(on: dict[str, float], kind: int) -> None:
    off = {"grey": 0, "blur": 0, "other_filter": 0, "twice": 0, "noise": 0, "compression": 0}
    hr = face()
    for i in range(10):
        amounts = chain.damaged(hr, clean(hr, 16, 16), Damage(clean=0, **(off | on)), (i,)).amounts
        assert amounts.dtype == np.float32
        assert [j for j in range(4) if amounts[j]] == [kind]
        assert 0 < amounts[kind] <= 1
        assert 0 < amounts[4] <= 1.4


@pytest.mark.parametrize(
    ("key", "value"),
    [("clean", 1.5), ("sigma", [4, 1]), ("quality", [0, 95]), ("level", [-1, 5]), ("by_way_of", [0.1, 2]), ("rain", 1)],
)
def test_a_damage_block_out_of_range_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key):
        load(Recipe, {"damage": {key: value}})
    assert Recipe().damage is None


# by name


@pytest.mark.parametrize("name", [*NAMES, *UNSEEN, "jpeg60", "noise7", "blur3"])
def test_a_named_damage_is_a_function_of_face_size_and_seed(name: str) -> None:
    hr = face(side=128)
    lr = named.damaged(name, hr, 24, 32, (9, 1))
    assert lr.shape == (24, 32, 3)
    assert lr.dtype == np.uint8
    assert np.array_equal(lr, named.damaged(name, hr, 24, 32, (9, 1)))
    assert np.array_equal(lr, clean(hr, 24, 32)) == (name in ("clean", "crop"))
    random = name.startswith("noise") or name == "mixed"
    assert np.array_equal(lr, named.damaged(name, hr, 24, 32, (9, 2))) != random


def test_stronger_damage_is_further_from_clean() -> None:
    hr = face(side=128)
    small = clean(hr, 32, 32)
    for names in (("jpeg90", "jpeg75", "jpeg50", "jpeg30"), ("noise5", "noise10"), ("blur1", "blur2")):
        distances = [rms(named.damaged(name, hr, 32, 32, (0,)), small) for name in names]
        assert distances == sorted(distances)
        assert distances[0] > 0


@pytest.mark.parametrize("name", ["jpeg", "jpeg101", "blur0", "rain", ""])
def test_an_unknown_damage_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"must be one of clean, jpeg90"):
        named.damaged(name, face(), 8, 8, (0,))
