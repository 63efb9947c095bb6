"""Progress artifacts: what they say beside rate and time left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.progress import gpu_use


@pytest.mark.parametrize(
    ("printed", "use"),
    [("97, 30822, 81559\n0, 1, 81559\n", "; GPU 97 %, 30.1 of 79.6 GiB; GPU 0 %, 0.0 of 79.6 GiB"),
     ("[N/A], 1, 2\n", ""), (None, "")],
    ids=["two-gpus", "no-answer", "no-gpu"],
)  # fmt: skip
def test_the_use_of_gpus_is_told_where_there_are_some(
    printed: str | None, use: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if printed is not None:
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\necho '{printed}'\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_use() == use
