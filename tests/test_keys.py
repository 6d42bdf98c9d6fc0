"""The keys of logs are hashes: a row that was loaded by any earlier version keeps the key that it had."""

from __future__ import annotations

import json

import pytest
from raw_api import page, serving

# As they are read, or not: the documented form, others of ISO 8601, a fraction that a timestamp does not hold.
TIMES = (
    "2024-01-01 10:10:10+00", "20240101T101010Z", "2024/01/01 10:10:10", "2024-W01-1", "20240102", "2024",
    "2024-01-01T10:10:10.1234567Z", "2024-01-01T10:10:10.123456000Z", "1704103811", "yesterday", "", None, 7,
)  # fmt: skip

# Made by the version of commit 84636bf, by the time's index.
EARLIER = {
    "unsubscribes": [
        "5ebbe277ffae3a22", "6d4271eaaeaf8e82", "abafcd5a87e703a2", "ccbc7e0054f0d97d", "4e5c82a31bac9d2c",
        "e6111d8d485dcf93", "30a813383fe7922e", "769daa0b606da4cc", "73fc3a38dda12308", "d33ebe8cd3b93ae9",
        "c5f392033a80ab3e", "00dfa95885c0f8e9", "d494692a9ae415bb",
    ],
    "list_changes": [
        "3214aded7e22c3fe", "a619807e03df8ec2", "1376bb3821e5cadf", "aa76a99e030119d2", "34f872e99539a3da",
        "8cb4708a7de07796", "6cd6adfcba5e863c", "c9bdefe92c69d0f4", "34152da7a2acc812", "99b8c2d928d51efb",
        "7e9f59c2fb6fd4bc", "25108f5c17af1282", "10eacdd2d7f69919",
    ],
    "push_errors": [
        "96bb89db64c38c03", "4e9c4a780d5c39cc", "15e630b69a2a2106", "b2cd7f941168e4ac", "ebf64c7f69bbbdcb",
        "2db580ac8b7a54e4", "952e93ff09fb62d4", "5cff26bf870dd082", "28545b07212fe28c", "3b4ee613aca6dacb",
        "88306b400ac35e92", "1883c33adf02a993", "202d8602fb9dc97e",
    ],
}  # fmt: skip


@pytest.fixture
def logs(monkeypatch):
    """An account with one row of each log for each time."""
    rows = {
        "/unsubscribes": [
            {"profile_id": str(n), "email_address": f"{n}@shop.test", "type": "app", "timestamp": time, "n": n}
            for n, time in enumerate(TIMES)
        ],
        "/lists": [{"id": "1", "size": 1}],
        "/lists/1/changes": [
            {"profile_id": str(n), "event": "list_enter", "timestamp": time, "n": n} for n, time in enumerate(TIMES)
        ],
        "/push/_errors": [
            {"error_message": "invalid", "error_path": "a", "timestamp": time, "timestamp_acquired": time, "n": n}
            for n, time in enumerate(TIMES)
        ],
    }
    with serving(lambda path, query: page(rows[path], {"limit": "250", **query})) as address:
        monkeypatch.setenv("SOURCES__OMETRIA__API_KEY", "key")
        monkeypatch.setenv("SOURCES__OMETRIA__BASE_URL", address)
        yield


@pytest.mark.slow
def test_keys_are_those_of_earlier_versions(logs, load, warehouse):
    """Also of a row whose time goes to the variant now."""
    load("--tables", "unsubscribes,list_changes,push_errors")
    keys = {"unsubscribes": "unsubscribe_id", "list_changes": "list_change_id", "push_errors": "push_error_id"}

    found = {}
    for table, key in keys.items():
        rows = sorted(warehouse.rows(table), key=lambda row: row["n"])
        assert [row["n"] for row in rows] == list(range(len(TIMES)))
        found[table] = [row[key][:16] for row in rows]

    assert found == EARLIER, json.dumps(found)
