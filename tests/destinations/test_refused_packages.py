"""What PostgreSQL refuses of one table keeps no other from loading, and is loaded once the cause is gone."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import psycopg2
import pytest
import truth

import ometria_source

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("refused_at_once")]

TABLES = ("lists", "profiles", "unsubscribes")


@pytest.fixture(params=["program", "load"])
def go(request, run, at_postgres, monkeypatch) -> Callable[[], dict[str, str]]:
    """Load the tables; the error of each that failed."""
    for name, value in at_postgres.settings.items():
        monkeypatch.setenv(name, value)

    def by_program() -> dict[str, str]:
        result = run(*at_postgres.arguments, "--tables", ",".join(TABLES))
        lines = result.out.splitlines()
        errors = {name: line for name in TABLES for line in lines if line.startswith(f"{name} was not loaded.")}
        assert result.status == (1 if errors else 0), result
        return errors

    def by_load() -> dict[str, str]:
        report = ometria_source.load(TABLES, destination="postgres", dataset=at_postgres.dataset)
        assert report.error is None
        return {name: table.error for name, table in report.tables.items() if table.error}

    return by_program if request.param == "program" else by_load


@pytest.fixture
def sql(at_postgres) -> Callable[[str], None]:
    """Run a statement as the owner of the server."""

    def execute(statement: str) -> None:
        connection = psycopg2.connect(at_postgres.settings["DESTINATION__POSTGRES__CREDENTIALS"])
        with connection, connection.cursor() as cursor:
            cursor.execute(statement.format(dataset=at_postgres.dataset))
        connection.close()

    return execute


@pytest.mark.parametrize("right", ["INSERT", "SELECT"])
def test_a_missing_right_on_one_table(account, ometria, at_postgres, go, sql, monkeypatch, right):
    assert go() == {}
    user = f"loader_{right}_{at_postgres.dataset}".lower()
    sql(f"CREATE ROLE {user} LOGIN")
    for schema in ("{dataset}", "{dataset}_staging"):
        sql(f"GRANT ALL ON SCHEMA {schema} TO {user}; GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {user}")
    sql(f"REVOKE {right} ON {{dataset}}.lists FROM {user}")
    address = urlsplit(at_postgres.settings["DESTINATION__POSTGRES__CREDENTIALS"])
    monkeypatch.setenv(
        "DESTINATION__POSTGRES__CREDENTIALS",
        address._replace(netloc=f"{user}:none@{address.hostname}:{address.port}").geturl(),
    )
    account.update_list("77", title="Changed title")
    account.unsubscribe(list(account.profiles)[0])

    errors = go()

    assert list(errors) == ["lists"]
    assert "refused" in errors["lists"]
    truth.assert_profiles(at_postgres, account)
    truth.assert_unsubscribes(at_postgres, account)
    sql(f"GRANT {right} ON {{dataset}}.lists TO {user}")
    assert go() == {}
    truth.assert_lists(at_postgres, account)


def test_a_name_that_no_column_may_have(account, ometria, at_postgres, go, monkeypatch):
    """PostgreSQL has a column `xmin` in each table by itself."""
    assert go() == {}
    people = list(account.profiles)
    account.update_profile(people[0], xmin=5, name="Changed Name")
    account.unsubscribe(people[1])

    errors = go()

    assert list(errors) == ["profiles"]
    assert "refused" in errors["profiles"]
    truth.assert_unsubscribes(at_postgres, account)
    account.update_profile(people[0], xmin=None)
    monkeypatch.setenv("SOURCES__OMETRIA__SCHEMA_CONTRACT", '{"columns": "discard_value"}')
    assert go() == {}
    names = {row["profile_id"]: row["customer_name"] for row in at_postgres.rows("profiles")}
    assert names == {person: account.profiles[person]["name"] for person in people}
    assert names[people[0]] == "Changed Name"


def test_a_view_on_a_table_of_which_all_rows_are_gone(account, ometria, at_postgres, go, sql, monkeypatch):
    """As dbt makes them: PostgreSQL drops no table on which a view depends."""
    monkeypatch.setenv("SOURCES__OMETRIA__ALLOW_DELETES", "true")
    assert go() == {}
    sql("CREATE VIEW {dataset}.titles AS SELECT title FROM {dataset}.lists")
    before = (account.lists.copy(), account.members.copy())
    for identifier in before[0]:
        account.delete_list(identifier)
    for person in list(account.profiles)[:2]:
        account.unsubscribe(person)
        assert go() == {}
        assert at_postgres.rows("lists") == []
        truth.assert_unsubscribes(at_postgres, account)
    account.lists.update(before[0])
    account.members.update(before[1])
    assert go() == {}
    truth.assert_lists(at_postgres, account)
