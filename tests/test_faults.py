"""The fault matrix: each way in which an answer can fail, at each endpoint, for a moment or for good.

A reader meets each of them: a run does with its rows, or with its error, what it does with those of any other fault. In
the runs, four endpoints each meet a fault of their own, until each fault was met. What is not marked slow meets each
fault once, and each endpoint with each duration. All data is invented.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import truth
from examples import few

from ometria_source import OmetriaError, UnavailableError, UnexpectedAnswerError, ometria_source
from ometria_source.api import client
from ometria_source.loading.errors import user_message
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

# How often it goes wrong and passes.
TIMES = (1, 3)


@dataclass(frozen=True)
class Endpoint:
    """Where it goes wrong, and which table suffers."""

    path: str
    table: str


# Of two paths of which one begins like the other, a fault of the longer one is planned first.
ENDPOINTS = [
    Endpoint("/profiles", "profiles"),
    # not the lists themselves, by whose ids members are asked for
    Endpoint("/lists/", "member_lists"),
    Endpoint("/lists", "lists"),
    Endpoint("/unsubscribes", "unsubscribes"),
]
# Each fault at each endpoint; all but one of each endpoint are slow.
MATRIX = [
    pytest.param(
        endpoint,
        fault,
        id=f"{endpoint.table}-{fault}",
        # one fault at each endpoint
        marks=[] if row == column * len(FAULTS) // len(ENDPOINTS) else [pytest.mark.slow],
    )
    for row, fault in enumerate(FAULTS)
    for column, endpoint in enumerate(ENDPOINTS)
]
TABLES = [endpoint.table for endpoint in ENDPOINTS]

EQUAL = {
    "profiles": truth.assert_profiles,
    "lists": truth.assert_lists,
    "member_lists": truth.assert_members,
    "unsubscribes": truth.assert_unsubscribes,
}


def shared_out(number: int) -> list[tuple[Endpoint, int | str]]:
    """A fault for each endpoint; in the first four of sixteen ways each fault comes once, in all at each endpoint."""
    return [(endpoint, FAULTS[(number + 4 * place) % len(FAULTS)]) for place, endpoint in enumerate(ENDPOINTS)]


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
    account.delete_list(next(identifier for identifier in account.lists if identifier not in ("77", "007")))
    account.erase_profile(ids[7])
    account.unsubscribe(ids[4], reason="changed")


def cells(rows: list[dict[str, object]]) -> list[str]:
    """All cells of a table, in an order that does not depend on the database."""
    return sorted(map(str, rows))


@pytest.fixture
def members_of_lists(monkeypatch) -> None:
    """Members are read below the lists, and every scan is complete."""
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", "lists")
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")


def read(table: str) -> list[str]:
    """What the reader of a table gives, outside of a run."""
    return cells([dict(row) for row in ometria_source().resources[table]])


@pytest.mark.parametrize(("endpoint", "fault"), MATRIX)
def test_a_reader_outlasts_a_fault_that_passes(members_of_lists, patient, strike, endpoint, fault):
    """What comes once or three times changes no cell."""
    expected = read(endpoint.table)
    assert len(expected) > 5
    for times in TIMES:
        strike(endpoint.path, fault, times)
        assert read(endpoint.table) == expected


@pytest.mark.parametrize(("endpoint", "fault"), MATRIX)
def test_a_reader_gives_up_a_fault_that_lasts(ometria, members_of_lists, monkeypatch, strike, endpoint, fault):
    """With the one error that a run turns into a sentence, and goes on."""
    monkeypatch.setenv("SOURCES__OMETRIA__PATIENCE_MINUTES", "0.002")
    strike(endpoint.path, fault, None)
    with pytest.raises(Exception) as caught:  # noqa: PT011  dlt wraps it
        read(endpoint.table)
    error: Any = caught.value
    while not isinstance(error, OmetriaError):
        error = error.__cause__
    # of paths that are guesses none is left, where each answers something else
    is_guess = endpoint.table == "member_lists" and fault in ("html", "null", "object")
    assert isinstance(error, UnexpectedAnswerError if is_guess else UnavailableError)
    assert error.path.startswith(endpoint.path)
    assert user_message(caught.value) == str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize("number", few(range(4)))
def test_faults_that_pass_change_no_cell(account, load, warehouse, members_of_lists, patient, strike, number):
    """The program goes on by itself, and the tables equal the account."""
    for place, (endpoint, fault) in enumerate(shared_out(number)):
        strike(endpoint.path, fault, TIMES[(number + place) % 2])

    load("--tables", ",".join(TABLES))

    for table in TABLES:
        EQUAL[table](warehouse, account)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(4))
def test_a_fault_that_lasts_fails_its_table_in_one_sentence_and_keeps_its_rows(
    account, ometria, run, load, warehouse, members_of_lists, strike, number
):
    """The earlier rows stay to the cell, the other tables are loaded, and the next run heals."""
    tables = ("--tables", ",".join(TABLES))
    load(*tables)
    faults = shared_out(number)
    # without the lists there are no members either: they fail together, after the others
    for failing in ({"profiles", "member_lists", "unsubscribes"}, {"lists", "member_lists"}):
        before = {table: cells(warehouse.rows(table)) for table in failing}
        change(account)
        for endpoint, fault in faults:
            if endpoint.table in failing:
                strike(endpoint.path, fault, None)

        result = run(*tables)

        assert result.status == 1, result
        assert_one_sentence_about(failing, result)
        assert {table: cells(warehouse.rows(table)) for table in failing} == before
        for table in set(TABLES) - failing:
            EQUAL[table](warehouse, account)
        ometria.heal()

    load(*tables)
    for table in TABLES:
        EQUAL[table](warehouse, account)


def assert_one_sentence_about(tables: set[str], result) -> None:
    failed = [line for line in result.out.splitlines() if "was not loaded" in line]
    assert sorted(line.split()[0] for line in failed) == sorted(tables)
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
        ("object", None),
        *(
            pytest.param(fault, times, marks=pytest.mark.slow)
            for fault in (404, "html", "null", "object")
            for times in (*TIMES, None)
            if (fault, times) != ("object", None)
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


@pytest.mark.slow
def test_a_slow_and_uneven_network_changes_no_cell_of_any_table(account, ometria, export, load, warehouse):
    ometria.behaviour = Behaviour(latency=0.05, jitter=0.05)

    load()

    truth.assert_equal(warehouse, account)
