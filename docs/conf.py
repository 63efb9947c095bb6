"""The docs site (``make docs``): Sphinx over the Markdown files as they lie in the repository.

So every link works on the site and in the checkout alike. Sphinx's source folder is the root of the repository, and
README is the first page.
"""

from importlib.metadata import version as version_of
from typing import Any

project = "ufvnet"
release = version = version_of("ufvnet")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "README"
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/**.md",
    "results/*.md",
    "results/**/README.md",
    "benchmarks/*.md",
    "ufvnet/weights/*/README.md",
]
exclude_patterns = [".venv", "build", "data", "demo", "evaluations", "models", "restored", "runs", "**.card.md"]
html_theme = "furo"
html_title = "ufvnet"
html_show_copyright = False
html_show_sphinx = False

myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"

CONTENTS = {
    "Guides": """
        docs/quickstart docs/restore docs/datasets docs/training docs/evaluation docs/models docs/api docs/operations
        """,
    "Reference": """
        docs/reference/configuration docs/reference/commands docs/reference/statuses docs/reference/columns
        docs/reference/python
        """,
    "Background": "docs/method docs/architecture results/README CONTRIBUTING CHANGELOG",
    "Measurements": "results/* results/**/README benchmarks/* ufvnet/weights/*/README",
}
"""Pages by the heading of the sidebar under which they stand."""


def setup(app: Any) -> None:
    """Sphinx calls this when it starts."""
    app.connect("source-read", _add_contents)


def _add_contents(_app: Any, page: str, source: list[str]) -> None:
    """Put the list of all pages, which GitHub would show as text, at the end of the first page."""
    if page == root_doc:
        for heading, pages in CONTENTS.items():
            lines = "\n".join(pages.split())
            source[0] += f"\n\n```{{toctree}}\n:caption: {heading}\n:hidden:\n:glob:\n\n{lines}\n```\n"
