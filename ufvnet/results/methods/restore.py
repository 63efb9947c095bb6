"""Faces through a method: in batches, face by face where a batch fails, and without a trace in this process."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from ufvnet.files import printed
from ufvnet.imaging.resize import resize
from ufvnet.models.inference import best_device, ready

from .faces import Faces, Images, Restoration, RestoreFaces, failed_restoration
from .kinds import load_file, read_images, restore_with_file, restore_with_network
from .method_process import FAILURES
from .own_process import DISK_FULL, MethodDied, MethodError, open_method
from .process_state import process_state_kept
from .resolve import ResolvedMethod


def restore(method: ResolvedMethod, faces: Faces, batch_size: int, device: str) -> Restoration:
    """Super-resolve faces; where a batch fails, each of its faces is tried alone, so that others are untouched.

    Raises:
        ConfigError: the method cannot be loaded here.
        MethodDied: the method ended the process that it runs in.
        OSError: the disk is full; no face is to blame.
    """
    with process_state_kept():  # loading a network may run the user's code
        run = _load(method, faces.hr_size, device)
    n = len(faces.lr)
    restoration = failed_restoration(faces, "")
    weights: dict[int, np.ndarray] = {}

    def attempt(part: slice) -> None:
        batch = replace(faces[part], lr=faces.lr[part].copy())  # a method may work in place and fail
        with process_state_kept():
            started = time.perf_counter()
            sr, batch_weights = _checked(run(_at_fixed_size(method, batch)), faces[part])
            restoration.milliseconds[part] = (time.perf_counter() - started) * 1000 / len(sr)
        restoration.sr[part] = sr
        if batch_weights is not None:
            weights.update(zip(range(part.start, part.stop), batch_weights))

    for start in range(0, n, batch_size):
        part = slice(start, min(n, start + batch_size))
        if _failure(attempt, part):
            for i in range(part.start, part.stop):
                restoration.reasons[i] = _failure(attempt, slice(i, i + 1))
    if not weights:
        return restoration
    none = np.full_like(next(iter(weights.values())), np.nan)
    return replace(restoration, weights=np.stack([weights.get(i, none) for i in range(n)]))


def _failure(attempt: Callable[[slice], None], part: slice) -> str:
    """Why a method failed on a part of the faces, "" where it did not."""
    try:
        attempt(part)
    except MethodDied:
        raise
    except FAILURES as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        return printed(error if isinstance(error, MethodError) else f"{type(error).__name__}: {error}")
    return ""


def _at_fixed_size(method: ResolvedMethod, faces: Faces) -> Faces:
    """For a fixed-resolution method, the LR images resized to its size (the paper's FR rows)."""
    side = method.settings.input_px
    if side is None or faces.lr.shape[1:3] == (side, side):
        return faces
    lr = np.stack([np.asarray(resize(Image.fromarray(image), side)) for image in faces.lr])
    return replace(faces, lr=lr, rate=side / faces.hr_size)


def _checked(images: Images, faces: Faces) -> Images:
    sr = images[0]
    expected = (len(faces.lr), faces.hr_size, faces.hr_size, 3)
    if not isinstance(sr, np.ndarray) or sr.shape != expected:
        raise MethodError(f"gave {getattr(sr, 'shape', type(sr).__name__)} instead of {expected}")
    if sr.dtype != np.uint8:
        raise MethodError(f"gave {sr.dtype} instead of uint8")
    return images


def device_of(method: ResolvedMethod, device: str) -> str:
    """The device that a method runs on here, e.g. ``cuda``; "" for one that chooses it itself, or does not run."""
    if method.settings.python or method.settings.images:
        return ""
    return best_device(device).type if method.settings.model else "cpu"


def _load(method: ResolvedMethod, hr_size: int, device: str) -> RestoreFaces:
    """
    Raises:
        ConfigError: the method cannot be loaded here, which is no fault of a face.
    """
    settings = method.settings
    if settings.model:
        network = ready(method.ref, method.fingerprint, hr_size, device)
        return functools.partial(restore_with_network, network, settings, hr_size)
    if settings.images:
        return functools.partial(read_images, settings.images)
    if settings.python:
        function = open_method(settings.python)
        return lambda faces: (function(faces.lr, faces.hr_size), None)
    file = load_file(str(settings.onnx or settings.torchscript), method.fingerprint)
    if isinstance(file, torch.nn.Module):  # exported by this package: it takes a rate and gives weights
        return functools.partial(restore_with_network, file, settings, hr_size)
    return functools.partial(restore_with_file, settings, file)
