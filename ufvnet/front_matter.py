"""READMEs as the Hugging Face Hub reads them: YAML between two lines ``---``, then Markdown."""

from __future__ import annotations

from typing import Any

import yaml

NO_LICENCE = {"license": "other", "license_name": "terms-of-the-training-photographs"}
"""Terms of models and datasets: those of the photographs, of which we know only the names."""


def with_front_matter(fields: dict[str, Any], text: str) -> str:
    """A README of these fields, in their order, and this text."""
    return f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=1000)}---\n{text}"
