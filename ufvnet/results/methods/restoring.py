"""The kinds of methods but Python functions: what a network, a file of somebody else's, a folder of images gives."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ufvnet.config import ConfigError, Method
from ufvnet.files import below, printed
from ufvnet.imaging.upscale import upscale
from ufvnet.models.inference import super_resolve
from ufvnet.models.onnx_network import CARD, OnnxNetwork

from .own_process import MethodError


@dataclass(frozen=True)
class Faces:
    """LR images of one size, and what there is to know about them.

    lr: (N, h, w, 3) uint8. rate: r of them. ids: N face ids. dataset: the test set's name in tables. px: their height.
    """

    lr: np.ndarray
    rate: float
    hr_size: int
    ids: Sequence[str]
    dataset: str
    px: int

    def __getitem__(self, which: slice) -> Faces:
        return replace(self, lr=self.lr[which], ids=self.ids[which])


@dataclass(frozen=True)
class Restoration:
    """sr: (N, H, H, 3) uint8, black where the method failed. weights: (N, anchors) or None.

    milliseconds: (N,) a face. reasons: N times "" or why there is no image.
    """

    sr: np.ndarray
    weights: np.ndarray | None
    milliseconds: np.ndarray
    reasons: list[str]


Found = tuple[np.ndarray, np.ndarray | None]
Call = Callable[[Faces], Found]


def failed(faces: Faces, reason: str) -> Restoration:
    """Black images, all for one reason."""
    n = len(faces.lr)
    sr = np.zeros((n, faces.hr_size, faces.hr_size, 3), np.uint8)
    return Restoration(sr, None, np.full(n, np.nan), [reason] * n)


def of_network(network: torch.nn.Module, method: Method, hr_size: int, faces: Faces) -> Found:
    return super_resolve(network, faces.lr, hr_size, faces.rate, len(faces.lr), method.self_ensemble)


def of_images(folder: Path, faces: Faces) -> Found:
    """<folder>/<test set>/<px>/<face id>.png."""
    side = (faces.hr_size, faces.hr_size)
    images = []
    for face in faces.ids:
        plain = below(folder / faces.dataset / str(faces.px), face)
        file = plain.with_name(f"{plain.name}.png")  # as ``data export`` names it
        if not file.is_file():  # a pipe would be waited for
            raise MethodError(f"{file} {'is no file' if file.exists() else 'is not there'}")
        try:
            with Image.open(file, formats=("PNG",)) as image:
                if image.size != side:
                    raise MethodError(f"{file} has {image.width}x{image.height} pixels instead of {side[0]}x{side[1]}")
                images.append(np.asarray(image.convert("RGB")))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what damage makes of Pillow
            raise MethodError(f"{file} cannot be read ({error})") from error
    return np.stack(images), None


def of_file(method: Method, session: Callable[[torch.Tensor], np.ndarray], faces: Faces) -> Found:
    """A network that somebody else exported: one input (N, 3, h, w) float32, one output (N, 3, H, H)."""
    x = torch.from_numpy(np.ascontiguousarray(faces.lr.transpose(0, 3, 1, 2)))
    x = upscale(x, faces.hr_size) if method.input == "ls" else x
    black, white = method.range
    y = session(x.float() / 255 * (white - black) + black)
    if not isinstance(y, np.ndarray) or y.dtype.kind not in "fiu":
        raise MethodError(f"gave {getattr(y, 'dtype', type(y).__name__)} instead of numbers")
    if not np.isfinite(y).all():
        raise MethodError("gave NaN or infinity")
    if y.ndim != 4:
        raise MethodError(f"gave {y.shape} instead of (N, 3, H, H)")
    pixels = ((y - black) / (white - black) * 255).round().clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)), None


@functools.lru_cache(maxsize=2)
def load_file(file: str, _fingerprint: str) -> Callable[[torch.Tensor], np.ndarray] | OnnxNetwork:
    """An ONNX or TorchScript file as a function, on the CPU; of ``ufvnet models export`` as the network it was.

    Raises:
        ConfigError: it cannot be loaded.
    """
    try:
        return _onnx(file) if file.endswith(".onnx") else _torchscript(file)
    except ImportError as error:
        raise ConfigError(f"models: {file} needs onnxruntime: pip install 'ufvnet[onnx]'") from error
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)  # torch adds its own call stack
        raise ConfigError(f"models: {printed(file)}: cannot be loaded ({printed(reason)})") from error


def _onnx(file: str) -> Callable[[torch.Tensor], np.ndarray] | OnnxNetwork:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    if CARD in session.get_modelmeta().custom_metadata_map:
        return OnnxNetwork(Path(file), "cpu")
    if len(session.get_inputs()) != 1:
        raise ValueError(f"it has {len(session.get_inputs())} inputs; it must have one, (N, 3, h, w) float32")
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x.numpy()})[0]


def _torchscript(file: str) -> Callable[[torch.Tensor], np.ndarray]:
    script = torch.jit.load(file, map_location="cpu").eval()

    def run(x: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            return script(x).numpy()

    return run
