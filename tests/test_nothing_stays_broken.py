"""A package that is refused, a table that was changed by hand, a run that ended half-way: the next run is right again.

Each fault is met through the program and through `load()`.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from unittest.mock import patch

import dlt
import pytest
import truth
from dlt.destinations.impl.duckdb.duck import DuckDbClient
from ways import assert_restored_schema_is_local, at_destination, refusing

import ometria_source
from ometria_source import InvalidSettingError
from ometria_source.simulator import SimulatedAccount

pytestmark = pytest.mark.usefixtures("refused_at_once")


@pytest.fixture
def account() -> SimulatedAccount:
    """Small: what is tested does not depend on numbers."""
    return SimulatedAccount.invent(30, now=datetime.now(timezone.utc) - timedelta(hours=1))


def test_a_refused_package_keeps_no_other_table_from_loading(account, ometria, warehouse, go, tmp_path):
    """A value that cannot be cast."""
    assert go("lists,unsubscribes") == {}
    at_destination(warehouse, "ALTER TABLE ometria.lists ALTER title TYPE INTEGER USING NULL")
    account.unsubscribe(list(account.profiles)[0])

    errors = go("lists,unsubscribes")

    assert list(errors) == ["lists"]
    assert "refused" in errors["lists"]
    truth.assert_unsubscribes(warehouse, account)
    assert not dlt.attach("ometria_pipeline").has_pending_data
    assert_restored_schema_is_local(tmp_path)
    at_destination(warehouse, "ALTER TABLE ometria.lists ALTER title TYPE VARCHAR")
    assert go("lists") == {}
    truth.assert_lists(warehouse, account)


def test_a_table_that_cannot_be_altered_keeps_no_other_from_loading(account, ometria, warehouse, go, tmp_path):
    assert go("lists,unsubscribes") == {}
    # a view cannot be given a column
    rename = "ALTER TABLE ometria.{} RENAME TO {}"
    view = "CREATE VIEW ometria.lists AS SELECT * FROM ometria.kept"
    at_destination(warehouse, rename.format("lists", "kept"), view)
    for item in account.lists.values():
        item["owner"] = "Ada"
    account.unsubscribe(list(account.profiles)[0])

    errors = go("lists,unsubscribes")

    assert list(errors) == ["lists"]
    assert "refused" in errors["lists"]
    truth.assert_unsubscribes(warehouse, account)
    assert_restored_schema_is_local(tmp_path)
    at_destination(warehouse, "DROP VIEW ometria.lists", rename.format("kept", "lists"))
    assert go("lists") == {}
    assert {row["owner"] for row in warehouse.rows("lists")} == {"Ada"}


def test_a_full_refresh_that_is_refused_after_its_drop_is_read_whole_by_the_next_run(
    account, ometria, export, warehouse, go, tmp_path
):
    assert go("unsubscribes,email_events") == {}
    with refusing("create_load_job", "unsubscribes"):
        errors = go("unsubscribes,email_events", full_refresh=True)
    assert list(errors) == ["unsubscribes"]
    truth.assert_events(warehouse, account)
    local = dlt.attach("ometria_pipeline")
    assert "unsubscribes" not in local.state["sources"]["ometria"]["resources"]
    assert "unsubscribes" not in local.default_schema.tables
    assert_restored_schema_is_local(tmp_path)

    assert go("unsubscribes") == {}
    truth.assert_unsubscribes(warehouse, account)


def test_a_full_refresh_that_is_refused_before_its_drop_keeps_rows_and_state(account, ometria, warehouse, go, tmp_path):
    assert go("unsubscribes") == {}
    state = dlt.attach("ometria_pipeline").state["sources"]
    with refusing("verify_schema", "unsubscribes"):
        assert list(go("unsubscribes", full_refresh=True)) == ["unsubscribes"]
    truth.assert_unsubscribes(warehouse, account)
    assert dlt.attach("ometria_pipeline").state["sources"] == state
    assert_restored_schema_is_local(tmp_path)
    account.unsubscribe(list(account.profiles)[0])
    assert go("unsubscribes") == {}
    truth.assert_unsubscribes(warehouse, account)


def test_a_first_load_that_is_refused_is_loaded_later_under_the_same_rules(
    account, ometria, warehouse, go, monkeypatch, tmp_path
):
    monkeypatch.setenv("SOURCES__OMETRIA__PRIVACY", "strict")
    monkeypatch.setenv("SOURCES__OMETRIA__PII_SALT", "an invented salt of tests")
    assert go("lists") == {}
    with refusing("create_load_job", "unsubscribes"):
        assert list(go("lists,unsubscribes")) == ["unsubscribes"]
    assert_restored_schema_is_local(tmp_path)
    assert go("lists,unsubscribes") == {}
    assert len(warehouse.rows("unsubscribes")) == len(account.unsubscribes)


def test_a_full_refresh_whose_drop_is_refused_leaves_no_column_that_is_not_there(account, ometria, warehouse, go):
    """As PostgreSQL refuses to drop a table that a view is made of."""
    assert go("unsubscribes,lists") == {}
    for event in account.unsubscribes:
        event["shop"] = "Leeds"
    with refusing("drop_tables", "unsubscribes"):
        assert list(go("unsubscribes", full_refresh=True)) == ["unsubscribes"]
    assert go("lists,unsubscribes") == {}
    assert go("unsubscribes", full_refresh=True) == {}
    assert {row["shop"] for row in warehouse.rows("unsubscribes")} == {"Leeds"}


@pytest.mark.parametrize(
    ("statement", "missing"),
    [
        ("DROP TABLE ometria.unsubscribes", "the table `unsubscribes` is missing"),
        ("ALTER TABLE ometria.unsubscribes RENAME TO kept", "the table `unsubscribes` is missing"),
        ("ALTER TABLE ometria.unsubscribes DROP reason", "`reason` are missing"),
    ],
    ids=["dropped", "renamed", "column dropped"],
)
def test_a_table_that_was_changed_by_hand_fails_alone_until_a_full_refresh(
    account, ometria, warehouse, go, statement, missing
):
    assert go("lists,unsubscribes") == {}
    at_destination(warehouse, statement)
    account.unsubscribe(list(account.profiles)[0])
    account.update_list("77", title="Changed title")

    errors = go("lists,unsubscribes")

    assert list(errors) == ["unsubscribes"]
    assert missing in errors["unsubscribes"]
    truth.assert_lists(warehouse, account)
    assert go("unsubscribes", full_refresh=True) == {}
    truth.assert_unsubscribes(warehouse, account)


def test_a_full_refresh_discards_what_is_pending_of_its_table(account, ometria, warehouse, go):
    assert go("unsubscribes") == {}
    dlt.attach("ometria_pipeline").extract(ometria_source.ometria_source().with_resources("unsubscribes"))
    at_destination(warehouse, "DROP TABLE ometria.unsubscribes")
    assert go("unsubscribes", full_refresh=True) == {}
    truth.assert_unsubscribes(warehouse, account)


def test_trying_another_destination_costs_nothing_of_this_one(account, ometria, warehouse, go, monkeypatch, tmp_path):
    assert go("unsubscribes") == {}
    folder = tmp_path / "dlt" / "pipelines" / "ometria_pipeline"
    before = (folder / "state.json").read_text()
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(tmp_path / "no" / "such" / "folder.duckdb"))

    errors = go("unsubscribes")

    assert "does not answer" in errors["run"]
    assert (folder / "state.json").read_text() == before
    monkeypatch.delenv("DESTINATION__DUCKDB__CREDENTIALS")
    assert len(dlt.attach("ometria_pipeline").dataset()["unsubscribes"].df()) == len(account.unsubscribes)


def test_a_contract_that_is_violated_fails_its_table_only(account, ometria, warehouse, go, monkeypatch):
    assert go("lists,unsubscribes") == {}
    monkeypatch.setenv("SOURCES__OMETRIA__SCHEMA_CONTRACT", "freeze")
    for item in account.lists.values():
        item["owner"] = "Ada"
    account.unsubscribe(list(account.profiles)[0])
    errors = go("lists,unsubscribes")
    assert list(errors) == ["lists"]
    assert "`lists` would get the new column `owner`" in errors["lists"]
    truth.assert_unsubscribes(warehouse, account)


def test_another_key_of_events_is_refused_until_a_full_refresh(account, ometria, export, warehouse, run, load):
    ometria_source.load("email_events", email_events_key=["event_id"]).raise_for_failures()
    with pytest.raises(InvalidSettingError, match="`email_events_key` is not what it was"):
        ometria_source.load("email_events", email_events_key=["event_id", "event_type"])
    result = run("--tables", "email_events")
    assert result.status == 2
    assert "`--tables email_events --full-refresh`" in result.err
    # dlt's own way is refused too
    with pytest.raises(Exception, match="email_events_key"):
        dlt.attach("ometria_pipeline").run(ometria_source.ometria_source().with_resources("email_events"))
    load("--tables", "email_events", "--full-refresh")
    truth.assert_events(warehouse, account)


def test_a_full_refresh_that_is_killed_before_its_drop_with_a_folder_that_is_lost(
    account, ometria, warehouse, go, tmp_path
):
    """The schema at the destination has a column that was never made."""
    assert go("lists") == {}
    for item in account.lists.values():
        item["owner"] = "Ada"
    with (
        patch.object(DuckDbClient, "drop_tables", side_effect=KeyboardInterrupt),
        suppress(KeyboardInterrupt, AssertionError),
    ):
        go("lists", full_refresh=True)
    shutil.rmtree(tmp_path / "dlt")
    assert go("lists") == {}
    truth.assert_lists(warehouse, account)
    assert {row["owner"] for row in warehouse.rows("lists")} == {"Ada"}


def test_the_table_of_schemas_that_was_dropped_by_hand_is_made_again(account, ometria, warehouse, go, tmp_path):
    assert go("lists,unsubscribes") == {}
    at_destination(warehouse, "DROP TABLE ometria._dlt_version")
    account.update_list("77", title="Changed title")
    assert go("lists,unsubscribes") == {}
    truth.assert_lists(warehouse, account)
    truth.assert_unsubscribes(warehouse, account)
    assert_restored_schema_is_local(tmp_path)


def test_a_table_that_cannot_be_read_fails_alone(account, ometria, warehouse, go):
    assert go("lists,unsubscribes") == {}
    rename = "ALTER TABLE ometria.{} RENAME TO {}"
    broken = "CREATE VIEW ometria.lists AS SELECT * FROM ometria.kept"
    at_destination(warehouse, rename.format("lists", "kept"), broken, rename.format("kept", "lost"))
    account.unsubscribe(list(account.profiles)[0])
    assert list(go("lists,unsubscribes")) == ["lists"]
    truth.assert_unsubscribes(warehouse, account)
    at_destination(warehouse, "DROP VIEW ometria.lists", rename.format("lost", "lists"))
    assert go("lists") == {}
    truth.assert_lists(warehouse, account)
