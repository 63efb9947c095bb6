"""The two commands of docs/quickstart.md on any machine: what they install is pinned to what every index has."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from operator import attrgetter
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import ufvnet
from ufvnet.extras import EXTRAS


def _pinned(repo: Path) -> dict[str, Requirement]:
    lines = (repo / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in pins}


def _required(repo: Path) -> list[Requirement]:
    project = tomllib.loads((repo / "pyproject.toml").read_text())["project"]
    extras = [r for extra in project["optional-dependencies"].values() for r in extra]
    return [r for r in map(Requirement, [*project["dependencies"], *extras]) if r.name != project["name"]]


def test_every_version_is_pinned_to_one_that_any_index_may_have(repo: Path) -> None:
    for name, pin in _pinned(repo).items():
        (only,) = pin.specifier
        assert only.operator == "==", name
        assert Version(only.version).local is None, f"{pin}: only one machine has this"
        assert pin.url is None, name


def test_every_requirement_is_pinned_to_a_version_that_it_allows(repo: Path) -> None:
    pins = _pinned(repo)
    for requirement in _required(repo):
        (pin,) = pins[canonicalize_name(requirement.name)].specifier
        assert requirement.specifier.contains(pin.version), f"{requirement}, but {pin}"


def test_the_base_brings_nothing_of_the_pipeline(repo: Path) -> None:
    project = tomllib.loads((repo / "pyproject.toml").read_text())["project"]
    base = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    assert {"torch", "pydantic", "typer"} <= base
    assert not base & {package for extra in EXTRAS.values() for package in extra}


def test_the_extras_that_commands_check_are_those_of_pyproject(repo: Path) -> None:
    extras = tomllib.loads((repo / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    required = {
        extra: {canonicalize_name(r.name) for r in map(Requirement, lines) if r.name != "ufvnet"}
        for extra, lines in extras.items()
        if extra not in ("dev", "docs")
    }
    required["pipeline"] |= {"distributed"}  # of dask[distributed]
    required["pipeline"] -= {"fastapi", "sqlalchemy"}  # which Prefect brings
    assert {extra: {*packages} for extra, packages in EXTRAS.items()} == required
    assert f"ufvnet[{','.join(EXTRAS)}]" in extras["dev"]


def test_the_public_names_are_there_typed_and_explained(repo: Path) -> None:
    assert (repo / "ufvnet" / "py.typed").is_file()
    for name in ufvnet.__all__:
        assert f"``{name}" in str(ufvnet.__doc__), name
        assert getattr(ufvnet, name) is not None
    for name in ("data.open", "models.create", "models.register"):
        assert f"``{name}``" in str(ufvnet.__doc__)
        assert callable(attrgetter(name)(ufvnet))


def test_importing_ufvnet_imports_nothing_heavy() -> None:
    code = "import sys, ufvnet; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "ufvnet" in loaded
    assert not {"numpy", "pandas", "pydantic", "torch"} & {*loaded}


def test_ci_resolves_the_requirements_for_every_python_and_tests_without_photos(repo: Path) -> None:
    ci = (repo / ".ci" / "run").read_text()
    for target in ("requirements", "test-without-photos", "test", "lint", "docs"):
        assert f"make {target}" in ci
        dry = subprocess.run(["make", "--dry-run", target], cwd=repo, capture_output=True, text=True, check=True)
        assert target != "requirements" or all(f" {python}" in dry.stdout for python in ("3.11", "3.12", "3.13"))


@pytest.mark.parametrize(("faces", "outcome"), [("none", "1 skipped"), ("", "1 ")])
def test_the_place_of_the_photos_is_one_setting(repo: Path, tmp_path: Path, faces: str, outcome: str) -> None:
    test = tmp_path / "test_it.py"
    test.write_text("def test_it(faces_root, put_photos): pass\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider", "-m", "photos"]
    ran = subprocess.run(
        [*command, "--rootdir", str(tmp_path), str(test)], cwd=repo, capture_output=True, text=True,
        env={**os.environ, "UFVNET_TEST_FACES": faces, "PYTHONPATH": str(repo)},
    )  # fmt: skip
    assert outcome in ran.stdout.splitlines()[-1], ran.stdout
