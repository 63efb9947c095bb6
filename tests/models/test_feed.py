"""What networks are fed: the kinds, and that every way to a network follows them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ufvnet.imaging.resize import resize
from ufvnet.models import SROutput, create, register, registry
from ufvnet.models.feed import Feed, feed_of
from ufvnet.models.inference import super_resolve
from ufvnet.restore.restorer import Restorer


def picture(width: int, height: int | None = None) -> Image.Image:
    shape = (height or width, width, 3)
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, shape, dtype=np.uint8))


def test_a_fixed_resolution_leaves_an_image_of_its_size_as_it_is() -> None:
    lr = picture(32)
    assert np.array_equal(Feed("FR", 32).image(lr, 128), lr)
    assert np.array_equal(Feed("FR", 16).image(lr, 128), resize(lr, 16))


def test_original_resolution_may_be_reduced_again() -> None:
    lr = picture(40)
    assert np.array_equal(Feed().image(lr, 128), resize(lr, 128))
    assert np.array_equal(Feed("OR", 16).image(lr, 128), resize(resize(lr, 128), 16))


@pytest.mark.parametrize(
    ("size", "multiple", "fed"), [((24, 24), 1, (24, 24)), ((23, 31), 1, (23, 31)), ((23, 31), 2, (24, 32)),
                                  ((300, 100), 1, (128, 100))],
)  # fmt: skip
def test_a_scale_arbitrary_network_sees_the_lr_image(
    size: tuple[int, int], multiple: int, fed: tuple[int, int]
) -> None:
    assert Feed("SASR", multiple=multiple).image(picture(*size), 128).size == fed


@pytest.mark.parametrize("feed", [Feed(), Feed("OR", 16), Feed("FR", 16), Feed("SASR")])
def test_a_batch_is_what_its_images_are(feed: Feed) -> None:
    lrs = [np.asarray(picture(24)), np.asarray(picture(24).rotate(90))]
    batch = feed.batch(lrs, 128)
    for lr, fed in zip(lrs, batch):
        assert np.array_equal(fed.permute(1, 2, 0).numpy(), feed.image(Image.fromarray(lr), 128))


class Seen(nn.Module):
    """Keeps what it was fed, and gives grey."""

    multiple = 2

    def __init__(self, lr_size: int | None = None):
        super().__init__()
        self.lr_size, self.fed = lr_size, list[torch.Tensor]()

    def forward(self, x: torch.Tensor, rate: torch.Tensor) -> SROutput:
        self.fed.append(((x + 1) * 127.5).round().to(torch.uint8))
        return SROutput(x.new_zeros(len(x), 3, 64, 64))


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int | None], Seen]:
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))

    def build(kind: str, lr_size: int | None = None) -> Seen:
        register("seen", lambda _, hr_size: Seen(lr_size), kind=kind)  # type: ignore[arg-type]
        network = create("seen", hr_size=64)
        assert isinstance(network, Seen)
        return network

    return build


@pytest.mark.parametrize(("kind", "side"), [("FR", 8), ("FR", 16), ("SASR", None), ("OR", 8)])
def test_scoring_and_restoring_feed_a_network_as_it_is_registered(
    registered: Callable[[str, int | None], Seen], kind: str, side: int | None
) -> None:
    network, lr = registered(kind, side), picture(16)
    expected = torch.from_numpy(np.array(feed_of(network).image(lr, 64)).transpose(2, 0, 1))
    super_resolve(network, np.asarray(lr)[None], 64, 0.25, 4)
    restorer = Restorer(network, 64, "f", torch.device("cpu"))
    others = [picture(24), picture(23, 31)]
    assert [r.image.size for r in restorer.batch([others[0], lr, others[1]])] == [(64, 64)] * 3
    assert torch.equal(network.fed[0][0], expected)
    assert any(torch.equal(face, expected) for fed in network.fed[1:] for face in fed)
    assert len(network.fed) == (4 if kind == "SASR" else 2)  # one forward pass for every input size


def test_a_network_of_fixed_resolution_must_say_which(registered: Callable[[str, int | None], Seen]) -> None:
    with pytest.raises(ValueError, match="lr_size"):
        registered("FR", None)


def test_a_kind_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one of OR, FR, SASR"):
        register("other", lambda *_: nn.Identity(), kind="XR")  # type: ignore[arg-type]
