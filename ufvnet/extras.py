"""Optional dependencies: which extra of ``ufvnet`` brings a package, and the one error that says that it is missing."""

from __future__ import annotations

from importlib.util import find_spec

from ufvnet.errors import ConfigError

EXTRAS = {
    "pipeline": {
        "accelerate": "accelerate", "dask": "dask", "distributed": "distributed", "jinja2": "jinja2",
        "matplotlib": "matplotlib", "numba": "numba", "prefect": "prefect", "tensorboard": "tensorboard",
    },
    "demo": {"scikit-image": "skimage"},
    "edges": {"opencv-python-headless": "cv2"},
    "readers": {"datasets": "datasets", "duckdb": "duckdb"},
    "onnx": {"onnx": "onnx", "onnxruntime": "onnxruntime", "onnxscript": "onnxscript"},
    "heic": {"pillow-heif": "pillow_heif"},
    "storage": {"fsspec": "fsspec", "s3fs": "s3fs"},
    "gcs": {"fsspec": "fsspec", "gcsfs": "gcsfs"},
    "serve": {"jinja2": "jinja2", "starlette": "starlette", "uvicorn": "uvicorn"},
    "slurm": {"dask-jobqueue": "dask_jobqueue"},
}  # fmt: skip
"""The packages of each extra in pyproject.toml, by name, and the module that each is imported as."""


def missing(extra: str) -> list[str]:
    """Names of the packages of an extra that are not installed."""
    return [package for package, module in EXTRAS[extra].items() if not is_installed(module)]


def require(extra: str, purpose: str, *packages: str) -> None:
    """See that an extra is installed before something that needs it begins.

    Args:
        purpose: what needs it, for the message.
        packages: those of its packages that are needed; all of them if none is named.

    Raises:
        ConfigError: a package is missing; the message says which extra brings it.
    """
    needed = [package for package in missing(extra) if package in packages or not packages]
    if needed:
        verb = "are" if len(needed) > 1 else "is"
        raise ConfigError(f"{purpose}: {', '.join(needed)} {verb} not installed; {install_command(extra)} brings it")


def install_command(extra: str) -> str:
    """The command that installs an extra."""
    return f'pip install "ufvnet[{extra}]"'


def is_installed(module: str) -> bool:
    """True if a module can be imported here."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
