"""The tables that follow what vanishes, under each merge strategy that can, while an account changes at random."""

from __future__ import annotations

import random
from typing import Any

import dlt
import pytest
import truth
from changing_account import TABLES, Current, change

from ometria_source import ometria_source
from ometria_source.simulator import SimulatedAccount

STRATEGIES = ["delete-insert", "cdc", "scd2"]
OURS_FIRST = ["delete-insert", *(pytest.param(name, marks=pytest.mark.slow) for name in ("cdc", "scd2"))]


@pytest.fixture
def account() -> SimulatedAccount:
    return SimulatedAccount.invent(profiles=30)


@pytest.fixture
def current(warehouse) -> Current:
    return Current(warehouse)


def assert_snapshots(current, account) -> None:
    truth.assert_profiles(current, account)
    truth.assert_lists(current, account)
    truth.assert_members(current, account)


def load_with(strategy: str, full_scan_days: float = 0, **settings: Any) -> None:
    """Load the three tables, with a hint in code as a notebook gives it."""
    source = ometria_source(full_scan_days=full_scan_days, allow_deletes=True, **settings).with_resources(*TABLES)
    for resource in source.resources.values():
        resource.apply_hints(write_disposition={"disposition": "merge", "strategy": strategy})
    dlt.pipeline("ometria_pipeline", destination="duckdb", dataset_name="ometria").run(source)


def assert_truth_after_random_changes(strategy: str, seed: int, rounds: int, account, current) -> None:
    chance = random.Random(seed)
    known: set[str] = set()
    for _ in range(rounds):
        for _ in range(chance.randrange(5)):
            change(account, chance)
        complete = chance.random() < 0.5
        load_with(strategy, full_scan_days=0 if complete else 1)
        if complete or not known:
            assert_snapshots(current, account)
            known = set()
        else:
            # what an incremental scan does not see stays until the next complete one
            truth.assert_lists(current, account)
        rows = [row["profile_id"] for row in current.rows("profiles")]
        assert len(rows) == len(set(rows))
        known |= set(account.profiles)
        assert set(rows) == known
        pairs = [(row["list_id"], row["profile_id"]) for row in current.rows("member_lists")]
        assert len(pairs) == len(set(pairs))
    load_with(strategy)
    assert_snapshots(current, account)


@pytest.mark.parametrize("strategy", OURS_FIRST)
def test_each_strategy_follows_an_account_that_changes(account, ometria, current, strategy):
    assert_truth_after_random_changes(strategy, 1, 3, account, current)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 4))
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("way", ["lists", "profiles"])
def test_each_strategy_follows_an_account_that_changes_at_length(
    account, ometria, current, strategy, seed, way, monkeypatch
):
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", way)
    assert_truth_after_random_changes(strategy, seed, 8, account, current)


@pytest.mark.parametrize("strategy", OURS_FIRST)
def test_an_emptied_account_empties_the_tables(account, ometria, current, strategy):
    load_with(strategy)
    for identifier in list(account.profiles):
        account.erase_profile(identifier)
    for identifier in list(account.lists):
        account.delete_list(identifier)

    load_with(strategy)

    assert [current.rows(table) for table in TABLES] == [[], [], []]


@pytest.mark.parametrize("strategy", OURS_FIRST)
def test_a_list_that_a_profile_names_twice_has_it_once(account, ometria, current, strategy, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", "profiles")
    list_id = next(identifier for identifier, members in account.members.items() if members)
    account._member_of[account.members[list_id][0]] += (list_id,)

    load_with(strategy)

    truth.assert_members(current, account)


@pytest.mark.parametrize("strategy", OURS_FIRST)
def test_a_filter_and_a_scope_of_the_users_do_not_undo_what_a_marker_covers(account, ometria, current, strategy):
    for days in (0, 1):
        source = ometria_source(full_scan_days=days).with_resources("profiles")
        hint: Any = {"disposition": "merge", "strategy": strategy, "destination_scope": "1 = 1"}
        source.profiles.apply_hints(write_disposition=hint)
        dlt.pipeline("ometria_pipeline", destination="duckdb", dataset_name="ometria").run(source)
        # an incremental scan gives a part of the account only
        truth.assert_profiles(current, account)


def test_a_plain_merge_in_code_is_as_good_as_ours(account, ometria, current):
    for _ in range(2):
        source = ometria_source(full_scan_days=0).with_resources(*TABLES)
        dlt.pipeline("ometria_pipeline", destination="duckdb", dataset_name="ometria").run(
            source, write_disposition="merge"
        )
        assert_snapshots(current, account)
        account.erase_profile(list(account.profiles)[0])
