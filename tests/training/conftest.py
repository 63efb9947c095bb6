"""What tests of networks from outside share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ufvnet.models import registry


@pytest.fixture
def put_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Writes a module of networks and makes it a plugin, here and in child processes."""

    def put(module: str, text: str) -> None:
        (tmp_path / f"{module}.py").write_text(text)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv(registry.PLUGINS, module)
        monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
        registry._import_plugins.cache_clear()

    yield put
    registry._import_plugins.cache_clear()
