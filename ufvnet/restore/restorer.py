"""``Restorer``: a trained model over PIL images: face crops of any size, and photos."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from ufvnet.config import ConfigError
from ufvnet.faces.crop import Box
from ufvnet.imaging.decode import MAX_PIXELS
from ufvnet.imaging.resize import rate_of, resize
from ufvnet.models.inference import best_device, forward, ready
from ufvnet.models.srg import to_network, to_pixels
from ufvnet.models.store import identity, read_card

from .folder.job import side
from .output_size import LEAST_SIDE
from .picture import picture_of

BACKENDS = ("torch", "onnx")
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


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
    """Of the model's card and its weights as they lie there: of an ONNX file its sha256."""
    device: torch.device
    self_ensemble: bool = False
    """Give the mean of the output and of the mirrored input's output, mirrored back: twice the time."""
    precision: str = "fp32"
    """Of products; in ``bf16`` a pixel in 50 of ufvnet-lite's is one level off."""

    @classmethod
    def load(
        cls, model: Path | str, device: str = "auto", backend: str = "torch", *, self_ensemble: bool = False,
        precision: str = "fp32",
    ) -> Restorer:  # fmt: skip
        """A model folder, or a model that comes with the package by its name, ready on a device.

        Args:
            model: for ``onnx`` also a file that ``ufvnet models export`` wrote.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
            backend: ``torch``, or ``onnx``: ONNX Runtime, with the same results to 1e-4. A folder is exported
                into the user's cache folder once.
            precision: ``fp32``, or with torch ``bf16`` and ``fp16``, for processors that have instructions for them.

        Raises:
            ConfigError: no model there, no such device, back end or precision, or the model cannot be exported.
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
        """One face crop of any size to hr_size x hr_size RGB."""
        return self.batch([image])[0].image

    @torch.inference_mode()
    def batch(self, images: Sequence[Image.Image]) -> list[Restored]:
        """Face crops of any sizes in one forward pass; of none, an empty list.

        Args:
            images: of any mode, as ``ufvnet restore`` takes them: EXIF orientation is applied, 16 bits are reduced to
                8, alpha is dropped.

        Raises:
            ValueError: one is smaller than LEAST_SIDE.
            FloatingPointError: the network gave NaN or infinity for one of them.
        """
        if not images:
            return []
        rgb = [picture_of(image).colour.convert("RGB") for image in images]
        for image in rgb:
            if max(image.size) < LEAST_SIDE or not min(image.size):
                raise ValueError(f"{image.width}x{image.height}: no face in fewer than {LEAST_SIDE} pixels")
        rates = [rate_of(image, self.hr_size) for image in rgb]
        stacked = np.stack([np.asarray(resize(image, self.hr_size)) for image in rgb])
        ls = to_network(torch.from_numpy(stacked).to(self.device).permute(0, 3, 1, 2))
        by_axis = getattr(self.network, "rate_by_axis", False)
        sides = [[image.height / self.hr_size, image.width / self.hr_size] for image in rgb]
        rate = torch.tensor(sides if by_axis else rates, dtype=torch.float32, device=self.device)
        kind = AUTOCAST.get(self.precision)
        with torch.autocast(self.device.type, kind) if kind else contextlib.nullcontext():
            output = forward(self.network, ls, rate, self.self_ensemble)
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
            boxes: (left, top, right, bottom) of the faces' crops in whole pixels of the upright photo, clipped to it;
                None lets dlib find the faces.
            scale: above 0; the photo is enlarged so many times, by bicubic where there is no restored face.
            max_face: faces whose crop has at least this side are left, as are those below LEAST_SIDE; None takes the
                model's output size.
            min_face: as in RestoreConfig.

        Raises:
            ValueError: the scale is not above 0 or would make a photo of over MAX_PIXELS, or a box is empty, lies
                outside the photo or has fractions.
            FloatingPointError: as ``batch``.
        """
        from ufvnet.faces.crop import crop_box
        from ufvnet.faces.finders import finder
        from ufvnet.faces.paste import paste_restored

        from .face_finder import clipped

        if not 0 < scale < math.inf:
            raise ValueError(f"scale = {scale}: must be a number above 0")
        picture = picture_of(image)
        size = (max(1, round(picture.size[0] * scale)), max(1, round(picture.size[1] * scale)))
        if scale > 1 and size[0] * size[1] > MAX_PIXELS:
            raise ValueError(f"scale = {scale}: the photo would have {size[0]}x{size[1]}, over {MAX_PIXELS:,} pixels")
        if boxes is None:
            found = finder.find_small_faces(picture.colour, min_face)
            boxes = list(dict.fromkeys(crop_box(face.landmarks, *picture.size) for face in found))
        boxes = [clipped(_whole(box), picture.size) for box in boxes]
        limit = min(max_face or self.hr_size, self.hr_size)
        small = [i for i, box in enumerate(boxes) if LEAST_SIDE <= side(box) < limit]
        restored = dict(zip(small, self.batch([picture.colour.crop(boxes[i]) for i in small])))
        pasted = paste_restored(picture.colour, size, [(boxes[i], restored[i].image) for i in small])
        whole = picture.with_colour(pasted).whole()
        whole.info.update(picture.extras)
        return RestoredPhoto(whole, tuple(boxes), tuple(restored.get(i) for i in range(len(boxes))))


def _whole(box: Sequence[float]) -> Box:
    """Raises:
    ValueError: a box is not four whole numbers.
    """
    if len(box) != 4 or not all(float(v).is_integer() for v in box):
        raise ValueError(f"box {tuple(box)}: must be left, top, right, bottom in whole pixels")
    left, top, right, bottom = map(int, box)
    return left, top, right, bottom
