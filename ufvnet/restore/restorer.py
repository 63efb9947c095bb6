"""``Restorer``: a trained model over PIL images: face crops of any size, and photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from ufvnet.data.bicubic import rate_of, resize
from ufvnet.faces.crop import Box
from ufvnet.models.inference import best_device, ready
from ufvnet.models.srg import to_network, to_pixels
from ufvnet.models.store import read_card


@dataclass(frozen=True)
class Restored:
    """A restored face: image (H x H RGB), rate r of the input, weights of the anchors or None."""

    image: Image.Image
    rate: float
    weights: tuple[float, ...] | None


@dataclass(frozen=True)
class RestoredPhoto:
    """A photo with its small faces restored.

    image: the photo, L, LA, RGB or RGBA, with EXIF (but the orientation, which is applied) and ICC profile in ``info``.
    boxes: (left, top, right, bottom) in pixels of the upright input of the crops of all faces found.
    faces: for each box the restored face, or None where it was left as it is.
    """

    image: Image.Image
    boxes: tuple[Box, ...]
    faces: tuple[Restored | None, ...]


@dataclass(frozen=True)
class Restorer:
    """Super-resolves faces: crops of any size, alone or in batches, and the faces of photos.

    A loaded restorer may be used by several threads.

    >>> from PIL import Image
    >>> from ufvnet import Restorer
    >>> restorer = Restorer.load("ufvnet-lite")
    >>> crop = Image.new("RGB", (24, 24), "tan")  # a face crop of any size; Image.open("small-face.png")
    >>> restorer(crop).size
    (128, 128)
    >>> [(round(r.rate, 2), r.image.size) for r in restorer.batch([crop, crop.resize((60, 64))])]
    [(0.19, (128, 128)), (0.48, (128, 128))]
    >>> photo = Image.new("RGB", (320, 240), "white")  # Image.open("group.jpg")
    >>> restorer.photo(photo, scale=2).image.size
    (640, 480)
    """

    network: nn.Module
    hr_size: int
    fingerprint: str
    device: torch.device

    @classmethod
    def load(cls, model: Path | str, device: str = "auto") -> Restorer:
        """A model folder, or a model that comes with the package by its name, ready on a device.

        Raises:
            ConfigError: no model there, or no such device.
        """
        card = read_card(Path(model))
        network = ready(str(model), card["fingerprint"], card["hr_size"], device)
        return cls(network, card["hr_size"], card["fingerprint"], best_device(device))

    def __call__(self, image: Image.Image) -> Image.Image:
        """One face crop of any size to hr_size x hr_size RGB."""
        return self.batch([image])[0].image

    @torch.inference_mode()
    def batch(self, images: Sequence[Image.Image]) -> list[Restored]:
        """Face crops of any sizes in one forward pass."""
        rgb = [image.convert("RGB") for image in images]
        rates = [rate_of(image, self.hr_size) for image in rgb]
        stacked = np.stack([np.asarray(resize(image, self.hr_size)) for image in rgb])
        ls = to_network(torch.from_numpy(stacked).to(self.device).permute(0, 3, 1, 2))
        rate = torch.tensor(rates, dtype=torch.float32, device=self.device)
        if getattr(self.network, "rate_by_axis", False):
            sides = [[image.height / self.hr_size, image.width / self.hr_size] for image in rgb]
            rate = torch.tensor(sides, dtype=torch.float32, device=self.device)
        output = self.network(ls.contiguous(memory_format=torch.channels_last), rate)
        pixels = to_pixels(output.sr).permute(0, 2, 3, 1).cpu().numpy()
        weights = [None] * len(rgb) if output.weights is None else [tuple(w) for w in output.weights.tolist()]
        return [Restored(Image.fromarray(p), r, w) for p, r, w in zip(pixels, rates, weights)]

    def photo(
        self,
        image: Image.Image,
        boxes: Sequence[Box] | None = None,
        *,
        scale: float = 1.0,
        max_face: int | None = None,
        min_face: int | None = None,
    ) -> RestoredPhoto:
        """A photo with its small faces restored and pasted back; outside their boxes it is as it was, or scaled.

        Args:
            image: of any mode and size; EXIF orientation is applied.
            boxes: (left, top, right, bottom) of the faces' crops in whole pixels; None lets dlib find the faces.
            scale: the photo is enlarged so many times, by bicubic where there is no restored face.
            max_face: faces whose crop has at least this side are left; None takes the model's output size.
            min_face: as in RestoreConfig.
        """
        from ufvnet.faces.crop import crop_box
        from ufvnet.faces.detect import find_small_faces

        from .paste import paste_restored
        from .pictures import picture_of

        picture = picture_of(image)
        if boxes is None:
            found = find_small_faces(picture.colour, min_face)
            boxes = list(dict.fromkeys(crop_box(face.landmarks, *picture.size) for face in found))
        limit = min(max_face or self.hr_size, self.hr_size)
        small = [i for i, (left, top, right, bottom) in enumerate(boxes) if max(right - left, bottom - top) < limit]
        restored = dict(zip(small, self.batch([picture.colour.crop(boxes[i]) for i in small]) if small else ()))
        size = (round(picture.size[0] * scale), round(picture.size[1] * scale))
        pasted = paste_restored(picture.colour, size, [(boxes[i], restored[i].image) for i in small])
        whole = picture.with_colour(pasted).whole()
        whole.info.update(picture.extras)
        return RestoredPhoto(whole, tuple(boxes), tuple(restored.get(i) for i in range(len(boxes))))
