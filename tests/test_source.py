"""The source as a notebook or an orchestrator meets it."""

from __future__ import annotations

import inspect
import socket
from datetime import datetime, timedelta, timezone

import dlt
import pytest
import truth
from dlt.pipeline.exceptions import PipelineStepFailed
from examples import few

import ometria_source as package
from ometria_source import InvalidSettingError, MissingSettingError, ometria_source
from ometria_source.simulator import Behaviour
from ometria_source.tables import DOCUMENTED


@pytest.fixture
def pipeline(workspace) -> dlt.Pipeline:
    return dlt.pipeline("ometria_pipeline", destination="duckdb", dataset_name="ometria")


def cause_of(error: BaseException) -> BaseException:
    while error.__cause__:
        error = error.__cause__
    return error


def test_the_public_names_are_exactly_all():
    public = [name for name in dir(package) if not name.startswith("_")]
    assert sorted(public) == sorted(package.__all__)
    assert not [name for name in public if inspect.ismodule(getattr(package, name))]


# Not selected by default.
ON_DEMAND = {
    "email_event_files",
    "collections",
    "contacts",
    "orders",
    "products",
    "custom_events",
    "data_deletion_requests",
    "list_changes",
    "push_errors",
}


def test_the_source_touches_neither_network_nor_files(workspace, monkeypatch):
    def no_network(*_: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    source = ometria_source(api_key="k", bucket_url="s3://nowhere-at-all/prefix")
    assert set(source.resources) == {
        "profiles",
        "lists",
        "member_lists",
        "unsubscribes",
        "email_events",
        *ON_DEMAND,
    }
    assert set(source.selected_resources) == set(source.resources) - ON_DEMAND
    assert not list(workspace.iterdir())


def test_without_a_bucket_the_export_is_not_selected():
    assert "email_events" not in ometria_source(api_key="k").selected_resources


def test_every_table_merges_on_its_key():
    tables = {
        name: resource.compute_table_schema()
        for name, resource in ometria_source(bucket_url="s3://b/p").resources.items()
    }
    keys = {
        name: [column for column, hints in table["columns"].items() if hints.get("primary_key")]
        for name, table in tables.items()
    }
    assert keys == {
        "profiles": ["profile_id"],
        "lists": ["list_id"],
        "member_lists": ["list_id", "profile_id"],
        "unsubscribes": ["unsubscribe_id"],
        "email_events": ["event_key"],
        "email_event_files": ["file_path"],
        "collections": ["collection"],
        "contacts": ["collection", "contact_id"],
        "orders": ["order_id"],
        "products": ["product_id"],
        "custom_events": ["custom_event_id"],
        "data_deletion_requests": ["request_id"],
        "list_changes": ["list_change_id"],
        "push_errors": ["push_error_id"],
    }
    assert {name for name, table in tables.items() if table["write_disposition"] == "merge"} == set(tables) - {
        "email_event_files"
    }


def test_every_column_is_described():
    for table, columns in DOCUMENTED.items():
        for column, hints in columns.items():
            assert hints.get("description"), f"{table}.{column}"
            assert hints.get("data_type"), f"{table}.{column}"


def test_a_bad_setting_is_an_error_at_the_call():
    with pytest.raises(InvalidSettingError, match="end_date"):
        ometria_source(start_date="2024-02-01", end_date=datetime(2024, 1, 1, tzinfo=timezone.utc))


def test_a_missing_key_is_an_error_when_a_table_that_needs_it_is_read(pipeline):
    with pytest.raises(PipelineStepFailed) as failure:
        pipeline.run(ometria_source().with_resources("lists"))
    assert isinstance(cause_of(failure.value), MissingSettingError)


def test_one_run_of_all_resources_loads_the_account_and_shares_the_scan_of_the_profiles(
    account, ometria, export, pipeline, warehouse
):
    ometria.behaviour = Behaviour(members_path=None)
    pipeline.run(ometria_source())
    truth.assert_equal(warehouse, account)
    assert [request.query["offset"] for request in ometria.requests_to("/profiles")].count("0") == 1


def test_with_resources_loads_only_these(account, ometria, pipeline, warehouse):
    pipeline.run(ometria_source().with_resources("lists", "unsubscribes"))
    assert warehouse.tables() == {"lists", "unsubscribes"}
    truth.assert_unsubscribes(warehouse, account)


def test_a_limit_neither_removes_rows_nor_moves_a_watermark(account, ometria, export, load, warehouse):
    load()
    before = watermarks()
    ids = list(account.profiles)
    account.erase_profile(ids[0])
    account.empty_list("77")
    account.delete_list("1000")
    account.unsubscribe(ids[5])
    for limit in (1, 1000):
        source = ometria_source(full_scan_days=0).with_resources("profiles", "lists", "member_lists", "unsubscribes")
        dlt.attach("ometria_pipeline").run(source.add_limit(limit))

    assert ids[0] in {row["profile_id"] for row in warehouse.rows("profiles")}
    assert {"77", "1000"} <= {row["list_id"] for row in warehouse.rows("lists")}
    assert {"77", "1000"} <= {row["list_id"] for row in warehouse.rows("member_lists")}
    assert watermarks() == before


def watermarks() -> dict[str, str]:
    """What the state says of where to go on; dlt notes there where each run started, too."""
    state = dlt.attach("ometria_pipeline").state["sources"]["ometria"]["resources"]
    found = {name: str(state[name]) for name in ("profiles", "lists", "member_lists")}
    return {**found, "unsubscribes": str(state["unsubscribes"]["incremental"]["_cursor"]["last_value"])}


def test_a_limited_run_doubles_no_member(account, ometria, load, warehouse):
    load("--tables", "member_lists")
    dlt.attach("ometria_pipeline").run(ometria_source(full_scan_days=0).with_resources("member_lists").add_limit(2))
    truth.assert_members(warehouse, account)


def test_a_backfill_of_unsubscribes_reads_its_window_and_leaves_the_cursor_alone(account, ometria, load, warehouse):
    newest = max(truth.utc(row["timestamp"]) for row in account.unsubscribes)
    middle = sorted(truth.utc(row["timestamp"]) for row in account.unsubscribes)[30]
    load("--tables", "unsubscribes", "--start-date", "2020-01-01", "--end-date", middle.isoformat())
    found = [row["timestamp"] for row in warehouse.rows("unsubscribes")]
    assert len(found) == sum(truth.utc(row["timestamp"]) < middle for row in account.unsubscribes)
    assert newest not in found
    load("--tables", "unsubscribes")
    truth.assert_unsubscribes(warehouse, account)


def test_a_future_or_unreadable_timestamp_is_loaded_and_never_becomes_the_cursor(account, ometria, load, warehouse):
    ids = list(account.profiles)
    account.unsubscribe(ids[0], at="2099-01-01 00:00:00+00")
    account.unsubscribe(ids[1], at="the day before yesterday")
    result = load("--tables", "unsubscribes")
    assert "2 rows have a timestamp that is in the future or unreadable" in result.out
    late = account.unsubscribe(ids[2])
    load("--tables", "unsubscribes")

    rows = {row["profile_id"]: row for row in warehouse.rows("unsubscribes") if row["profile_id"] in ids[:3]}
    assert rows[ids[0]]["_cursor"] is None
    assert rows[ids[0]]["timestamp"] == truth.utc("2099-01-01T00:00:00Z")
    assert rows[ids[1]]["timestamp__v_text"] == "the day before yesterday"
    assert rows[ids[2]]["timestamp"] == truth.utc(late["timestamp"])


@pytest.mark.parametrize("table", few(["unsubscribes", "email_events"]))
def test_another_start_date_later_on_is_reported_as_having_no_effect(ometria, export, load, table):
    load("--tables", table, "--start-date", "2025-01-01")
    for other in ("2020-01-01", "2026-11-01"):
        assert "has no effect" in load("--tables", table, "--start-date", other).out
    assert "has no effect" not in load("--tables", table, "--start-date", "2025-01-01").out
    assert "has no effect" not in load("--tables", table).out


def test_a_later_start_date_skips_nothing(account, ometria, load, warehouse):
    account.unsubscribes[:] = [
        row for row in account.unsubscribes if truth.utc(row["timestamp"]) < days_ago(account, 20)
    ]
    load("--tables", "unsubscribes")
    account.unsubscribe(list(account.profiles)[0], at=days_ago(account, 10))
    account.unsubscribe(list(account.profiles)[1])
    load("--tables", "unsubscribes", "--start-date", days_ago(account, 1).isoformat())
    truth.assert_unsubscribes(warehouse, account)


def days_ago(account, days: int) -> datetime:
    return account.now - timedelta(days=days)


def test_a_table_that_began_at_a_start_date_never_reaches_back_before_it(account, ometria, load, warehouse):
    start = days_ago(account, 1)
    for _ in range(2):
        load("--tables", "unsubscribes", "--start-date", start.isoformat())
        expected = sum(truth.utc(row["timestamp"]) >= start for row in account.unsubscribes)
        assert len(warehouse.rows("unsubscribes")) == expected
        account.unsubscribe(list(account.profiles)[0])


def test_a_part_that_meets_another_field_overwrites_nothing(account, ometria, load, warehouse):
    first = list(account.profiles)[0]
    account.update_profile(
        first, dates__acquired="odd", phone_number={"number": "+44", "country_code": "GB", "kind": "mobile"}
    )
    load("--tables", "profiles")
    row = next(row for row in warehouse.rows("profiles") if row["profile_id"] == first)
    assert row["dates__acquired"] == truth.utc(account.profiles[first]["dates"]["acquired"])
    assert row["dates__acquired_d6844e07"] == "odd"
    assert (row["phone_number"], row["phone_number_country"], row["phone_number__kind"]) == ("+44", "GB", "mobile")


@pytest.mark.parametrize(
    ("fields", "clash"),
    [
        ({"customerId": "customer_id_d0633e25", "Profile-Id": "profile_id_ff13c3c5"}, True),
        ({"newField": "new_field", "@odd": "odd"}, False),
    ],
)
def test_a_field_that_clashes_with_a_column_is_kept_under_another_name(
    account, ometria, load, warehouse, fields, clash
):
    account.update_profile(list(account.profiles)[0], **dict.fromkeys(fields, "kept"))
    result = load("--tables", "profiles")
    row = next(row for row in warehouse.rows("profiles") if row["profile_id"] == list(account.profiles)[0])
    assert {row[column] for column in fields.values()} == {"kept"}
    assert row["customer_id"] == "0042"
    assert result.out.count("another column") == (len(fields) if clash else 0)


def test_a_date_of_birth_that_is_none_goes_to_a_variant_column(account, ometria, load, warehouse):
    account.update_profile(list(account.profiles)[0], date_of_birth="1990-13-45")
    load("--tables", "profiles")
    row = next(row for row in warehouse.rows("profiles") if row["profile_id"] == list(account.profiles)[0])
    assert (row["date_of_birth"], row["date_of_birth__v_text"]) == (None, "1990-13-45")


def test_country_id_fills_country_where_that_is_absent(account, ometria, load, warehouse):
    ids = list(account.profiles)
    account.update_profile(ids[0], country=None, country_id="PT")
    load("--tables", "profiles")
    assert next(row for row in warehouse.rows("profiles") if row["profile_id"] == ids[0])["country"] == "PT"


def test_every_documented_timestamp_form_is_the_same_instant(account, ometria, load, warehouse):
    forms = [
        "2024-03-05T10:20:30+00:00",
        "2024-03-05 10:20:30+00",
        "2024-03-05T12:20:30+02:00",
        "2024-03-05T10:20:30Z",
        "2024-03-05 10:20:30.000000+00",
        "2024-03-05T10:20:30",
    ]
    people = dict(zip(account.profiles, forms, strict=False))
    account.unsubscribes.clear()
    for person, text in people.items():
        account.update_profile(person, dates={"acquired": text})
        account.unsubscribe(person, at=text)
    load("--tables", "profiles,unsubscribes")
    instant = truth.utc("2024-03-05T10:20:30Z")
    for table, column in (("profiles", "dates__acquired"), ("unsubscribes", "timestamp")):
        found = {row["profile_id"]: row[column] for row in warehouse.rows(table) if row["profile_id"] in people}
        assert found == dict.fromkeys(people, instant)
