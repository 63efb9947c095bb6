"""Checks before Prefect is imported: it can write to its folder, and the configured server answers.

Prefect's own errors come after minutes and thousands of lines.
"""

from __future__ import annotations

import http.client
import os
import ssl
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from ufvnet.errors import ConfigError
from ufvnet.files import printed

PATIENCE = 5
"""Seconds for a server to answer."""
NO_SERVER = (404, 502, 503, 504)
"""Status codes of another program at this address, or of a proxy whose server is not there."""


def check_prefect_home() -> None:
    """See that Prefect can write to its folder.

    Raises:
        ConfigError: it cannot.
    """
    try:
        home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home) as file:
            file.write(b"x")
        database = home / "prefect.db"
        if database.exists():
            with database.open("r+b"):
                pass
    except (OSError, RuntimeError) as error:
        where = os.environ.get("PREFECT_HOME") or "~/.prefect, in HOME"
        raise ConfigError(
            f"PREFECT_HOME = {printed(where)}: Prefect keeps its database there, but nothing can be written ({error}); "
            "set PREFECT_HOME to a folder that can be written to"
        ) from error


def check_server(url: str | None) -> None:
    """See that a Prefect server answers. Without an address Prefect starts a temporary one, which needs no check.

    Raises:
        ConfigError: none answers.
    """
    if not url:
        return
    try:
        if not url.startswith(("http://", "https://")):
            raise ValueError("an address begins with http:// or https://")
        urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=PATIENCE).close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        answered = isinstance(error, urllib.error.HTTPError) and error.code not in NO_SERVER
        if answered or os.environ.get("PREFECT_API_KEY") or isinstance(reason, ssl.SSLError):
            return  # it asks for a password, is Prefect Cloud, or has a certificate that Prefect may know
        raise ConfigError(
            f"PREFECT_API_URL = {printed(url)}: no Prefect server answers there in {PATIENCE} s ({reason}); start it, "
            "or unset PREFECT_API_URL to use a temporary one"
        ) from error
