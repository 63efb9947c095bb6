"""Methods: whatever maps LR images to SR images, as rows of the tables."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image

from ufvnet.config import ConfigError, EvaluateConfig, Method, fingerprint, load
from ufvnet.data.bicubic import resize, upscale
from ufvnet.files import sha256
from ufvnet.imaging.formats import formats
from ufvnet.models.inference import BICUBIC, ready, super_resolve
from ufvnet.models.onnx_network import CARD, OnnxNetwork
from ufvnet.models.store import read_card

TORCHSCRIPT = (".pt", ".ts", ".torchscript")
CALLABLE_VERSION = 1
OTHER_KINDS = "; else FILE.onnx, FILE.pt, module:function, file.py:function, or a mapping (README, Methods)"
FAILURES = (Exception, SystemExit)
"""What a method may do without ending more than itself; Ctrl-C is not its own."""


@dataclass(frozen=True)
class Row:
    """A row of the tables: a method as it was trained.

    name: the table row's name. trained_on: view, or "" where that means nothing.
    ref: ``bicubic``, the model's folder, or what else the method was read from.
    label: tells it from others of its name, e.g. ``ufvnet (MR8)``.
    """

    name: str
    ref: str
    trained_on: str
    preset: str
    fingerprint: str
    method: Method

    @property
    def label(self) -> str:
        return f"{self.name} ({self.trained_on})" if self.trained_on else self.name

    def about(self) -> dict[str, Any]:
        """What is known of it: the model's card, or the entry of the configuration."""
        if self.method.model and self.ref != BICUBIC:
            return read_card(Path(self.ref))
        return self.method.model_dump(mode="json", exclude_defaults=True) | {"fingerprint": self.fingerprint}


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


class MethodError(Exception):
    """A method gave something that is no SR image; the message says what."""


def rows_of(config: EvaluateConfig) -> list[Row]:
    """The methods of an evaluation; with ``missing: skip`` those that are there.

    Raises:
        ConfigError: a method is not there, or two have one label.
    """
    found = list(_found(config))
    for entry, one in zip(config.models, found):
        if isinstance(one, ConfigError) and config.missing == "error":
            short = isinstance(entry, str) and as_method(entry).model is not None
            raise ConfigError(f"{one}{OTHER_KINDS if short else ''}") from one
    rows = [one for one in found if isinstance(one, Row)]
    labels = [r.label for r in rows]
    for label in labels:
        if labels.count(label) > 1:
            raise ConfigError(f"models: {label} stands there twice; give one another name")
    return rows


def check_methods(config: EvaluateConfig, made_first: Iterable[Path]) -> None:
    """As ``rows_of``, before models in some of the folders are trained.

    Raises:
        ConfigError: a method is not there, or two have one label.
    """
    later = {folder.resolve() for folder in made_first}
    models = [(entry, as_method(entry).model) for entry in config.models]
    there = tuple(entry for entry, model in models if model is None or model.resolve() not in later)
    rows_of(config.model_copy(update={"models": there}))


def missing_of(config: EvaluateConfig) -> list[str]:
    """Why entries of ``models`` are left out, a line each."""
    return [str(one) for one in _found(config) if isinstance(one, ConfigError)] if config.missing == "skip" else []


def _found(config: EvaluateConfig) -> Iterator[Row | ConfigError]:
    for entry in config.models:
        try:
            yield _row(as_method(entry))
        except ConfigError as error:
            yield error


def as_method(entry: str | Method) -> Method:
    """A string as the method that it is short for.

    Raises:
        ConfigError: it is short for none.
    """
    if isinstance(entry, Method):
        return entry
    if entry.endswith(".onnx"):
        return load(Method, {"name": Path(entry).stem, "onnx": entry})
    if entry.endswith(TORCHSCRIPT):
        return load(Method, {"name": Path(entry).stem, "torchscript": entry})
    if ":" in entry:
        return load(Method, {"name": entry.rpartition(":")[2], "python": entry})
    return Method(model=Path(entry))


def _row(method: Method) -> Row:
    """
    Raises:
        ConfigError: what the method is read from is not there.
    """
    if method.model == Path(BICUBIC):
        return Row(method.name or BICUBIC, BICUBIC, "", "", _print(method, BICUBIC), method)
    if method.model:
        card = read_card(method.model)
        view = method.trained_on or card["trained_on"]["view"]
        name = method.name or card["model"] + ("+flip" if method.self_ensemble else "")
        return Row(name, str(method.model), view, card["preset"], _print(method, card["fingerprint"]), method)
    source = method.onnx or method.torchscript or method.images
    if source is not None:
        if not source.exists():
            raise ConfigError(f"models: {method.name}: {source} is not there")
        print_ = _print(method, sha256(source) if source.is_file() else _folder_digest(source))
        if not method.images:
            _session(str(source), print_)  # what cannot be loaded is refused here
        return Row(method.name, str(source), method.trained_on, "", print_, method)
    assert method.python
    files = sorted({file.resolve() for file in _files(method.python) if file.is_file()})
    digests = [sha256(file) for file in files]
    digest = digests[0] if len(digests) == 1 else fingerprint(digests)
    return Row(method.name, method.python, method.trained_on, "", _print(method, digest), method)


def _files(name: str) -> Iterator[Path]:
    """The files whose change makes a Python method another: where it is named, and where its code is.

    What they import is not among them.
    """
    where, found = name.rpartition(":")[0], inspect.unwrap(_function(name))
    named = where if where.endswith(".py") else getattr(sys.modules[where], "__file__", None)
    if named:
        yield Path(named)
    while isinstance(found, functools.partial):
        found = inspect.unwrap(found.func)
    for of in (found, type(found)):  # a function, or an object that can be called
        with contextlib.suppress(TypeError):
            yield Path(inspect.getfile(of))
            return


def _print(method: Method, digest: str | None) -> str:
    changing = method.model_dump(mode="json", include={"input", "range", "input_px", "self_ensemble"})
    return fingerprint(CALLABLE_VERSION, digest, changing)


def _folder_digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*.png") if p.is_file()):
        whole.update(f"{file.relative_to(folder)} {sha256(file)}\n".encode())
    return whole.hexdigest()


def failed(faces: Faces, reason: str) -> Restoration:
    """Black images, all for one reason."""
    n = len(faces.lr)
    sr = np.zeros((n, faces.hr_size, faces.hr_size, 3), np.uint8)
    return Restoration(sr, None, np.full(n, np.nan), [reason] * n)


def restore(row: Row, faces: Faces, batch_size: int, device: str) -> Restoration:
    """Super-resolve faces; where a batch fails, each of its faces is tried alone, so that others are untouched."""
    call = _opened(row, faces.hr_size, device)
    n = len(faces.lr)
    done = failed(faces, "")
    weights: dict[int, np.ndarray] = {}

    def attempt(part: slice) -> None:
        started = time.perf_counter()
        given = replace(faces[part], lr=faces.lr[part].copy())  # a method may work in place and fail
        sr, found = _checked(call(_fixed(row, given)), faces[part])
        done.milliseconds[part] = (time.perf_counter() - started) * 1000 / len(sr)
        done.sr[part] = sr
        if found is not None:
            weights.update(zip(range(part.start, part.stop), found))

    for start in range(0, n, batch_size):
        part = slice(start, min(n, start + batch_size))
        try:
            attempt(part)
        except FAILURES:
            for i in range(part.start, part.stop):
                try:
                    attempt(slice(i, i + 1))
                except FAILURES as error:
                    known = isinstance(error, MethodError)
                    done.reasons[i] = str(error) if known else f"{type(error).__name__}: {error}"
    if not weights:
        return done
    none = np.full_like(next(iter(weights.values())), np.nan)
    return replace(done, weights=np.stack([weights.get(i, none) for i in range(n)]))


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
    method = row.method
    if method.model:
        return functools.partial(_network, row, hr_size, device)
    if method.images:
        return functools.partial(_image_files, method.images)
    if method.python:
        function = _loaded(method.python, row.fingerprint)
        return lambda faces: (function(faces.lr, faces.hr_size), None)
    found = _session(str(method.onnx or method.torchscript), row.fingerprint)
    if isinstance(found, torch.nn.Module):  # our own export, which has a rate and weights
        return lambda faces: super_resolve(found, faces.lr, hr_size, faces.rate, len(faces.lr))
    return functools.partial(_file, method, found)


def _network(row: Row, hr_size: int, device: str, faces: Faces) -> Found:
    network = ready(row.ref, row.fingerprint, hr_size, device)
    return super_resolve(network, faces.lr, hr_size, faces.rate, len(faces.lr), row.method.self_ensemble)


def _image_files(folder: Path, faces: Faces) -> Found:
    """<folder>/<test set>/<px>/<face id>.png."""
    images = []
    for face in faces.ids:
        file = folder / faces.dataset / str(faces.px) / f"{face}.png"
        try:
            with Image.open(file, formats=formats()) as image:
                images.append(np.asarray(image.convert("RGB")))
        except OSError as error:
            reason = "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
            raise MethodError(f"{file} {reason}") from error
    if len({image.shape for image in images}) > 1:
        raise MethodError("images of several sizes")
    return np.stack(images), None


def _function(name: str) -> Callable[[np.ndarray, int], np.ndarray]:
    """``module:function`` or ``path/to/file.py:function``.

    Raises:
        ConfigError: there is no such thing, or it cannot be called.
    """
    where, _, function = name.rpartition(":")
    try:
        module = _module(Path(where)) if where.endswith(".py") else importlib.import_module(where)
        found = getattr(module, function)
    except FAILURES as error:  # whatever the user's file does when it is imported
        raise ConfigError(f"models: {name}: cannot be imported ({type(error).__name__}: {error})") from error
    if not callable(found):
        raise ConfigError(f"models: {name}: is {type(found).__name__}; it must be a function")
    return found


def _module(file: Path) -> ModuleType:
    """A file as a module of a name that no other has; its folder comes last on the path, where it hides nothing."""
    file = file.resolve()
    name = f"ufvnet_method_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec
    assert spec.loader
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@functools.lru_cache(maxsize=4)
def _loaded(name: str, _fingerprint: str) -> Callable[[np.ndarray, int], np.ndarray]:
    return _function(name)


def _file(method: Method, session: Callable[[torch.Tensor], np.ndarray], faces: Faces) -> Found:
    """A network that somebody else exported: one input (N, 3, h, w) float32, one output (N, 3, H, H)."""
    x = torch.from_numpy(np.ascontiguousarray(faces.lr.transpose(0, 3, 1, 2)))
    x = upscale(x, faces.hr_size) if method.input == "ls" else x
    black, white = method.range
    y = session(x.float() / 255 * (white - black) + black)
    if not np.isfinite(y).all():
        raise MethodError("gave NaN or infinity")
    if y.ndim != 4:
        raise MethodError(f"gave {y.shape} instead of (N, 3, H, H)")
    pixels = ((y - black) / (white - black) * 255).round().clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)), None


@functools.lru_cache(maxsize=2)
def _session(file: str, _fingerprint: str) -> Callable[[torch.Tensor], np.ndarray] | OnnxNetwork:
    """An ONNX or TorchScript file as a function, on the CPU; of ``ufvnet models export`` as the network it was.

    Raises:
        ConfigError: it cannot be loaded.
    """
    try:
        if file.endswith(".onnx"):
            import onnxruntime

            session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
            if CARD in session.get_modelmeta().custom_metadata_map:
                return OnnxNetwork(Path(file), "cpu")
            name = session.get_inputs()[0].name
            return lambda x: session.run(None, {name: x.numpy()})[0]
        script = torch.jit.load(file, map_location="cpu").eval()
    except ImportError as error:
        raise ConfigError(f"models: {file} needs onnxruntime: pip install 'ufvnet[onnx]'") from error
    except Exception as error:
        raise ConfigError(f"models: {file}: cannot be loaded ({error})") from error

    def run(x: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            return script(x).numpy()

    return run
