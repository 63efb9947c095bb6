"""Jinja templates of tables, charts and the report."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

FOLDER = Path(__file__).parent / "templates"


def render(name: str, **values: Any) -> Markup:
    """A template's HTML or SVG, in which every value is escaped; other templates do not escape it again."""
    from markupsafe import Markup

    return Markup(_environment().get_template(name).render(**values))


def source(name: str) -> Markup:
    """A file beside the templates as it is: a style sheet or a script."""
    from markupsafe import Markup

    return Markup((FOLDER / name).read_text(encoding="utf-8"))


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader

    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=FileSystemLoader(FOLDER))
