"""What must hold on every destination: the tables equal the account, whatever became of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
import truth
from destinations.places import declared_types

pytestmark = pytest.mark.slow

CHECKS = {
    "profiles": truth.assert_profiles,
    "lists": truth.assert_lists,
    "member_lists": truth.assert_members,
    "unsubscribes": truth.assert_unsubscribes,
    "email_events": truth.assert_events,
}


def assert_equal(place, account) -> None:
    for table in place.tables:
        CHECKS[table](place, account)


@pytest.fixture(autouse=True)
def every_scan_is_complete(monkeypatch) -> None:
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")


def test_first_load(account, ometria, export, place, load_there):
    load_there()
    assert_equal(place, account)
    for table in place.tables:
        declared = declared_types(table)
        stored = place.stored_types(table)
        expected = {name: place.weaker.get(kind, kind) for name, kind in declared.items() if name in stored}
        assert {name: stored[name] for name in expected} == expected
        assert not (declared.keys() - stored.keys())


def test_no_op(account, ometria, export, place, load_there):
    load_there()
    before = place.rows("email_events")
    load_there()
    assert_equal(place, account)
    assert sorted(map(repr, place.rows("email_events"))) == sorted(map(repr, before))
