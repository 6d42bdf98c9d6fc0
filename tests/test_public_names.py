"""What users copy imports public names only."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import ometria_source

ROOT = Path(__file__).parents[1]

# The script is the program itself, which is also installed as `ometria-pipeline`.
PROGRAM = ROOT / "pipelines" / "ometria_pipeline.py"

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CODE = [path for folder in ("pipelines", "notebooks") for path in sorted((ROOT / folder).glob("*.py"))]


def snippets() -> Iterator[tuple[str, str]]:
    """The Python that users copy, and where it stands."""
    for path in CODE:
        if path != PROGRAM:
            yield path.name, path.read_text(encoding="utf-8")
    for path in DOCUMENTS:
        for block in re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            yield path.name, block


def test_what_users_copy_imports_public_names_only():
    found = set()
    for place, text in snippets():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ometria_source":
                assert node.module == "ometria_source", (place, node.module)
                for name in node.names:
                    assert name.name in ometria_source.__all__, (place, name.name)
                    found.add(place)
            if isinstance(node, ast.Import):
                assert not [name.name for name in node.names if name.name.startswith("ometria_source")], place
    assert {"dagster_definitions.py", "explore.py", "README.md", "orchestration.md"} <= found


def test_public_names_are_there():
    assert ometria_source.__all__ == sorted(ometria_source.__all__)
    assert all(hasattr(ometria_source, name) for name in ometria_source.__all__)
