"""Flows and tasks come from the checkout that this package lies in, or else from the working directory."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

from ufvnet.children import without_collection
from ufvnet.errors import ConfigError
from ufvnet.extras import install_command, missing, require

from .preflight import check_prefect_home, check_server


def find_checkout() -> Path:
    """The checkout's folder.

    Raises:
        ConfigError: there is none, or the extra ``pipeline`` is not installed.
    """
    folders = (Path(__file__).parents[2], Path.cwd())
    checkout = next((folder for folder in folders if (folder / "flows" / "reproduce.py").is_file()), None)
    if checkout is None:
        needs = f", and needs {install_command('pipeline')}" if missing("pipeline") else ""
        raise ConfigError(
            "this command runs in a checkout of the repository, whose folders flows and tasks are not part of the "
            f"package{needs}; `restore`, `serve`, `models`, `data` and `doctor` work without"
        )
    require("pipeline", "this command")
    return checkout


def check_prefect() -> None:
    """See that Prefect can write to its folder, and that the server of the environment answers.

    Raises:
        ConfigError: it cannot, or none answers.
    """
    check_prefect_home()
    check_server(os.environ.get("PREFECT_API_URL"))


def import_from_checkout(module: str, name: str, direct: bool = False) -> Any:
    """A function of ``flows`` or ``tasks``, after what Prefect needs was checked.

    Args:
        module: e.g. ``flows.train``.
        name: of the function.
        direct: flows and tasks become plain functions in this process, without Prefect (``tasks.runtime``).

    Raises:
        ConfigError: as ``find_checkout``, or Prefect cannot write to its folder or reach its server.
    """
    checkout = find_checkout()
    # Prefect reads [tool.prefect] of pyproject.toml only where it is the working directory
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's threads would spin beside Prefect's and Dask's
    if direct:
        os.environ["UFVNET_DIRECT"] = "1"
    else:
        check_prefect()
    if str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))
    with without_collection():
        function = getattr(importlib.import_module(module), name)
    if "prefect" in sys.modules and not os.environ.get("PREFECT_API_URL"):
        check_server(importlib.import_module("tasks.server").server_address())  # a profile may name one
    return function
