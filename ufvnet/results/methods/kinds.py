"""Kinds of methods that run in this process: our networks, files of other people's networks, folders of images."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ufvnet.config import ConfigError, Method
from ufvnet.extras import require
from ufvnet.files import below, printed
from ufvnet.imaging.upscale import upscale
from ufvnet.models.inference import super_resolve
from ufvnet.models.onnx_network import CARD, OnnxNetwork, import_onnxruntime

from .faces import Faces, Images
from .own_process import MethodError

RunFile = Callable[[torch.Tensor], np.ndarray]
"""A network's file as a function: (N, 3, h, w) float32 -> (N, 3, H, H)."""


EIGHT_BITS = ("1", "L", "LA", "P", "RGB", "RGBA")
"""Modes of PNG files whose pixels ``convert("RGB")`` keeps; grey of 16 bits (I;16) would be clipped."""


def restore_with_network(network: torch.nn.Module, method: Method, hr_size: int, faces: Faces) -> Images:
    """Restore faces with a network of this package."""
    return super_resolve(network, faces.lr, hr_size, faces.rate, len(faces.lr), method.self_ensemble)


def read_images(folder: Path, faces: Faces) -> Images:
    """Read the images that another program restored: <folder>/<test set>/<size>/<face id>.png, with a folder per
    damage above the sizes of damaged LR images.

    Raises:
        MethodError: one is missing, damaged, of another size, transparent, or of a mode that Pillow clips.
    """
    side = (faces.hr_size, faces.hr_size)
    images = []
    for face in faces.ids:
        plain = below(folder / faces.dataset / faces.folder, face)
        file = plain.with_name(f"{plain.name}.png")  # as `ufvnet data export` names it
        if not file.is_file():  # opening a pipe would block
            raise MethodError(f"{file} {'is no file' if file.exists() else 'is not there'}")
        try:
            with Image.open(file, formats=("PNG",)) as image:
                if image.size != side:
                    raise MethodError(f"{file} has {image.width}x{image.height} pixels instead of {side[0]}x{side[1]}")
                if image.mode not in EIGHT_BITS:
                    raise MethodError(f"{file} has mode {image.mode} instead of 8 bits a channel")
                if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
                    raise MethodError(f"{file} is transparent")
                images.append(np.asarray(image.convert("RGB")))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow's, for damaged files
            raise MethodError(f"{file} cannot be read ({error})") from error
    return np.stack(images), None


def restore_with_file(method: Method, run: RunFile, faces: Faces) -> Images:
    """Restore faces with a network that somebody else exported: one input, one output.

    Raises:
        MethodError: it gave something that is no batch of images.
    """
    x = torch.from_numpy(np.ascontiguousarray(faces.lr.transpose(0, 3, 1, 2)))
    x = upscale(x, faces.hr_size) if method.input == "ls" else x
    black, white = method.range
    y = run(x.float() / 255 * (white - black) + black)
    if not isinstance(y, np.ndarray) or y.dtype.kind not in "fiu":
        raise MethodError(f"gave {getattr(y, 'dtype', type(y).__name__)} instead of numbers")
    if not np.isfinite(y).all():
        raise MethodError("gave NaN or infinity")
    if y.ndim != 4:
        raise MethodError(f"gave {y.shape} instead of (N, 3, H, H)")
    pixels = ((y - black) / (white - black) * 255).round().clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)), None


@functools.lru_cache(maxsize=2)
def load_file(file: str, _fingerprint: str) -> RunFile | OnnxNetwork:
    """Load an ONNX or TorchScript file on the CPU; one that ``ufvnet models export`` made is loaded as the network.

    Args:
        file: its path.
        _fingerprint: of its content, so that a changed file is loaded anew.

    Raises:
        ConfigError: it cannot be loaded, or ONNX Runtime is not installed.
    """
    is_onnx = file.endswith(".onnx")
    if is_onnx:
        require("onnx", f"models: {printed(file)}", "onnxruntime")
    try:
        return _load_onnx(file) if is_onnx else _load_torchscript(file)
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)  # torch adds its own call stack
        raise ConfigError(f"models: {printed(file)}: cannot be loaded ({printed(reason)})") from error


def _load_onnx(file: str) -> RunFile | OnnxNetwork:
    session = import_onnxruntime().InferenceSession(file, providers=["CPUExecutionProvider"])
    if CARD in session.get_modelmeta().custom_metadata_map:
        return OnnxNetwork(Path(file), "cpu")
    if len(session.get_inputs()) != 1:
        raise ValueError(f"it has {len(session.get_inputs())} inputs; it must have one, (N, 3, h, w) float32")
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x.numpy()})[0]


def _load_torchscript(file: str) -> RunFile:
    script = torch.jit.load(file, map_location="cpu").eval()

    def run(x: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            return script(x).numpy()

    return run
