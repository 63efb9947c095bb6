"""Deploying: what Prefect's own command gets to see, and which runs the automations count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.server.events.schemas.events import Resource, ResourceSpecification
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.automations import deploy


def test_the_deployers_checkout_is_not_deployed_to_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prefect").mkdir()
    (tmp_path / "prefect" / "__init__.py").touch()
    program = "import os, sys\nsys.exit(7 if 'UFVNET_CHECKOUT' in os.environ else 3)\n"
    (tmp_path / "prefect" / "__main__.py").write_text(program)  # in the place of `python -m prefect`
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("UFVNET_CHECKOUT", "/opt/ufvnet")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert deploy(tmp_path, None) == 3


@pytest.mark.parametrize("count", [0, 1, 3, 4, 9, 10, 19, 30, 100])
def test_every_crashed_run_is_either_run_again_or_given_up(count: int, repo: Path) -> None:
    declared = yaml.safe_load((repo / "automations.yaml").read_text())["automations"]
    triggers: dict[str, Any] = {automation["name"]: automation["trigger"] for automation in declared}
    run = Resource({"prefect.resource.id": "prefect.flow-run.1", "prefect.run-count": str(count)})
    counted = {name for name in ("ufvnet-run-again", "ufvnet-given-up")
               if ResourceSpecification(triggers[name]["match"]).matches(run)}  # fmt: skip
    assert counted == {"ufvnet-run-again" if 1 <= count <= 3 else "ufvnet-given-up"}
