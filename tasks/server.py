"""The Prefect server that runs use."""

from __future__ import annotations

from prefect.settings import PREFECT_API_URL


def server_address() -> str | None:
    """The server's address from PREFECT_API_URL or the active Prefect profile; None if a temporary one is started."""
    return PREFECT_API_URL.value()
