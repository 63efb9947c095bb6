"""Running a deployment by its name alone; Prefect's own command needs the flow's name too."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

from httpx import HTTPError
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.responses import DeploymentResponse
from prefect.settings import PREFECT_API_URL

from tasks.settings import read_settings, schema_of
from ufvnet.children import environment, python
from ufvnet.config import ConfigError

VARIABLE = re.compile(r"\{\{ *\$(\w+) *\}\}")
"""A variable of the worker in a pull step (deploy/pull.yaml)."""


def run_deployment(name: str, parameters: list[str], watch: bool) -> int:
    """Look a deployment up by name, check its configuration, and hand it to ``prefect deployment run``.

    Returns:
        Its exit code.

    Raises:
        ConfigError: no server is configured, the address is not that of a Prefect server, the number of deployments
            with this name is not one, or the configuration is wrong.
    """
    if not PREFECT_API_URL.value():
        raise ConfigError("no Prefect server is configured: set PREFECT_API_URL, e.g. http://127.0.0.1:4200/api")
    try:
        with get_client(sync_client=True) as client:
            by_name = DeploymentFilter(name=DeploymentFilterName(any_=[name]))
            deployments = client.read_deployments(deployment_filter=by_name)
            full = [f"{client.read_flow(d.flow_id).name}/{d.name}" for d in deployments]
    except HTTPError as error:
        raise ConfigError(f"PREFECT_API_URL = {PREFECT_API_URL.value()}: {error}") from error
    if len(full) != 1:
        raise ConfigError(f"{len(full)} deployments are named {name!r} {full or '(deploy with `ufvnet deploy`)'}")
    check_parameters(deployments[0], parameters)
    options = [option for p in parameters for option in ("-p", p)] + (["--watch"] if watch else [])
    command = python("-m", "prefect", "deployment", "run", full[0], *options)
    return subprocess.run(command, env=environment(), check=False).returncode


def check_parameters(deployment: DeploymentResponse, parameters: list[str]) -> None:
    """Check the configuration that a run would read, if this machine has the folder in which it would run.

    Raises:
        ConfigError: it is wrong.
    """
    folder = _working_directory(deployment)
    module, _, name = (deployment.entrypoint or "").rpartition(".")
    if not module.startswith("flows.") or folder is None or not folder.is_dir():
        return
    values = dict(deployment.parameters) | {
        key: _value(text) for key, _, text in (p.partition("=") for p in parameters)
    }
    schema = schema_of(getattr(import_module(module), name).fn)
    overrides = values.get("overrides") or []
    with contextlib.chdir(folder):
        if values.get("config") and isinstance(overrides, list) and all(isinstance(o, str) for o in overrides):
            read_settings(schema, values["config"], overrides)


def _working_directory(deployment: DeploymentResponse) -> Path | None:
    for step in deployment.pull_steps or ():
        for name, inputs in step.items():
            if name.endswith("set_working_directory"):
                return Path(VARIABLE.sub(lambda found: os.environ.get(found[1], found[0]), inputs["directory"]))
    return None


def _value(text: str) -> Any:
    """A parameter's value as Prefect's command reads it: JSON, or else text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
