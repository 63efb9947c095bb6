"""One self-contained report.html: tables, figures, and how every number was made."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from ufvnet import data
from ufvnet.config import EvaluateConfig
from ufvnet.data.schema import write_text

from .methods import rows_of
from .tables import Table

TEMPLATE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ name }}: evaluation</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
.wide { overflow-x: auto; margin: 1.5rem 0; }
table { border-collapse: collapse; } caption { text-align: left; padding-bottom: .4rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #8886; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; background: #fff; } pre { overflow-x: auto; }
</style>
<h1>{{ name }}</h1>
{% for table in tables %}
<div class="wide" tabindex="0"><table><caption>{{ table.caption }}</caption>
<thead><tr>{% for cell in table.header %}<th scope="col">{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in table.rows %}{% set i = loop.index0 %}
<tr>{% for cell in row %}
<td>{% if (i, loop.index0) in table.best %}<b>{{ cell }}</b>{% else %}{{ cell }}{% endif %}</td>
{% endfor %}</tr>{% endfor %}</tbody></table></div>
{% endfor %}
{% for title, source in figures %}
<h2>{{ title }}</h2><img alt="{{ title }}" src="{{ source }}">
{% endfor %}
<h2>How these numbers were made</h2>
<pre>{{ provenance }}</pre>
</html>
"""


def write_report(config: EvaluateConfig, tables: Sequence[Table], figures: Sequence[Path]) -> Path:
    """Write report.html; pictures are embedded, so it holds faces of the test sets."""
    from jinja2 import Environment

    html = (
        Environment(autoescape=True)
        .from_string(TEMPLATE)
        .render(
            name=config.name,
            tables=tables,
            figures=[(p.stem, "data:image/png;base64," + base64.b64encode(p.read_bytes()).decode()) for p in figures],
            provenance=json.dumps(provenance(config), indent=2),
        )
    )
    path = config.out / config.name / "report.html"
    write_text(path, html)
    return path


def provenance(config: EvaluateConfig) -> dict:
    """Versions, configuration, and the cards of the datasets and models."""
    return {
        "versions": {name: version(name) for name in ("ufvnet", "torch", "numpy", "pillow")},
        "config": config.model_dump(mode="json", exclude={"cluster"}),
        "datasets": {t.name: data.open(t.path).card for t in config.datasets},
        "models": {r.label: r.about() for r in rows_of(config)},
    }  # fmt: skip
