"""The measurements in the curves: PSNR on the first validation faces, KL and MAE of the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ufvnet.imaging.upscale import upscale
from ufvnet.metrics import luma, psnr
from ufvnet.models import WeightRegressor, anchor_weights, to_network, to_pixels
from ufvnet.models.srg import as_output

from .losses import weight_errors
from .samples import FACES, write_samples

if TYPE_CHECKING:
    from .part import Part

SPLIT = "val"


@dataclass(frozen=True)
class Validation:
    """The first faces of the validation split, at every scale of the training.

    ls: k -> (N, 3, H, H) uint8. fed: k -> (N, 3, h, w) uint8, what the network takes. hr: (N, H, H, 3) uint8.
    bicubic: mean PSNR of I_LS, protocol ``y``.
    """

    ls: dict[int, Tensor]
    fed: dict[int, Tensor]
    hr: np.ndarray
    anchors: tuple[int, ...]
    bicubic: float

    @classmethod
    def of(cls, part: Part, faces: int) -> Validation | None:
        """The faces for a part, from its first dataset with a validation split; None if no dataset has one."""
        dataset = next((d for d in part.datasets if d.card["faces"].get(SPLIT)), None)
        if dataset is None:
            return None
        arrays = dataset.select(part.ks, SPLIT).arrays()
        hr = np.stack([arrays.hr[i] for i in range(min(faces, len(arrays)))])
        ls = {
            k: upscale(torch.from_numpy(np.stack([lr[i].transpose(2, 0, 1) for i in range(len(hr))])), dataset.hr_size)
            for k, lr in arrays.lr.items()
        }
        fed = {k: part.feed.batch([lr[i] for i in range(len(hr))], dataset.hr_size) for k, lr in arrays.lr.items()}
        bicubic = np.mean([_psnr(x.permute(0, 2, 3, 1).numpy(), hr) for x in ls.values()])
        return cls(ls, fed, hr, part.anchors, float(bicubic))

    @torch.no_grad()
    def measure(self, network: nn.Module, device: torch.device, samples: Path | None = None) -> dict[str, Any]:
        """Measure psnr (dB, mean over faces and scales), gain over bicubic, and kl and mae of the weights, in float32.

        Args:
            samples: file for a PNG of the first faces, if the network makes images.

        Raises:
            FloatingPointError: a picture holds NaN or infinity, which would count as black.
            TypeError, ValueError: the network's output is no picture of the faces' side.
        """
        network.eval()
        with _own_forward(network):
            values, errors, images, out = self._outputs(network, device)
        network.train()
        if samples is not None and images:
            write_samples(
                samples, {k: x[:FACES].permute(0, 2, 3, 1).numpy() for k, x in self.ls.items()}, images, self.hr
            )
        if values:
            out |= {"psnr": float(np.mean(values)), "gain": float(np.mean(values)) - self.bicubic}
        if errors:
            kl, mae = torch.stack(errors).mean(0).tolist()
            out |= {"kl": kl, "mae": mae}
        return out

    def _outputs(
        self, network: nn.Module, device: torch.device
    ) -> tuple[list[float], list[Tensor], dict[int, np.ndarray], dict[str, Any]]:
        """PSNR and errors of the weights at every scale, (N, H, H, 3) uint8 by scale, and the columns psnr_k."""
        values: list[float] = []
        errors: list[Tensor] = []
        out: dict[str, Any] = {}
        images: dict[int, np.ndarray] = {}
        for k, fed in self.fed.items():
            rate = torch.full((len(fed),), k / 16, device=device)
            x = to_network(fed.to(device)).contiguous(memory_format=torch.channels_last)
            if isinstance(network, WeightRegressor):
                weights = network(x)
            else:
                output = as_output(network(x, rate), *self.hr.shape[:2])
                if bad := int((~output.sr.isfinite().all(-1).all(-1).all(-1)).sum()):
                    raise FloatingPointError(
                        f"the network gave NaN or infinity for {bad} of {len(x)} validation faces at {k}/16"
                    )
                images[k] = to_pixels(output.sr).cpu().permute(0, 2, 3, 1).numpy()
                values.append(_psnr(images[k], self.hr))
                out[f"psnr_{k}"] = values[-1]
                weights = output.weights
            if weights is not None and len(self.anchors) > 1:
                target = anchor_weights(rate, [a / 16 for a in self.anchors])
                errors.append(torch.stack([e.mean() for e in weight_errors(weights, target)]))
        return values, errors, images, out


@contextlib.contextmanager
def _own_forward(network: nn.Module) -> Iterator[None]:
    """Without the cast to the training's precision that accelerate puts around ``forward``: a published model computes
    in float32."""
    cast, own = network.__dict__.get("forward"), network.__dict__.get("_original_forward")
    if cast is None or own is None:
        yield
        return
    network.forward = own
    try:
        yield
    finally:
        network.forward = cast


def _psnr(sr: np.ndarray, hr: np.ndarray) -> float:
    return float(psnr(luma(sr), luma(hr)).mean())
