"""Documented columns keep their types, whatever an account sends; no value is lost."""

from __future__ import annotations

import sqlite3

import pytest

from ometria_source.tables import lists, profiles, unsubscribes

# A field of the API, what it comes as, and where its value ends up.
PROFILE_VALUES = [
    ("email", {"address": "a"}, "email__v_json"),
    ("customer_id", ["a", "b"], "customer_id__v_json"),
    ("gender", 5, "gender"),
    ("marketing_optin", "perhaps", "marketing_optin__v_text"),
    ("marketing_optin", 2, "marketing_optin__v_bigint"),
    ("seen", 1, "seen"),
    ("marketing_optin", {"email": True}, "marketing_optin__v_json"),
    ("date_of_birth", "spring", "date_of_birth__v_text"),
    ("date_of_birth", 19900101, "date_of_birth__v_bigint"),
    ("date_of_birth", {"year": 1990}, "date_of_birth__v_json"),
    ("tags", "vip", "tags__v_text"),
    ("properties", 5, "properties__v_bigint"),
    ("properties", {"card": 10**20}, "properties"),
]
STATS = [
    ("orders", 1.5, "stats__orders__v_double"),
    ("orders", "abc", "stats__orders__v_text"),
    ("orders", 10**20, "stats__orders__v_text"),
    ("orders", 1e20, "stats__orders__v_double"),
    ("revenue", {"gross": {"eur": [1.5]}}, "stats__revenue__v_json"),
    ("revenue", "much", "stats__revenue__v_text"),
    ("future", {"a": {"b": {"c": 1}}}, "stats__future"),
]
DATES = [
    ("acquired", {"at": {"shop": "2024-01-01"}}, "dates__acquired__v_json"),
    ("acquired", "yesterday", "dates__acquired__v_text"),
]
DUCKDB_TYPES = {
    "text": "VARCHAR",
    "bigint": "BIGINT",
    "double": "DOUBLE",
    "bool": "BOOLEAN",
    "json": "JSON",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "date": "DATE",
}


@pytest.fixture
def hostile(account, ometria):
    """Each value in a profile of its own; also in the other tables, some."""
    ids = iter(list(account.profiles))
    columns = {}
    for field, value, column in PROFILE_VALUES:
        account.update_profile(identifier := next(ids), **{field: value})
        columns[identifier] = column
    for group, values in (("stats", STATS), ("dates", DATES)):
        for part, value, column in values:
            identifier = next(ids)
            account.update_profile(identifier, **{group: {**account.profiles[identifier][group], part: value}})
            columns[identifier] = column
    account.update_list("12", title={"en": "x"}, total_revenue="much", timestamp_created=[1])
    account.unsubscribes[0]["reason"] = {"code": 5}
    account.unsubscribes[1]["profile_id"] = {"id": 1}
    return columns


@pytest.mark.slow
def test_documented_columns_keep_their_types_on_duckdb(account, hostile, load, warehouse):
    load("--tables", "profiles,lists,unsubscribes")
    load("--tables", "profiles,lists,unsubscribes")
    for table, declared in (
        ("profiles", profiles.COLUMNS),
        ("lists", lists.COLUMNS),
        ("unsubscribes", unsubscribes.COLUMNS),
    ):
        types = warehouse.types(table)
        for name, column in declared.items():
            assert types[name] == DUCKDB_TYPES[column["data_type"]], name
    rows = {row["profile_id"]: row for row in warehouse.rows("profiles")}
    assert len(rows) == len(account.profiles)
    for identifier, column in hostile.items():
        assert rows[identifier][column] is not None, column
        if "__v_" in column:
            assert rows[identifier][column.split("__v_")[0]] is None, column
    assert len(warehouse.rows("lists")) == len(account.lists)
    assert len(warehouse.rows("unsubscribes")) == len(account.unsubscribes)


@pytest.mark.slow
def test_documented_columns_keep_their_types_on_sqlite(account, hostile, load, tmp_path, monkeypatch):
    path = tmp_path / "warehouse.db"
    monkeypatch.setenv("DESTINATION__SQLALCHEMY__CREDENTIALS", f"sqlite:///{path}")
    for _ in range(2):
        load("--tables", "profiles,lists,unsubscribes", "--destination", "sqlalchemy")
    with sqlite3.connect(path.with_name("warehouse__ometria.db")) as connection:
        connection.row_factory = sqlite3.Row
        rows = {row["profile_id"]: row for row in connection.execute("SELECT * FROM profiles")}
        types = {row["name"]: row["type"] for row in connection.execute("PRAGMA table_info(profiles)")}
    connection.close()
    assert len(rows) == len(account.profiles)
    for identifier, column in hostile.items():
        assert rows[identifier][column] is not None, column
    assert types["stats__orders"] == "BIGINT"
    assert types["tags"] == "JSON"
