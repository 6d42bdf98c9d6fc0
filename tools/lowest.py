"""Print the lowest versions that pyproject.toml allows, as constraints for pip.

pip install . -c <(python tools/lowest.py)
"""

from __future__ import annotations

import sys
from pathlib import Path

from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def main() -> None:
    """Print a line for each dependency."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    for requirement in map(Requirement, project["dependencies"]):
        (lowest,) = (bound.version for bound in requirement.specifier if bound.operator == ">=")
        marker = f"; {requirement.marker}" if requirement.marker else ""
        print(f"{requirement.name}=={lowest}{marker}")


if __name__ == "__main__":
    main()
