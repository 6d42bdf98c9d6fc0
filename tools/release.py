"""Make a release: the version, the changelog, a commit and a tag. It publishes nothing.

python tools/release.py 0.2.0
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

from packaging.version import InvalidVersion, Version

ROOT = Path.cwd()
VERSION_FILE = ROOT / "ometria_source" / "version.py"
CHANGELOG = ROOT / "CHANGELOG.md"

VERSION_LINE = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)
UNRELEASED = re.compile(r"^## \[Unreleased\]\n(.*?)(?=^## \[|\Z)", re.MULTILINE | re.DOTALL)


def main() -> int:
    """Make it; the exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("version", help="of the release, such as 0.2.0")
    wanted = parser.parse_args().version
    if problem := _problem(wanted):
        print(problem, file=sys.stderr)
        return 1
    _replace(VERSION_FILE, VERSION_LINE, f'__version__ = "{wanted}"')
    today = datetime.now(timezone.utc).date()
    changes = _first(UNRELEASED, CHANGELOG).strip()
    _replace(CHANGELOG, UNRELEASED, f"## [Unreleased]\n\n## [{wanted}] - {today}\n\n{changes}\n\n")
    _git("commit", "--quiet", "--all", "--message", f"Release {wanted}")
    _git("tag", "--annotate", f"v{wanted}", "--message", f"ometria_source {wanted}")
    print(f"v{wanted} is committed and tagged. Let `bash .ci/run` pass, then publish it:")
    print(f"  git push origin HEAD v{wanted}")
    print(f"  python -m build && python -m twine upload dist/ometria_source-{wanted}*")
    return 0


def _problem(wanted: str) -> str | None:
    """Why this cannot be released now."""
    if not VERSION_FILE.exists() or not CHANGELOG.exists():
        return "Run this in the root of the repository."
    now = _first(VERSION_LINE, VERSION_FILE)
    try:
        version = Version(wanted)
    except InvalidVersion:
        return f"`{wanted}` is no version: write it as 0.2.0."
    if str(version) != wanted:
        # the names of the files have the other form
        return f"Write `{wanted}` as {version}."
    if version < Version(now) or _git("tag", "--list", f"v{wanted}"):
        return f"{wanted} is not newer than {now}, or was released before."
    if not _first(UNRELEASED, CHANGELOG).strip():
        return "CHANGELOG.md has nothing under `Unreleased`: say what has changed."
    if _git("status", "--porcelain"):
        return "There are changes that are not committed: commit them, or put them away."
    return None


def _first(pattern: re.Pattern[str], path: Path) -> str:
    found = pattern.search(path.read_text(encoding="utf-8"))
    return found[1] if found else ""


def _replace(path: Path, pattern: re.Pattern[str], text: str) -> None:
    path.write_text(pattern.sub(lambda _: text, path.read_text(encoding="utf-8"), count=1), encoding="utf-8")


def _git(*arguments: str) -> str:
    result = subprocess.run(["git", *arguments], check=True, capture_output=True, text=True)  # noqa: S603, S607
    return result.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
