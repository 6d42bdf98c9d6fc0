"""What the tables must hold, worked out from the simulated account without any code of the loader."""

from __future__ import annotations

import math
import re
from datetime import date, datetime, timezone
from typing import Any

from conftest import Warehouse

from ometria_source.simulator import SimulatedAccount

PROFILE_COLUMNS = {"id": "profile_id", "name": "customer_name", "firstname": "first_name", "lastname": "last_name"}
LIST_COLUMNS = {"id": "list_id"}


def utc(text: str) -> datetime:
    """An instant in any of the forms that Ometria documents."""
    padded = re.sub(r"([+-]\d\d)$", r"\1:00", text.replace("Z", "+00:00"))
    return datetime.fromisoformat(padded).astimezone(timezone.utc)


def assert_profiles(warehouse: Warehouse, account: SimulatedAccount, dataset: str = "ometria") -> None:
    """Every cell of `profiles` equals the account's value, and no row is missing, doubled or left over."""
    rows = warehouse.rows("profiles", dataset)
    by_id = {row["profile_id"]: row for row in rows}
    assert len(by_id) == len(rows)
    assert by_id.keys() == set(account.profiles)
    for identifier in account.profiles:
        assert_row(by_id[identifier], _flat_profile(account.profiles[identifier]))


def _flat_profile(profile: dict[str, Any]) -> dict[str, Any]:
    expected: dict[str, Any] = {}
    for field, value in profile.items():
        if field in ("dates", "stats"):
            for part, inner in (value or {}).items():
                is_instant = field == "dates" and inner is not None
                expected[f"{field}__{part}"] = utc(inner) if is_instant else inner
        elif field == "phone_number" and isinstance(value, dict):
            expected["phone_number"] = value["number"]
            expected["phone_number_country"] = value["country_code"]
        elif field == "date_of_birth" and value is not None:
            expected[field] = date.fromisoformat(value)
        elif field != "@type":
            expected[PROFILE_COLUMNS.get(field, field)] = value
    return expected


def assert_lists(warehouse: Warehouse, account: SimulatedAccount, dataset: str = "ometria") -> None:
    """Every cell of `lists` equals the account's value."""
    rows = warehouse.rows("lists", dataset)
    by_id = {row["list_id"]: row for row in rows}
    assert len(by_id) == len(rows)
    assert by_id.keys() == account.lists.keys()
    for identifier, item in account.lists.items():
        expected = {
            LIST_COLUMNS.get(field, field): utc(value) if field.startswith("timestamp_") and value else value
            for field, value in item.items()
            if field != "@type"
        }
        assert_row(by_id[identifier], expected)


def assert_members(warehouse: Warehouse, account: SimulatedAccount, dataset: str = "ometria") -> None:
    """`member_lists` holds each pair of the account once, and no other."""
    rows = [(row["list_id"], row["profile_id"]) for row in warehouse.rows("member_lists", dataset)]
    expected = [(list_id, member) for list_id, members in account.members.items() for member in members]
    assert sorted(rows) == sorted(expected)


def assert_unsubscribes(warehouse: Warehouse, account: SimulatedAccount, dataset: str = "ometria") -> None:
    """`unsubscribes` holds each opt-out of the account once, with every cell."""
    rows = warehouse.rows("unsubscribes", dataset)
    columns = ("profile_id", "email_address", "type", "reason", "send_id", "mass_campaign_id")
    found = [tuple(row[name] for name in columns) + (row["timestamp"].astimezone(timezone.utc),) for row in rows]
    expected = [tuple(row.get(name) for name in columns) + (utc(row["timestamp"]),) for row in account.unsubscribes]
    assert sorted(found, key=repr) == sorted(expected, key=repr)
    assert len({row["unsubscribe_id"] for row in rows}) == len(rows)


def assert_events(warehouse: Warehouse, account: SimulatedAccount, dataset: str = "ometria") -> None:
    """`email_events` holds each event of the account once, with every cell as it was written."""
    names = sorted({name for event in account.events for name in event})
    found = [tuple(row[name] for name in names) for row in warehouse.rows("email_events", dataset)]
    expected = [tuple(event[name] for name in names) for event in account.events]
    assert sorted(found, key=repr) == sorted(expected, key=repr)


def assert_equal(warehouse: Warehouse, account: SimulatedAccount, dataset: str = "ometria") -> None:
    """All five tables equal the account."""
    assert_profiles(warehouse, account, dataset)
    assert_lists(warehouse, account, dataset)
    assert_members(warehouse, account, dataset)
    assert_unsubscribes(warehouse, account, dataset)
    assert_events(warehouse, account, dataset)


def assert_row(row: dict[str, Any], expected: dict[str, Any]) -> None:
    for column, value in expected.items():
        found = row[column]
        if isinstance(value, float) and found is not None:
            assert math.isclose(found, value, rel_tol=1e-15), column
        elif isinstance(value, datetime):
            assert found.astimezone(timezone.utc) == value, column
        else:
            assert found == value, column
    for column in row.keys() - expected.keys():
        assert column.startswith("_dlt") or row[column] is None, column
