"""Running a deployment by its name alone; Prefect's own command needs the flow's name too."""

from __future__ import annotations

import subprocess

from httpx import HTTPError
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.settings import PREFECT_API_URL

from ufvnet.children import environment, python
from ufvnet.config import ConfigError


def run_deployment(name: str, parameters: list[str], watch: bool) -> int:
    """Look a deployment up by name and hand it to ``prefect deployment run``; returns its exit code.

    Raises:
        ConfigError: no server is configured, the address is not that of a Prefect server, or the number of deployments
            with this name is not one.
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
        raise ConfigError(
            f"{len(full)} deployments are named {name!r} {full or '(deploy with `prefect deploy --all`)'}"
        )
    options = [option for p in parameters for option in ("-p", p)] + (["--watch"] if watch else [])
    command = python("-m", "prefect", "deployment", "run", full[0], *options)
    return subprocess.run(command, env=environment(), check=False).returncode
