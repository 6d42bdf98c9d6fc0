"""The fault matrix: each way in which an answer can fail, at each endpoint, for a moment or for good.

Most of it is marked slow. What remains meets each fault once, and each endpoint with each duration. A run loads the
table that fails, and one that does not where that matters; the last tests load all of them. All data is invented.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest
import truth

from ometria_source.api import client
from ometria_source.simulator import Behaviour, SimulatedAccount

# What goes wrong, as `SimulatedOmetria.fail` calls it.
FAULTS = [
    "429 with Retry-After",
    429,
    500,
    502,
    503,
    504,
    "reset",
    "reset-mid-body",
    "truncated",
    "chunked-cut",
    "html",
    "null",
    "object",
    "hang",
    "drip",
    "drip-headers",
]

# How often it goes wrong; None: for ever.
DURATIONS = {"once": 1, "three-times": 3, "for-ever": None}


@dataclass(frozen=True)
class Endpoint:
    """Where it goes wrong, which table suffers, and which one is loaded beside it without harm."""

    path: str
    table: str
    other: str


ENDPOINTS = {
    "profiles": Endpoint("/profiles", "profiles", "lists"),
    "lists": Endpoint("/lists", "lists", "profiles"),
    # not the lists themselves, by whose ids members are asked for
    "members": Endpoint("/lists/", "member_lists", "lists"),
    "unsubscribes": Endpoint("/unsubscribes", "unsubscribes", "lists"),
}

EQUAL = {
    "profiles": truth.assert_profiles,
    "lists": truth.assert_lists,
    "member_lists": truth.assert_members,
    "unsubscribes": truth.assert_unsubscribes,
}


def matrix(*durations: str) -> list[object]:
    """Each fault at each endpoint for these durations; all but a diagonal are slow."""
    return [
        pytest.param(
            endpoint,
            fault,
            DURATIONS[duration],
            id=f"{name}-{fault}-{duration}",
            marks=[] if (row % len(ENDPOINTS), row % len(DURATIONS)) == (column, layer) else [pytest.mark.slow],
        )
        for row, fault in enumerate(FAULTS)
        for column, (name, endpoint) in enumerate(ENDPOINTS.items())
        for layer, duration in enumerate(DURATIONS)
        if duration in durations
    ]


@pytest.fixture
def strike(ometria, monkeypatch) -> Callable[..., None]:
    """Let requests under a path fail. Retries come at once, and what would take minutes is over in a second."""
    monkeypatch.setattr(client, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(client, "LONGEST_WAIT", 0.1)

    def plan(path: str, fault: int | str, times: int | None = 1) -> None:
        if fault == "hang":
            monkeypatch.setattr(client, "READ_TIMEOUT", 0.5)
        if str(fault).startswith("drip"):
            monkeypatch.setattr(client, "LONGEST_ANSWER", 0.5)
        if fault == "429 with Retry-After":
            ometria.fail(path, 429, times, retry_after="1")
        else:
            ometria.fail(path, fault, times)

    return plan


@pytest.fixture
def patient(monkeypatch) -> None:
    """Patience that outlasts every fault that passes."""
    monkeypatch.setenv("SOURCES__OMETRIA__PATIENCE_MINUTES", "0.5")


def change(account: SimulatedAccount) -> None:
    """Let something happen that each table has to show, gone rows among it."""
    account.advance(timedelta(minutes=30))
    ids = list(account.profiles)
    account.update_profile(ids[0], name="Ada Renamed")
    account.join("77", account.add_profile(name="Newa Comer"))
    account.leave("007", account.members["007"][0])
    account.delete_list("230")
    account.erase_profile(ids[7])
    account.unsubscribe(ids[4], reason="changed")


def cells(rows: list[dict[str, object]]) -> list[str]:
    """All cells of a table, in an order that does not depend on the database."""
    return sorted(map(str, rows))


@pytest.mark.parametrize(("endpoint", "fault", "times"), matrix("once", "three-times"))
def test_a_fault_that_passes_changes_no_cell(
    account, load, warehouse, monkeypatch, patient, strike, endpoint, fault, times
):
    """The program goes on by itself, and the table equals the account."""
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", "lists")
    strike(endpoint.path, fault, times)

    load("--tables", endpoint.table)

    EQUAL[endpoint.table](warehouse, account)


@pytest.mark.parametrize(("endpoint", "fault", "times"), matrix("for-ever"))
def test_a_fault_that_lasts_fails_its_table_in_one_sentence_and_keeps_its_rows(
    account, ometria, run, load, warehouse, monkeypatch, strike, endpoint, fault, times
):
    """The earlier rows stay to the cell, the other table is loaded, and the next run heals."""
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", "lists")
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")
    tables = f"{endpoint.table},{endpoint.other}"
    load("--tables", tables)
    before = cells(warehouse.rows(endpoint.table))
    change(account)
    strike(endpoint.path, fault, times)

    result = run("--tables", tables)

    assert result.status == 1, result
    assert_one_sentence_about(endpoint.table, result)
    assert cells(warehouse.rows(endpoint.table)) == before
    EQUAL[endpoint.other](warehouse, account)

    ometria.heal()
    load("--tables", tables)
    EQUAL[endpoint.table](warehouse, account)


def assert_one_sentence_about(table: str, result) -> None:
    failed = [line for line in result.out.splitlines() if "was not loaded" in line]
    assert [line.split()[0] for line in failed] == [table]
    assert result.err == ""
    assert "Traceback" not in result.out
    assert "exception" not in result.out.lower()


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_middle_of_a_scan_loses_no_profile(account, ometria, load, warehouse, patient, strike, fault):
    for _ in range(300):
        account.add_profile()
    ometria.after_request(1, lambda: strike("/profiles", fault, 2))

    load("--tables", "profiles")

    assert len(account.profiles) == 600
    truth.assert_profiles(warehouse, account)


@pytest.mark.parametrize(
    ("fault", "times"),
    [
        ("html", 1),
        ("object", None),
        *(
            pytest.param(fault, times, marks=pytest.mark.slow)
            for fault in (404, "html", "null", "object")
            for times in DURATIONS.values()
            if (fault, times) not in (("html", 1), ("object", None))
        ),
    ],
)
def test_whatever_befalls_the_paths_to_members_no_pair_is_wrong(
    account, ometria, run, load, warehouse, strike, fault, times
):
    """By default, members are read from the profiles where the paths that could give them answer something else."""
    load("--tables", "profiles,member_lists")
    before = cells(warehouse.rows("member_lists"))
    change(account)
    strike("/lists/", fault, times)

    result = run("--tables", "profiles,member_lists")

    if result.status == 0:
        truth.assert_members(warehouse, account)
    else:
        assert cells(warehouse.rows("member_lists")) == before
    ometria.heal()
    load("--tables", "profiles,member_lists")
    truth.assert_members(warehouse, account)


@pytest.mark.slow
def test_all_faults_one_after_the_other_change_no_cell_of_any_table(account, export, load, warehouse, patient, strike):
    for fault in FAULTS:
        strike("/", fault)

    load()

    truth.assert_equal(warehouse, account)


def test_a_slow_and_uneven_network_changes_no_cell_of_any_table(account, ometria, export, load, warehouse):
    ometria.behaviour = Behaviour(latency=0.05, jitter=0.05)

    load()

    truth.assert_equal(warehouse, account)
