"""What is imported is declared, and what is declared is imported."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# Not imported: what dlt or fsspec needs for what is used of them here.
USED_BY_OTHERS = {"s3fs", "sqlglot"}

# Which of both is imported depends on Python's version: from 3.14 on, its own.
BACKPORTS = {"backports-zstd", "compression"}

# Extras that no user of the package installs.
FOR_DEVELOPERS = {"dev", "docs", "notebook"}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements: list[str]) -> set[str]:
    return {normalised(re.match(r"[\w.-]+", requirement)[0]) for requirement in requirements}


def imported(*folders: str) -> set[str]:
    """The distributions of the modules that the code imports, also within functions."""
    modules: set[str] = set()
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    modules |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    modules.add(node.module)
    tops = {module.partition(".")[0] for module in modules} - sys.stdlib_module_names
    distributions = packages_distributions()
    return {normalised(name) for top in tops - {"ometria_source"} for name in distributions.get(top, [top])}


def test_the_package_imports_what_it_declares():
    here = {name for name in declared(PROJECT["dependencies"]) if name not in BACKPORTS}
    found = imported("ometria_source", "pipelines") - BACKPORTS
    # of an extra of users, and imported only where that is used
    groups = PROJECT["optional-dependencies"].items()
    extras = {name for extra, group in groups if extra not in FOR_DEVELOPERS for name in declared(group)}
    assert found - here <= extras - {"ometria-source"}
    assert here <= found | USED_BY_OTHERS


@pytest.mark.parametrize("folder", ["benchmarks", "tools", "docs", "notebooks"])
def test_what_comes_with_it_imports_what_an_extra_declares(folder):
    everything = {name for group in PROJECT["optional-dependencies"].values() for name in declared(group)}
    # scripts import each other, and helpers of the tests
    local = {normalised(path.stem) for name in (folder, "tests") for path in (ROOT / name).rglob("*.py")}
    assert imported(folder) - local <= everything | declared(PROJECT["dependencies"])
