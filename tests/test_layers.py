"""The layers of docs/architecture.md: no import upwards, no circle of files; imports inside functions count too."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

LAYERS = (
    {"flows"},
    {"tasks"},
    {"ufvnet.cli"},
    {"ufvnet.restore", "ufvnet.results", "ufvnet.training"},
    {"ufvnet.metrics"},
    {"ufvnet.models"},
    {"ufvnet.data"},
    {"ufvnet.faces"},
    {"ufvnet.imaging"},
)
"""From the top down: a layer imports only from those below it; rooms of one layer do not import each other. All else in
``ufvnet`` (config, files, errors, ...) lies below the last, but for its ``__init__``, which offers the public names."""

Imports = dict[str, set[str]]
"""For each module the modules of this repository that it imports."""


def imports_of(root: Path) -> Imports:
    """Walk every file of flows, tasks and ufvnet below a root; what is imported for types alone does not count."""
    files = {name: path for path in sorted(root.rglob("*.py")) if (name := _module(path, root)).split(".")[0] in TOPS}
    return {name: {m for m in _imported(name, path, set(files)) if m != name} for name, path in files.items()}


TOPS = ("flows", "tasks", "ufvnet")


def _module(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(module: str, path: Path, known: set[str]) -> Iterator[str]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in _statements(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            while name and name not in known:
                name = name.rpartition(".")[0]
            if name:
                yield name


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _statements(child)


def upward(imports: Imports) -> list[str]:
    """Imports from a layer into itself (another room) or into one above it, as "importer -> imported"."""
    return sorted(
        f"{module} -> {other}"
        for module, others in imports.items()
        for other in others
        if module != "ufvnet" and _room(module) != _room(other) and _rank(other) <= _rank(module)
    )  # fmt: skip


def _room(module: str) -> str:
    rooms = [room for layer in LAYERS for room in layer if module == room or module.startswith(f"{room}.")]
    return rooms[0] if rooms else ""


def _rank(module: str) -> int:
    return next((i for i, layer in enumerate(LAYERS) if _room(module) in layer), len(LAYERS))


def circles(imports: Imports) -> list[list[str]]:
    """Groups of modules that reach each other by imports (strongly connected components, by Tarjan)."""
    found: list[list[str]] = []
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        stack.append(module)
        for other in imports[module]:
            if other not in number:
                visit(other)
            if other in stack:
                lowest[module] = min(lowest[module], lowest[other])
        if lowest[module] == number[module]:
            circle = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(circle) > 1:
                found.append(sorted(circle))

    for module in imports:
        if module not in number:
            visit(module)
    return found


@pytest.fixture(scope="module")
def imports(repo: Path) -> Imports:
    sys.setrecursionlimit(10_000)
    return imports_of(repo)


def test_no_module_imports_from_a_layer_above_or_beside_its_own(imports: Imports) -> None:
    assert len(imports) > 100
    assert "ufvnet.models.store" in imports["ufvnet.restore.restorer"]
    assert not upward(imports)


def test_no_files_import_each_other_in_a_circle(imports: Imports) -> None:
    assert not circles(imports)


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("ufvnet/models/srg.py", "def f():\n    from ufvnet.restore import restorer",
         "ufvnet.models.srg -> ufvnet.restore.restorer"),
        ("ufvnet/results/page.py", "from ufvnet.training.engine import train",
         "ufvnet.results.page -> ufvnet.training.engine"),
        ("ufvnet/files.py", "import ufvnet.data.card", "ufvnet.files -> ufvnet.data.card"),
        ("ufvnet/data/card.py", "import tasks.build", "ufvnet.data.card -> tasks.build"),
    ],
)  # fmt: skip
def test_a_planted_import_upwards_is_found(tmp_path: Path, file: str, text: str, expected: str) -> None:
    _plant(tmp_path, **{file: text})
    assert upward(imports_of(tmp_path)) == [expected]


def test_a_planted_circle_is_found_where_one_import_of_it_is_inside_a_function(tmp_path: Path) -> None:
    _plant(
        tmp_path,
        **{
            "ufvnet/data/card.py": "from . import schema",
            "ufvnet/data/schema.py": "from ufvnet.files import sha256\ndef f():\n    from .show import sheet",
            "ufvnet/data/show.py": "from ufvnet.data.card import read",
        },
    )
    assert circles(imports_of(tmp_path)) == [["ufvnet.data.card", "ufvnet.data.schema", "ufvnet.data.show"]]


def test_an_import_for_types_alone_is_no_circle(tmp_path: Path) -> None:
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .show import sheet"
    _plant(tmp_path, **{"ufvnet/data/schema.py": text, "ufvnet/data/show.py": "from . import schema"})
    assert not circles(imports_of(tmp_path))


def _plant(root: Path, **files: str) -> None:
    """A small repository with these files, and empty ones that they import."""
    names = ("ufvnet/__init__", "ufvnet/restore/__init__", "ufvnet/restore/restorer", "ufvnet/files",
             "ufvnet/training/engine", "ufvnet/data/__init__", "ufvnet/data/card", "tasks/build")  # fmt: skip
    for name in (*(f"{name}.py" for name in names), *files):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(files.get(name, ""))
