"""Opt-outs that Ometria shows later than the lag: only a backfill or a full refresh reads them, and counts them."""

from __future__ import annotations

from datetime import timedelta

import truth

LATE = "not in the table, though earlier runs had read that time"


def test_late_opt_outs_are_counted_by_a_backfill(account, ometria, load, warehouse):
    load("--tables", "unsubscribes")
    people = list(account.profiles)
    for person in people[:3]:
        account.unsubscribe(person, at=account.now - timedelta(days=20))
    account.unsubscribe(people[3], at=account.now)
    told = load("--tables", "unsubscribes").out
    assert LATE not in told
    assert len(warehouse.rows("unsubscribes")) == len(account.unsubscribes) - 3

    window = ("--start-date", str((account.now - timedelta(days=30)).date()), "--end-date", str(account.now.date()))
    told = load("--tables", "unsubscribes", *window).out

    assert f"unsubscribes: 3 opt-outs were {LATE}" in told
    truth.assert_unsubscribes(warehouse, account)
    assert LATE not in load("--tables", "unsubscribes", *window).out


def test_late_opt_outs_are_counted_by_a_full_refresh(account, ometria, load, warehouse):
    load("--tables", "unsubscribes")
    person = next(iter(account.profiles))
    account.unsubscribe(person, at=account.now - timedelta(days=20))
    account.unsubscribe(person, at=account.now)

    told = load("--tables", "unsubscribes", "--full-refresh").out

    assert f"unsubscribes: 1 opt-out was {LATE}" in told
    truth.assert_unsubscribes(warehouse, account)
    assert LATE not in load("--tables", "unsubscribes", "--full-refresh").out


def test_opt_outs_from_before_the_first_load_are_not_late(account, ometria, load, warehouse):
    start = str((account.now - timedelta(days=10)).date())
    load("--tables", "unsubscribes", "--start-date", start)

    told = load("--tables", "unsubscribes", "--start-date", "2013-01-01", "--end-date", start).out

    assert LATE not in told
    truth.assert_unsubscribes(warehouse, account)
