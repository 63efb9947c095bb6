"""Keys of Prefect artifacts."""

from __future__ import annotations

import re


def artifact_key(name: str) -> str:
    """Any name as an artifact's key: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
