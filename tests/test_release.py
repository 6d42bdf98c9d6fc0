"""`tools/release.py` on a clone of a small repository of its own."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "tools" / "release.py"

CHANGELOG = """# Changelog

## [Unreleased]

### Added

- Something.

## [0.1.0] - 2026-01-01

- The first.
"""


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(workspace) -> Path:
    (workspace / "ometria_source").mkdir()
    (workspace / "ometria_source" / "version.py").write_text('"""A package."""\n\n__version__ = "0.1.0"\n')
    (workspace / "CHANGELOG.md").write_text(CHANGELOG)
    git("init", "--quiet")
    git("config", "user.name", "Nobody")
    git("config", "user.email", "nobody@shop.test")
    git("add", "--all")
    git("commit", "--quiet", "--message", "All of it")
    git("tag", "v0.1.0")
    return workspace


def release(version: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, version], capture_output=True, text=True, check=False)


def test_a_release_is_a_commit_with_a_tag(repository):
    result = release("0.2.0")
    assert result.returncode == 0, result.stderr
    assert git("describe") == "v0.2.0"
    assert git("status", "--porcelain") == ""
    assert '__version__ = "0.2.0"\n' in (repository / "ometria_source" / "version.py").read_text()
    today = datetime.now(timezone.utc).date()
    heading = f"## [Unreleased]\n\n## [0.2.0] - {today}\n\n### Added\n\n- Something.\n\n## [0.1.0] - 2026-01-01\n"
    assert heading in (repository / "CHANGELOG.md").read_text()
    # nothing is left to release
    assert "nothing under" in release("0.3.0").stderr


@pytest.mark.parametrize(
    ("version", "told"),
    [("0.1.0", "not newer"), ("0.0.9", "not newer"), ("next", "is no version"), ("v0.2.0", "as 0.2.0")],
)
def test_a_version_that_is_none_or_not_newer_is_refused(repository, version, told):
    result = release(version)
    assert result.returncode == 1
    assert told in result.stderr
    assert git("status", "--porcelain") == ""


def test_a_version_whose_tag_is_there_is_refused_before_anything_is_committed(repository):
    git("tag", "v0.2.0")
    before = git("rev-parse", "HEAD")
    result = release("0.2.0")
    assert result.returncode == 1
    assert "released before" in result.stderr
    assert git("rev-parse", "HEAD") == before


def test_changes_that_are_not_committed_are_refused(repository):
    (repository / "notes.txt").write_text("something")
    assert "not committed" in release("0.2.0").stderr
    assert git("tag") == "v0.1.0"
