"""The models that ship: by name, without a network, small, and better than bicubic at every size."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ufvnet import Restorer
from ufvnet.config import DEFAULT_MODEL, RestoreConfig
from ufvnet.data.sample import jittered_photos
from ufvnet.faces.crop import crop_box, crop_face
from ufvnet.faces.finders import hog
from ufvnet.metrics import luma, psnr, ssim
from ufvnet.models import anchor_weights, create
from ufvnet.models.complexity import complexity
from ufvnet.models.store import WEIGHTS, find, read_card, shipped


@pytest.fixture(scope="module", params=shipped())
def restorer(request: pytest.FixtureRequest) -> Restorer:
    return Restorer.load(request.param, "cpu")


def test_the_default_of_restore_restorer_and_serve_ships() -> None:
    assert DEFAULT_MODEL in shipped()
    assert Restorer.load(device="cpu").fingerprint == Restorer.load(DEFAULT_MODEL, "cpu").fingerprint
    assert str(RestoreConfig.model_fields["model"].default) == DEFAULT_MODEL


@pytest.mark.parametrize("name", shipped())
def test_it_is_small_and_its_card_says_what_it_was_made_of(name: str) -> None:
    folder = find(name)
    assert sum(f.stat().st_size for f in folder.iterdir()) < 25e6
    card = read_card(Path(name))
    assert card["name"] == name
    assert complexity(create(card["model"], card["preset"]), 128)[-1].macs < 1e9
    assert "utkface" in card["trained_on"]["dataset"]
    text = (folder / "README.md").read_text()
    for said in ("non-commercial", "Limits", "biases", "recipe", "us_congress", card["fingerprint"][:12]):
        assert said in text, said
    tensors = load_file(folder / WEIGHTS)
    assert {t.dtype for t in tensors.values()} == {torch.float16}


def test_it_loads_by_name_and_restores_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert Restorer.load(device="cpu")(Image.new("RGB", (20, 28))).size == (128, 128)


@pytest.fixture(scope="module")
def hr(tmp_path_factory: pytest.TempPathFactory, real_faces: Path | None) -> np.ndarray:
    """(6, 128, 128, 3) face crops that it was not trained on."""
    if real_faces is not None:
        photos = sorted((real_faces / "us_congress" / "images").iterdir())[:60:10]
    else:
        photos = sorted(jittered_photos(tmp_path_factory.mktemp("photos"), 6).iterdir())
    crops = []
    for photo in photos:
        image = Image.open(photo).convert("RGB")
        box = crop_box(hog.find_faces(image)[0].landmarks, image.width, image.height)
        crops.append(np.asarray(crop_face(image, box, 128)))
    return np.stack(crops)


@pytest.mark.parametrize("px", [8, 11, 16, 24, 32, 37, 48, 56, 64])
def test_it_beats_bicubic_at_every_size_and_knows_the_size(restorer: Restorer, hr: np.ndarray, px: int) -> None:
    small = [Image.fromarray(face).resize((px, px), Image.Resampling.BICUBIC) for face in hr]
    done = restorer.batch(small)
    sr = luma(np.stack([np.asarray(r.image) for r in done]))
    up = luma(np.stack([np.asarray(s.resize((128, 128), Image.Resampling.BICUBIC)) for s in small]))
    assert (psnr(sr, luma(hr)) - psnr(up, luma(hr))).mean() > 0.8
    assert (ssim(sr, luma(hr)) - ssim(up, luma(hr))).mean() > 0.003
    true = anchor_weights(torch.tensor([px / 128]), (1 / 8, 1 / 4, 1 / 2))[0].numpy()
    np.testing.assert_allclose(np.mean([r.weights for r in done], axis=0), true, atol=0.15)
