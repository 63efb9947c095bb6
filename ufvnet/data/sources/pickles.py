"""Pickles of plain data and arrays of numbers, read without importing or calling anything that they name."""

from __future__ import annotations

import gc
import pickle
from typing import Any

import numpy as np

from ufvnet.remote import AnyPath

PICKLES = (".pkl", ".pickle")
NUMBERS = frozenset(kind + size for kind in "iu" for size in "1248") | {"f2", "f4", "f8"}


def load_plain(path: AnyPath) -> dict[str, Any]:
    """The dictionary by name that a .pkl or .pickle file holds; arrays in it are ``Array``.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no pickle, or no dictionary by name.
        pickle.UnpicklingError: it asks for anything but plain data and arrays of numbers.
    """
    if not path.is_file() or path.suffix.lower() not in PICKLES:
        raise ValueError("must be an existing .pkl or .pickle file")
    collecting = gc.isenabled()
    gc.disable()  # CelebA's pickle is 11 million lists; searching them for cycles again and again takes 10 of 15 s
    try:
        with path.open("rb") as file:
            content = _Unpickler(file, encoding="latin1").load()  # which arrays from Python 2 need
    except (OSError, pickle.UnpicklingError):
        raise
    except Exception as error:  # broken pickles raise nearly anything
        raise ValueError(f"not a pickle of landmarks ({type(error).__name__}: {error})") from error
    finally:
        if collecting:
            gc.enable()
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ValueError("must hold a dictionary by file name")
    return content


class _StandIn:
    """What a pickle gets when it asks for a global of numpy.

    numpy's own would be unsafe: ``ndarray((1,), object, b"8 bytes")`` makes an object of any address. Every stand-in
    has a ``__setstate__``, so that a pickle cannot set attributes of the class itself.
    """

    def __init__(self, *args: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError(f"a state for {type(self).__name__}")


class _Dtype(_StandIn):
    """numpy.dtype(code, align, copy), for numbers only; its state says the byte order."""

    dtype = np.dtype(np.void)

    def __init__(self, code: str, *args: Any):
        if code not in NUMBERS:
            raise pickle.UnpicklingError(f"must hold plain numbers, not the numpy type {code!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class Array(_StandIn):
    """numpy.ndarray, and _reconstruct(ndarray, shape, code); its state fills it."""

    values = np.empty(0)

    def __setstate__(self, state: Any) -> None:
        shape, dtype, by_columns, raw = state[-4:]
        self.values = _numbers(raw, dtype).reshape(shape, order="F" if by_columns else "C")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.values


class _Buffer(Array):
    """_frombuffer(raw, dtype, shape, order), which protocol 5 uses for arrays."""

    def __init__(self, raw: Any, dtype: Any, shape: Any, order: Any, *args: Any):
        self.values = _numbers(raw, dtype).reshape(shape, order=order)


class _Scalar(_StandIn):
    """scalar(dtype, raw), as a Python number."""

    def __new__(cls, dtype: Any, raw: Any) -> Any:
        return _numbers(raw, dtype)[0].item()


class _Encode(_StandIn):
    """_codecs.encode(text, "latin1"), which protocols before 3 use for bytes."""

    def __new__(cls, text: str, encoding: str) -> Any:
        return text.encode("latin1")


def _numbers(raw: bytes | str, dtype: _Dtype) -> np.ndarray:
    return np.frombuffer(raw.encode("latin1") if isinstance(raw, str) else raw, dtype.dtype)


STAND_INS = {
    ("collections", "OrderedDict"): dict,
    ("_codecs", "encode"): _Encode,
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): _Dtype,
} | {
    (f"numpy.{core}.{module}", name): stand_in
    for core in ("core", "_core")
    for module, name, stand_in in (
        ("multiarray", "_reconstruct", Array),
        ("multiarray", "scalar", _Scalar),
        ("numeric", "_frombuffer", _Buffer),
    )
}


class _Unpickler(pickle.Unpickler):
    """Plain containers and arrays of numbers; nothing that a pickle names is imported or called."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STAND_INS:
            raise pickle.UnpicklingError(f"asks for {module}.{name}; only plain data and arrays of numbers are read")
        return STAND_INS[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError(f"asks for the persistent id {pid!r}; only plain data and arrays are read")
