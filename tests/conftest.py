"""What the tests stand on: a simulated account that is served on loopback, a folder, and a run of the program.

All data is invented.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import fast_dlt
import pytest
from hypothesis import settings
from tenacity import wait_none

from ometria_source.cli import main
from ometria_source.export import compression, encodings
from ometria_source.export import csv as csv_reader
from ometria_source.loading import destinations, progress
from ometria_source.simulator import SimulatedAccount, SimulatedOmetria

pytest_plugins = ["destination_results", "pasted_settings", "ways"]

fast_dlt.install()

# A shell that starts the tests in the background ignores Ctrl-C for them, and so for all programs that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says nothing on a busy machine.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# No test may reach out, nor wait for a pace that is meant for a real account.
QUIET = {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "SOURCES__OMETRIA__REQUESTS_PER_SECOND": "1000",
    "SOURCES__OMETRIA__PATIENCE_MINUTES": "0.01",
}


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder, and a working folder of dlt's that belongs to this test."""
    for name in list(os.environ):
        if name.startswith(("SOURCES__", "DESTINATION__")):
            monkeypatch.delenv(name)
    for name, value in QUIET.items():
        monkeypatch.setenv(name, value)
    # on a busy machine a run may take long enough to say how far it is
    monkeypatch.setattr(progress, "LINE_EVERY", 3600)
    folder = tmp_path / "workspace"
    folder.mkdir()
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))
    monkeypatch.chdir(folder)
    level_of_dlt = logging.getLogger("dlt").level
    yield folder
    # what a run of the program sets for its own process
    logging.getLogger("dlt").setLevel(level_of_dlt)
    logger = logging.getLogger("ometria_source")
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


@pytest.fixture
def account() -> SimulatedAccount:
    """An account of 300 people whose present is an hour ago."""
    return SimulatedAccount.invent(now=datetime.now(timezone.utc) - timedelta(hours=1))


@pytest.fixture
def ometria(account: SimulatedAccount, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedOmetria]:
    """The account's API, and the settings that lead to it."""
    with SimulatedOmetria(account) as server:
        monkeypatch.setenv("SOURCES__OMETRIA__API_KEY", server.api_key)
        monkeypatch.setenv("SOURCES__OMETRIA__BASE_URL", server.base_url)
        yield server


@pytest.fixture
def export(account: SimulatedAccount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The account's export, and the setting that leads to it."""
    folder = tmp_path / "export"
    account.write_export(folder)
    monkeypatch.setenv("SOURCES__OMETRIA__BUCKET_URL", folder.as_uri())
    return folder


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for an export, and the setting that leads to it."""
    folder = tmp_path / "bucket"
    folder.mkdir()
    monkeypatch.setenv("SOURCES__OMETRIA__BUCKET_URL", folder.as_uri())
    return folder


@pytest.fixture
def small_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """A csv file of a few rows is read in several parts, as a large one is."""
    monkeypatch.setattr(compression, "PIECE_BYTES", 100)
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 100)
    monkeypatch.setattr(encodings, "_HEAD_BYTES", 100)


@pytest.fixture
def refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for another attempt at what is refused; each scan is complete."""
    monkeypatch.setenv("LOAD__RAISE_ON_MAX_RETRIES", "1")
    monkeypatch.setattr(destinations, "WAIT", wait_none())
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")


@dataclass
class Run:
    """A run of the program: its exit status, and what it printed."""

    status: int
    out: str
    err: str


@contextmanager
def open_databases() -> Iterator[None]:
    """Keep each file of DuckDB open that is connected to, as another connection would.

    To open one takes 26 ms of the processor, which a run does twenty times.
    """
    connect, kept = duckdb.connect, {}

    def connect_and_keep(database: str = ":memory:", **options: Any) -> duckdb.DuckDBPyConnection:
        connection = connect(database, **options)
        if database != ":memory:" and database not in kept:
            # a cursor would be closed with its connection
            kept[database] = connect(database, **options)
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duckdb, "connect", connect_and_keep)
        try:
            yield
        finally:
            for connection in kept.values():
                connection.close()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Run the program with these flags."""

    def run_program(*flags: str) -> Run:
        capsys.readouterr()
        for handler in logging.getLogger("dlt").handlers:
            # dlt writes to the standard error of the test in which it was first used, which is closed by now
            if isinstance(handler, logging.StreamHandler) and handler.stream.closed:
                handler.stream = sys.stderr
        with open_databases():
            try:
                status = main(flags)
            except SystemExit as stop:
                status = int(stop.code or 0)
        return Run(status, *capsys.readouterr())

    return run_program


@pytest.fixture
def load(run: Callable[..., Run]) -> Callable[..., Run]:
    """Run the program, which must succeed."""

    def load_tables(*flags: str) -> Run:
        result = run(*flags)
        assert result.status == 0, result
        return result

    return load_tables


@dataclass(frozen=True)
class Warehouse:
    """What a run left in DuckDB."""

    path: Path

    def rows(self, table: str, dataset: str = "ometria") -> list[dict[str, Any]]:
        """The rows of a table; JSON columns are parsed."""
        with duckdb.connect(str(self.path), read_only=True) as connection:
            relation = connection.sql(f'SELECT * FROM "{dataset}"."{table}"')
            json_columns = [
                name for name, kind in zip(relation.columns, relation.types, strict=True) if str(kind) == "JSON"
            ]
            rows: list[dict[str, Any]] = relation.to_arrow_table().to_pylist()
        for row in rows:
            for name in json_columns:
                row[name] = None if row[name] is None else json.loads(row[name])
        return rows

    def tables(self, dataset: str = "ometria") -> set[str]:
        """The tables of a dataset, without dlt's own."""
        with duckdb.connect(str(self.path), read_only=True) as connection:
            names = connection.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = ?", [dataset]
            ).fetchall()
        return {name for (name,) in names if not name.startswith("_dlt")}

    def types(self, table: str, dataset: str = "ometria") -> dict[str, str]:
        """The type of each column."""
        with duckdb.connect(str(self.path), read_only=True) as connection:
            relation = connection.sql(f'SELECT * FROM "{dataset}"."{table}"')
            return dict(zip(relation.columns, map(str, relation.types), strict=True))


@pytest.fixture
def warehouse(workspace: Path) -> Warehouse:
    """The database that a run of the program writes to."""
    return Warehouse(workspace / "ometria_pipeline.duckdb")
