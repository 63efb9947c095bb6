"""Training batches that are made on the device, byte for byte those of ``batches``.

All HR faces lie on the device. There they are reduced, enlarged and mirrored, which takes most of a processor's time.
A processor draws what is drawn, and makes what only it can: damage (its random numbers and JPEG), faces that are cut
anew, landmarks and masks. With no such thing it has next to nothing to do, and needs no loader processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from ufvnet.data.damage.chain import KINDS
from ufvnet.imaging.device_resize import enlarged, on_device, reduced
from ufvnet.imaging.resize import lr_side

from .batches import Batch, Drawn, TrainingLoader, prepared, reduced_face

SHARE = 0.25
"""Largest share of a GPU's free memory that the HR faces may take."""


class Draft(NamedTuple):
    """What a processor makes of a batch.

    drawn: what is drawn.
    sizes: (B, 2) int64 heights and widths of the LR images.
    amounts: (B, 5) float32, of damage.
    hr: (H, H, 3) uint8 by number in the batch, for faces that are not those of the dataset.
    lr: (h, w, 3) uint8 by number in the batch, for LR images that are not Pillow's bicubic of the HR face.
    parts: landmarks and masks, as fields of ``Batch``.
    """

    drawn: Drawn
    sizes: np.ndarray
    amounts: np.ndarray
    hr: dict[int, np.ndarray]
    lr: dict[int, np.ndarray]
    parts: dict[str, Any]


class Drafts(Dataset):
    """The drafts of a loader's batches, which loader processes can prepare."""

    def __init__(self, loader: TrainingLoader):
        self.loader = loader

    def __getitem__(self, step: int) -> Draft:
        loader = self.loader
        drawn = loader.drawn(step)
        scales = np.array([lr_side(loader.hr_size, k) for k in drawn.ks.tolist()])[:, None]
        sizes = np.where(drawn.sizes > 0, drawn.sizes, scales)
        cut = loader.cut_anew(step, drawn)
        hr, lr = cut, dict[int, np.ndarray]()
        if loader.damage is None:
            amounts = np.zeros((len(drawn.rows), len(KINDS)), dtype=np.float32)
        else:
            faces = [cut.get(n, loader.faces.hr[int(row)]) for n, row in enumerate(drawn.rows)]
            clean = [reduced_face(face, 0, h, w) for face, (h, w) in zip(faces, sizes.tolist())]
            after, small, amounts = loader.damaged(step, drawn, faces, clean)
            lr = {n: new for n, (new, old) in enumerate(zip(small, clean)) if new is not old}
            hr = cut | {n: new for n, (new, old) in enumerate(zip(after, faces)) if new is not old}
        return Draft(drawn, sizes, amounts, hr, lr, loader.parts(drawn.rows, drawn.flips))


class DeviceLoader:
    """The batches of a loader, made on a device.

    Args:
        loader: ``can_make`` must be true for it. The datasets must have the degradation ``pil-bicubic``.
        device: which holds all HR faces.
    """

    def __init__(self, loader: TrainingLoader, device: torch.device):
        self.loader, self.device = loader, device
        self.drafts, self.feed = Drafts(loader), loader.feed
        hr = loader.faces.hr
        self.hr = torch.empty(len(hr), 3, *hr.shape[1:3], dtype=torch.uint8, device=device)
        for row in range(len(hr)):
            self.hr[row] = torch.from_numpy(np.ascontiguousarray(hr[row].transpose(2, 0, 1)))

    def batch(self, draft: Draft) -> Batch:
        """The batch of a draft, its images on the device."""
        drawn, sizes, device, side = draft.drawn, draft.sizes, self.device, self.loader.hr_size
        hr = self.hr[on_device(drawn.rows, device)]
        if draft.hr:
            new = np.stack([face.transpose(2, 0, 1) for face in draft.hr.values()])
            hr[on_device(np.array([*draft.hr]), device)] = on_device(new, device)
        small = reduced(hr, sizes)
        if draft.lr:
            padded = _padded(draft.lr.values(), small.shape[2:])
            small[on_device(np.array([*draft.lr]), device)] = on_device(padded, device)
        if self.feed.kind == "OR":
            fed = enlarged(small, sizes, side)
            fed = fed if self.feed.side is None else reduced(fed, np.full_like(sizes, self.feed.side))
        else:  # of one size
            fed = small
        mirror = on_device(drawn.flips.astype(bool), device)[:, None, None, None]
        fed, hr = (torch.where(mirror, images.flip(-1), images) for images in (fed, hr))
        by_axis = self.loader.by_axis(drawn)
        arrays = by_axis.mean(1), by_axis, drawn.gains, drawn.rows, draft.amounts
        rate, axes, gain, rows, amounts = (on_device(array, device) for array in arrays)
        return Batch(fed, hr, rate, axes, gain[:, :, None, None], rows, amounts, **draft.parts)

    def batches(self, start: int, end: int, workers: int = 0, pin: bool = False) -> Iterable[Batch]:
        """Batches ``start`` to ``end`` - 1, whose drafts ``workers`` processes prepare, or this one if it is 0."""
        drafts: Iterator[Draft] = iter(prepared(self.drafts, start, end, workers, pin))
        return map(self.batch, drafts)


def can_make(loader: TrainingLoader) -> bool:
    """True if a loader's batches can be made on a device: no random points and no edges, which a processor finds in the
    finished images, and LR images that need no resizing but to I_LS."""
    feed, side, needs = loader.feed, loader.hr_size, loader.needs
    sides = [lr_side(side, k) for k in loader.ks.tolist()]
    as_they_are = feed.kind == "OR" or all(s == feed.side for s in sides)
    if feed.kind == "SASR":
        as_they_are = not any(s % feed.multiple for s in sides)
    return as_they_are and not needs.points and not needs.edges


def has_room(loader: TrainingLoader, device: torch.device) -> bool:
    """True if a GPU has room for the HR faces beside a training."""
    free, _ = torch.cuda.mem_get_info(device)
    return int(np.prod(loader.faces.hr.shape)) < SHARE * free


def _padded(images: Iterable[np.ndarray], shape: tuple[int, ...] | torch.Size) -> np.ndarray:
    """(h, w, 3) images at the upper left of (N, 3, *shape), with zeros around."""
    images = list(images)
    out = np.zeros((len(images), 3, *shape), dtype=np.uint8)
    for to, image in zip(out, images):
        to[:, : image.shape[0], : image.shape[1]] = image.transpose(2, 0, 1)
    return out
