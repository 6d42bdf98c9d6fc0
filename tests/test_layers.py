"""The picture of the layers in CONTRIBUTING.md is that of the imports, which point one way."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLES = {
    "collections",
    "contacts",
    "custom_events",
    "data_deletion_requests",
    "email_events",
    "list_changes",
    "lists",
    "member_lists",
    "orders",
    "products",
    "profiles",
    "push_errors",
    "unsubscribes",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the script reads."""
    for name in ("ometria_source", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.png"))
    shutil.copy(ROOT / "CONTRIBUTING.md", tmp_path)
    return tmp_path


def check(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "docs" / "write_layers.py"), "--check"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_picture_is_current():
    """As committed, the picture is right, and no import points the wrong way."""
    result = check(ROOT)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("module", "line", "problem"),
    [
        ("api/pacing.py", "from ometria_source.api.client import OmetriaClient", "a cycle"),
        ("api/pacing.py", "from ometria_source.sync.rows import Row", "api imports sync"),
        ("export/formats.py", "from ometria_source.api import client", "export imports api"),
        ("exceptions.py", "from ometria_source import ometria_source", "exceptions imports loading"),
        ("simulator/wire.py", "from ometria_source import constants", "simulator imports constants"),
        ("tables/orders.py", "from ometria_source.simulator import wire", "tables imports simulator"),
        ("api/pacing.py", "import ometria_source.tables.orders", "api imports tables"),
        ("api/pacing.py", "from ..sync import rows", "api imports sync"),
        ("api/pacing.py", "from . import client", "a cycle: api.client imports api.pacing imports api.client"),
        ("api/pacing.py", "def late():\n    from ometria_source.sync import rows", "api imports sync"),
    ],
)
def test_import_against_the_order_fails(checkout, module, line, problem):
    """An import that points the wrong way is named, in whatever form it is written."""
    path = checkout / "ometria_source" / module
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    result = check(checkout)
    assert result.returncode == 1
    assert problem in result.stderr


def test_cycle_is_named_in_its_direction(monkeypatch):
    """Each module of the cycle imports the next one."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    find_cycle = import_module("write_layers").find_cycle
    imports = {"a": {"b", "x"}, "b": {"c"}, "c": {"a"}, "x": set()}
    cycle = find_cycle(imports)
    assert len(cycle) == 4
    assert all(target in imports[module] for module, target in pairwise(cycle))
    assert find_cycle({**imports, "c": set()}) == []


def test_unknown_layer_fails(checkout):
    """A new folder needs a rank."""
    folder = checkout / "ometria_source" / "helpers"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    assert "helpers has no rank" in check(checkout).stderr


def test_outdated_picture_fails(checkout):
    """A picture that lacks an arrow is refused."""
    page = checkout / "CONTRIBUTING.md"
    page.write_text(page.read_text(encoding="utf-8").replace("    cli --> simulator\n", ""), encoding="utf-8")
    result = check(checkout)
    assert result.returncode == 1
    assert "CONTRIBUTING.md is not what the code says" in result.stderr


def test_tables_holds_tables_only():
    """Each module in tables/ is named like the table that it defines."""
    names = {path.stem for path in (ROOT / "ometria_source" / "tables").iterdir() if path.stem != "__pycache__"}
    assert names - {"__init__"} == TABLES
