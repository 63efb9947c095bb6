"""Flows and tasks come from the checkout that this package lies in, or else from the working directory."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

from ufvnet.errors import ConfigError

from .preflight import check_prefect_home, check_server


def import_from_checkout(module: str, name: str, direct: bool = False) -> Any:
    """A function of ``flows`` or ``tasks``, after what Prefect needs was checked.

    Args:
        module: e.g. ``flows.train``.
        name: of the function.
        direct: flows and tasks become plain functions in this process, without Prefect (``tasks.runtime``).

    Raises:
        ConfigError: there is no checkout, or Prefect cannot write to its folder or reach its server.
    """
    checkout = next(
        (p for p in (Path(__file__).parents[2], Path.cwd()) if (p / "flows" / "reproduce.py").is_file()), None
    )
    if checkout is None:
        raise ConfigError("pipeline commands run from a checkout of the repository; only `restore`, `serve`, `models` "
                          "and `doctor` work from the wheel alone")  # fmt: skip
    # Prefect reads [tool.prefect] of pyproject.toml only where it is the working directory
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's threads would spin beside Prefect's and Dask's
    if direct:
        os.environ["UFVNET_DIRECT"] = "1"
    else:
        check_prefect_home()
        check_server(os.environ.get("PREFECT_API_URL"))
    if str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))
    function = getattr(importlib.import_module(module), name)
    if "prefect" in sys.modules and not os.environ.get("PREFECT_API_URL"):
        check_server(importlib.import_module("tasks.server").server_address())  # a profile may name one
    importlib.import_module("tasks.logs").plain_errors()
    return function
