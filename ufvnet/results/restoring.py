"""What a method makes of LR images: networks, files of others, Python functions and folders of images alike."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from ufvnet.config import ConfigError, Method
from ufvnet.data.bicubic import resize, upscale
from ufvnet.files import below, printed
from ufvnet.models.inference import ready, super_resolve
from ufvnet.models.onnx_network import CARD, OnnxNetwork

from . import own_process
from .method_process import FAILURES
from .own_process import DISK_FULL, MethodDied, MethodError
from .process_state import process_state_kept

if TYPE_CHECKING:
    from .methods import Row


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


def restore(row: Row, faces: Faces, batch_size: int, device: str) -> Restoration:
    """Super-resolve faces; where a batch fails, each of its faces is tried alone, so that others are untouched.

    Raises:
        ConfigError: the method cannot be loaded here.
        MethodDied: it ended the process that it runs in.
        OSError: the disk is full; no face is to blame.
    """
    with process_state_kept():  # a network of the user's is made here
        call = _opened(row, faces.hr_size, device)
    n = len(faces.lr)
    done = failed(faces, "")
    weights: dict[int, np.ndarray] = {}

    def attempt(part: slice) -> None:
        given = replace(faces[part], lr=faces.lr[part].copy())  # a method may work in place and fail
        with process_state_kept():
            started = time.perf_counter()
            sr, found = _checked(call(_fixed(row, given)), faces[part])
            done.milliseconds[part] = (time.perf_counter() - started) * 1000 / len(sr)
        done.sr[part] = sr
        if found is not None:
            weights.update(zip(range(part.start, part.stop), found))

    for start in range(0, n, batch_size):
        part = slice(start, min(n, start + batch_size))
        if _reason(attempt, part):
            for i in range(part.start, part.stop):
                done.reasons[i] = _reason(attempt, slice(i, i + 1))
    if not weights:
        return done
    none = np.full_like(next(iter(weights.values())), np.nan)
    return replace(done, weights=np.stack([weights.get(i, none) for i in range(n)]))


def _reason(attempt: Callable[[slice], None], part: slice) -> str:
    """Why a method failed on a part, "" where it did not."""
    try:
        attempt(part)
    except MethodDied:
        raise
    except FAILURES as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        return printed(error if isinstance(error, MethodError) else f"{type(error).__name__}: {error}")
    return ""


def _fixed(row: Row, faces: Faces) -> Faces:
    """For a fixed-resolution method, the LR images resized to its size (the paper's FR rows)."""
    side = row.method.input_px
    if side is None or faces.lr.shape[1:3] == (side, side):
        return faces
    lr = np.stack([np.asarray(resize(Image.fromarray(image), side)) for image in faces.lr])
    return replace(faces, lr=lr, rate=side / faces.hr_size)


def _checked(found: Found, faces: Faces) -> Found:
    sr = found[0]
    expected = (len(faces.lr), faces.hr_size, faces.hr_size, 3)
    if not isinstance(sr, np.ndarray) or sr.shape != expected:
        raise MethodError(f"gave {getattr(sr, 'shape', type(sr).__name__)} instead of {expected}")
    if sr.dtype != np.uint8:
        raise MethodError(f"gave {sr.dtype} instead of uint8")
    return found


def _opened(row: Row, hr_size: int, device: str) -> Call:
    """
    Raises:
        ConfigError: what cannot be loaded here, which is no fault of a face.
    """
    method = row.method
    if method.model:
        return functools.partial(_network, ready(row.ref, row.fingerprint, hr_size, device), method, hr_size)
    if method.images:
        return functools.partial(_image_files, method.images)
    if method.python:
        function = own_process.opened(method.python)
        return lambda faces: (function(faces.lr, faces.hr_size), None)
    found = load_file(str(method.onnx or method.torchscript), row.fingerprint)
    if isinstance(found, torch.nn.Module):  # our own export, which has a rate and weights
        return functools.partial(_network, found, method, hr_size)
    return functools.partial(_file, method, found)


def _network(network: torch.nn.Module, method: Method, hr_size: int, faces: Faces) -> Found:
    return super_resolve(network, faces.lr, hr_size, faces.rate, len(faces.lr), method.self_ensemble)


def _image_files(folder: Path, faces: Faces) -> Found:
    """<folder>/<test set>/<px>/<face id>.png."""
    side = (faces.hr_size, faces.hr_size)
    images = []
    for face in faces.ids:
        file = below(folder / faces.dataset / str(faces.px), f"{face}.png")
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


def _file(method: Method, session: Callable[[torch.Tensor], np.ndarray], faces: Faces) -> Found:
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
