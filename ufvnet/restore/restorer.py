"""``Restorer``: a trained model for PIL images, which may be face crops of any size or photos."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from ufvnet.config import DEFAULT_MODEL, ConfigError
from ufvnet.faces.crop import Box
from ufvnet.faces.finders import choose_finder
from ufvnet.faces.paste import paste_restored
from ufvnet.imaging.decode import MAX_PIXELS
from ufvnet.imaging.resize import rate_of
from ufvnet.models.feed import feed_of
from ufvnet.models.inference import best_device, forward, ready
from ufvnet.models.srg import to_network, to_pixels
from ufvnet.models.store import identity, read_card

from .face_crops import LEAST_SIDE, CropRule, clip_box
from .face_finder import search_faces
from .picture import picture_of

BACKENDS = ("torch", "onnx")
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Restored:
    """A restored face.

    Attributes:
        image: H x H RGB.
        rate: r of the face that the model received, its mean side over H.
        weights: of the anchors, which sum to 1; None if the model has no anchors.
        received: the face that the model received, RGB: the crop, or what a larger crop holds.
        effective_size: of a larger crop, in pixels; None if none was estimated.
    """

    image: Image.Image
    rate: float
    weights: tuple[float, ...] | None
    received: Image.Image
    effective_size: float | None = None


@dataclass(frozen=True)
class RestoredPhoto:
    """A photo with its small faces restored.

    Attributes:
        image: the photo, L, LA, RGB or RGBA, with EXIF (without the orientation, which is applied) and ICC profile in
            ``info``.
        boxes: (left, top, right, bottom) of the crops of all faces, in pixels of the upright input.
        faces: for each box the restored face, or None if the face was left as it is.
        effective_sizes: for each box the effective size in pixels, or None if the crop is smaller than the model's
            output.
    """

    image: Image.Image
    boxes: tuple[Box, ...]
    faces: tuple[Restored | None, ...]
    effective_sizes: tuple[float | None, ...]


@dataclass(frozen=True)
class Restorer:
    """Super-resolves faces: crops of any size, alone or in batches, and the faces of photos.

    A loaded restorer may be used by several threads.

    >>> from PIL import Image
    >>> from ufvnet import Restorer
    >>> restorer = Restorer.load()
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
    """Of the model's card, weights and code; the sha256 of an ONNX file."""
    device: torch.device
    self_ensemble: bool = False
    """Return the mean of the output and of the mirrored input's output, mirrored back: takes twice the time."""
    precision: str = "fp32"
    """Of products; in ``bf16``, one pixel in 50 of ufvnet-lite's output is one level off."""

    @classmethod
    def load(
        cls, model: Path | str = DEFAULT_MODEL, device: str = "auto", backend: str = "torch", *,
        self_ensemble: bool = False, precision: str = "fp32",
    ) -> Restorer:  # fmt: skip
        """Load a model onto a device.

        Args:
            model: a model folder, or the name of a model that comes with the package; with ``onnx`` also a file that
                ``ufvnet models export`` wrote.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
            backend: ``torch``, or ``onnx``: ONNX Runtime, whose results agree to 1e-4. A model folder is exported once,
                into the user's cache folder.
            self_ensemble: as the attribute.
            precision: ``fp32``; with torch also ``bf16`` and ``fp16``, for processors that have instructions for them.

        Raises:
            ConfigError: there is no such model, device, back end or precision, or the model cannot be exported.
        """
        if backend not in BACKENDS:
            raise ConfigError(f"backend = {backend}: must be one of {', '.join(BACKENDS)}")
        if precision != "fp32" and (backend == "onnx" or precision not in AUTOCAST):
            raise ConfigError(f"precision = {precision}: must be fp32, or with backend = torch {' or '.join(AUTOCAST)}")
        exported = Path(model).suffix == ".onnx"
        if backend == "onnx":
            from ufvnet.models.export import cached
            from ufvnet.models.onnx_network import OnnxNetwork, provider_of

            provider_of(device)  # before an export that may take a minute
            network = OnnxNetwork(Path(model) if exported else cached(model), device)
            return cls(network, network.hr_size, network.fingerprint, torch.device("cpu"), self_ensemble)
        if exported:
            raise ConfigError(f"model = {model}: is an exported file, which backend = onnx runs, not torch")
        card = read_card(Path(model))
        fingerprint = identity(model)
        module = ready(str(model), fingerprint, card["hr_size"], device)
        return cls(module, card["hr_size"], fingerprint, best_device(device), self_ensemble, precision)

    def __call__(self, image: Image.Image) -> Image.Image:
        """Restore one face crop of any size to hr_size x hr_size RGB."""
        return self.batch([image])[0].image

    @torch.inference_mode()
    def batch(self, images: Sequence[Image.Image]) -> list[Restored]:
        """Restore face crops of any sizes; an empty list for no crops. Those of one input size share a forward pass.

        A crop whose shorter side is at least hr_size is reduced to its effective size first, if that is small.

        Args:
            images: of any mode, treated as ``ufvnet restore`` treats them: EXIF orientation is applied, 16 bits are
                reduced to 8, alpha is dropped. A colour profile stays in the restored image's ``info``, so that
                ``save`` writes it; one for grey does not fit and is dropped.

        Raises:
            TypeError: an image is no PIL image.
            ValueError: an image's longer side is under LEAST_SIDE.
            FloatingPointError: the network returned NaN or infinity for an image.
        """
        if not images:
            return []
        pictures = [picture_of(image) for image in images]
        rgb = [picture.colour.convert("RGB") for picture in pictures]
        for image in rgb:
            if max(image.size) < LEAST_SIDE or not min(image.size):
                raise ValueError(f"{image.width}x{image.height}: its longer side may not be under {LEAST_SIDE} pixels")
        choice = CropRule(self.hr_size).choose(rgb, [min(image.size) for image in rgb])
        rgb = [choice.chosen[i].pixels if i in choice.chosen else image for i, image in enumerate(rgb)]
        rates = [rate_of(image, self.hr_size) for image in rgb]
        feed = feed_of(self.network)
        fed = [feed.image(image, self.hr_size) for image in rgb]
        by_axis = getattr(self.network, "rate_by_axis", False)
        sides = [[image.height / self.hr_size, image.width / self.hr_size] for image in rgb]
        rate = torch.tensor(sides if by_axis else rates, dtype=torch.float32)
        restored: dict[int, Restored] = {}
        for size in dict.fromkeys(image.size for image in fed):
            rows = [i for i, image in enumerate(fed) if image.size == size]
            made = self._forward([fed[i] for i in rows], rate[rows])
            for i, (image, weights) in zip(rows, made):
                if "icc_profile" in pictures[i].extras and pictures[i].colour.mode == "RGB":
                    image.info["icc_profile"] = pictures[i].extras["icc_profile"]
                restored[i] = Restored(image, rates[i], weights, rgb[i], choice.effective.get(i))
        return [restored[i] for i in range(len(rgb))]

    def _forward(
        self, fed: list[Image.Image], rate: torch.Tensor
    ) -> list[tuple[Image.Image, tuple[float, ...] | None]]:
        """Restored faces and their anchors' weights from inputs of one size, in one forward pass."""
        stacked = torch.from_numpy(np.stack([np.asarray(image) for image in fed]))
        images = to_network(stacked.to(self.device).permute(0, 3, 1, 2))
        kind = AUTOCAST.get(self.precision)
        with torch.autocast(self.device.type, kind) if kind else contextlib.nullcontext():
            output = forward(self.network, images, rate.to(self.device), self.self_ensemble)
        pixels = to_pixels(output.sr).permute(0, 2, 3, 1).cpu().numpy()
        weights = [None] * len(fed) if output.weights is None else [tuple(w) for w in output.weights.tolist()]
        return [(Image.fromarray(p), w) for p, w in zip(pixels, weights)]

    def photo(
        self,
        image: Image.Image,
        boxes: Sequence[Box] | None = None,
        *,
        scale: float = 1.0,
        max_face: int | None = None,
        min_face: int | None = None,
        finder: str = "auto",
        effective_size: bool = True,
    ) -> RestoredPhoto:
        """Restore the small faces of a photo and paste them back; everything outside their boxes stays, or is scaled.

        Args:
            image: of any mode and size; EXIF orientation is applied.
            boxes: (left, top, right, bottom) of the faces' crops in whole pixels of the upright photo, clipped to it;
                None searches for faces.
            scale: above 0; the photo is enlarged so many times, by bicubic where there is no restored face.
            max_face, min_face, finder, effective_size: as in RestoreConfig.

        Raises:
            TypeError: the image is no PIL image.
            ValueError: the scale is not above 0 or would make a photo of over MAX_PIXELS, or a box is empty, lies
                outside the photo or has fractions.
            ConfigError: the finder cannot be used here.
            FloatingPointError: as ``batch``.
        """
        if not 0 < scale < math.inf:
            raise ValueError(f"scale = {scale}: must be a number above 0")
        picture = picture_of(image)
        size = (max(1, round(picture.size[0] * scale)), max(1, round(picture.size[1] * scale)))
        if scale > 1 and size[0] * size[1] > MAX_PIXELS:
            raise ValueError(f"scale = {scale}: the photo would have {size[0]}x{size[1]}, over {MAX_PIXELS:,} pixels")
        if boxes is None:
            boxes = search_faces(picture.colour, choose_finder(finder), min_face)
        boxes = [clip_box(_checked_box(box), picture.size) for box in boxes]
        rule = CropRule(self.hr_size, max_face, effective_size)
        choice = rule.choose([picture.colour.crop(box) for box in boxes])
        results = self.batch([crop.pixels for crop in choice.chosen.values()])
        restored = {
            i: replace(result, effective_size=choice.effective.get(i)) for i, result in zip(choice.chosen, results)
        }
        faces = [(boxes[i], result.image, result.received) for i, result in restored.items()]
        pasted = paste_restored(picture.colour, size, faces, picture.scaled_colour(size))
        whole = picture.with_colour(pasted).whole()
        whole.info.update(picture.extras)
        numbers = range(len(boxes))
        return RestoredPhoto(
            whole, tuple(boxes), tuple(map(restored.get, numbers)), tuple(map(choice.effective.get, numbers))
        )


def _checked_box(box: Sequence[float]) -> Box:
    """A box of whole numbers as integers.

    Raises:
        ValueError: it is not four whole numbers.
    """
    if len(box) != 4 or not all(float(v).is_integer() for v in box):
        raise ValueError(f"box {tuple(box)}: must be left, top, right, bottom in whole pixels")
    left, top, right, bottom = map(int, box)
    return left, top, right, bottom
