"""Each scenario on each destination: servers are started once for all, a test has a dataset of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from itertools import count
from pathlib import Path

import pytest

from destinations.places import Place
from destinations.servers import FAKESNOW_PYTHON, fakesnow, postgres, postgres_folder
from ometria_source.simulator import SimulatedAccount
from ometria_source.sync.destination import LOGS

HERE = Path(__file__).parent

CLIENTS = "dlt.destinations.impl"

# Of a real Snowflake account. Read now: each test begins without such variables.
LIVE_SNOWFLAKE = {name: value for name, value in os.environ.items() if name.startswith("DESTINATION__SNOWFLAKE__")}

_numbers = count(1)


@pytest.fixture
def account() -> SimulatedAccount:
    """Smaller than elsewhere: what differs from destination to destination needs no crowd."""
    return SimulatedAccount.invent(40, now=datetime.now(timezone.utc) - timedelta(hours=1))


@pytest.fixture
def dataset() -> str:
    """The servers are shared."""
    return f"ometria_{os.getpid()}_{next(_numbers)}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    programs = postgres_folder()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with postgres(programs) as connection:
        yield connection


@pytest.fixture(scope="session")
def fakesnow_server(tmp_path_factory) -> Iterator[str]:
    if FAKESNOW_PYTHON not in os.environ:
        pytest.skip(f"{FAKESNOW_PYTHON} names no Python with fakesnow[server]==0.12.1")
    with fakesnow(os.environ[FAKESNOW_PYTHON], tmp_path_factory.mktemp("fakesnow")) as connection:
        yield connection


@pytest.fixture
def at_duckdb(workspace: Path, dataset: str) -> Place:
    # named, because the pipeline that the tests look through would have a file of its own
    settings = {"DESTINATION__DUCKDB__CREDENTIALS": f"duckdb:///{workspace / 'warehouse.duckdb'}"}
    return Place("duckdb", dataset, settings, f"{CLIENTS}.duckdb.sql_client:DuckDbSqlClient")


@pytest.fixture
def at_postgres(postgres_server: str, dataset: str) -> Place:
    settings = {"DESTINATION__POSTGRES__CREDENTIALS": postgres_server}
    return Place("postgres", dataset, settings, f"{CLIENTS}.postgres.sql_client:Psycopg2SqlClient")


@pytest.fixture
def at_sqlalchemy(workspace: Path, dataset: str) -> Place:
    settings = {"DESTINATION__SQLALCHEMY__CREDENTIALS": f"sqlite:///{workspace / 'warehouse.sqlite'}"}
    client = f"{CLIENTS}.sqlalchemy.db_api_client:SqlalchemyClient"
    return Place("sqlalchemy", dataset, settings, client)


@pytest.fixture
def at_snowflake(fakesnow_server: str, dataset: str, monkeypatch: pytest.MonkeyPatch) -> Place:
    settings = {
        "DESTINATION__EMULATOR__DESTINATION_TYPE": "emulated_snowflake.emulated_snowflake",
        "DESTINATION__EMULATOR__CREDENTIALS": fakesnow_server,
        "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    monkeypatch.syspath_prepend(HERE)
    return Place("emulator", dataset, settings, f"{CLIENTS}.snowflake.sql_client:SnowflakeSqlClient")


@pytest.fixture
def at_live_snowflake(dataset: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A real account, in a dataset that is dropped afterwards."""
    if not LIVE_SNOWFLAKE:
        pytest.skip("no DESTINATION__SNOWFLAKE__CREDENTIALS__… in the environment")
    place = Place("snowflake", dataset, LIVE_SNOWFLAKE, f"{CLIENTS}.snowflake.sql_client:SnowflakeSqlClient")
    yield place
    for name, value in place.settings.items():
        monkeypatch.setenv(name, value)
    with place.pipeline().destination_client() as client:
        client.drop_storage()
        with client.with_staging_dataset():
            client.drop_storage()


@pytest.fixture
def at_delta(workspace: Path, dataset: str) -> Place:
    return files(workspace, dataset, "delta")


@pytest.fixture
def at_iceberg(workspace: Path, dataset: str) -> Place:
    return files(workspace, dataset, "iceberg")


def files(folder: Path, dataset: str, table_format: str) -> Place:
    lake = (folder / "lake").as_uri()
    catalogue = {"type": "sql", "uri": f"sqlite:///{folder / 'catalogue.sqlite'}", "warehouse": lake}
    settings = {
        "DESTINATION__FILESYSTEM__BUCKET_URL": lake,
        "ICEBERG_CATALOG__ICEBERG_CATALOG_CONFIG": json.dumps(catalogue),
    }
    client = f"{CLIENTS}.filesystem.sql_client:FilesystemSqlClient"
    return Place("filesystem", dataset, settings, client, table_format, LOGS)


@pytest.fixture(params=["duckdb", "postgres", "sqlalchemy", "snowflake", "live_snowflake", "delta", "iceberg"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A destination, and the settings that lead to it."""
    # before a server that is missing skips the test
    request.node.user_properties.append(("destination", request.param))
    chosen: Place = request.getfixturevalue(f"at_{request.param}")
    for name, value in chosen.settings.items():
        monkeypatch.setenv(name, value)
    request.node.user_properties.append(("strategies", chosen.strategies()))
    return chosen


@pytest.fixture
def load_there(place: Place, load: Callable[..., object]) -> Callable[..., object]:
    """Run the program, which must succeed."""
    return lambda *flags: load(*place.arguments, *flags)
