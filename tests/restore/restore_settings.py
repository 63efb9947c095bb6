"""The settings that tests of restoring start from."""

from __future__ import annotations

from pathlib import Path

from ufvnet.config import RestoreConfig, load


def config_of(source: Path | list[Path], model: Path, /, **changes: object) -> RestoreConfig:
    """Aligned crops, four faces a batch, one thread, into the folder ``out`` beside the first input."""
    first = source[0] if isinstance(source, list) else source
    base = {"input": source, "output": first.parent / "out", "model": model, "mode": "aligned", "device": "cpu",
            "batch_size": 4, "threads": 1}  # fmt: skip
    return load(RestoreConfig, base | changes)
