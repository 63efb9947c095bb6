"""The checks of benchmarks/gpu on the device that UFVNET_TEST_DEVICE names (``auto``, ``cuda``), else on the processor."""

from __future__ import annotations

import pytest

from benchmarks.gpu.check import checks, chosen

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("name", checks(chosen("cpu")))
def test_check(name: str) -> None:
    row = checks(chosen())[name]()
    assert row["passed"], row
