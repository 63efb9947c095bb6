"""What Prefect needs before it is imported: a folder that it can write to, and the server that is configured.

Its own errors come after minutes and thousands of lines.
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
"""What something else answers, or a proxy for a server that is not there."""


def check_prefect_home() -> None:
    """
    Raises:
        ConfigError: Prefect cannot write to its folder.
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
    """See that a Prefect server answers; where there is no address it is an embedded one, which needs no check.

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
            return  # it wants a password, is Prefect's cloud, or has a certificate that Prefect may know
        raise ConfigError(
            f"PREFECT_API_URL = {printed(url)}: no Prefect server answers there in {PATIENCE} s ({reason}); start it, "
            "or unset PREFECT_API_URL to use an embedded one"
        ) from error
