"""The working folder holds no row once a load is over, whatever became of it. All data is invented."""

from __future__ import annotations

import gzip
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dlt
import duckdb
import pytest

from ometria_source import ometria_source
from ometria_source.simulator import SimulatedAccount

pytestmark = pytest.mark.usefixtures("refused_at_once")

TABLES = "profiles,lists,email_events"


@pytest.fixture
def account() -> SimulatedAccount:
    """Small: what is tested does not depend on numbers."""
    return SimulatedAccount.invent(30, now=datetime.now(timezone.utc) - timedelta(hours=1))


@pytest.fixture
def folder(tmp_path) -> Path:
    """The working folder of dlt."""
    return tmp_path / "dlt"


def left_in(folder: Path, account: SimulatedAccount) -> set[str]:
    """The addresses of the account that are in some file of a folder, and the files with rows of packages."""
    emails = {str(profile["email"]) for profile in account.profiles.values() if profile["email"]}
    contents = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    contents = [gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content for content in contents]
    rows = {path.name for path in folder.rglob("*_jobs/*") if path.suffix != ".exception"}
    return {email for email in emails for content in contents if email.encode() in content} | rows


def test_no_row_stays_after_a_load(account, ometria, export, load, folder):
    load("--tables", TABLES)
    assert left_in(folder, account) == set()


def test_no_row_of_a_refused_package_stays(account, ometria, export, load, run, warehouse, folder):
    load("--tables", TABLES)
    with duckdb.connect(str(warehouse.path)) as connection:
        connection.execute("ALTER TABLE ometria.profiles ALTER email TYPE INTEGER USING NULL")
    assert run("--tables", TABLES).status == 1
    assert left_in(folder, account) == set()


def test_no_row_stays_that_an_earlier_version_or_another_program_has_left(account, ometria, export, load, folder):
    pipeline = dlt.pipeline("ometria_pipeline", destination="duckdb", dataset_name="ometria")
    pipeline.run(ometria_source().with_resources("profiles"), loader_file_format="jsonl")
    assert left_in(folder, account)
    load("--tables", "lists")
    assert left_in(folder, account) == set()
