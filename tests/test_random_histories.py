"""Whatever happens to an account, to a machine and to its destinations in turn: the tables are what the contract says.

A history is a sequence of steps that Hypothesis chooses: the account changes, loads run with settings of their own into
one of several targets, and are disturbed or killed; the working folder is lost. After each step each table is compared
with a model of the contract, which knows nothing of state, packages and schemas:

* A table that was loaded equals the account as it was then, until it is loaded again.
* A table whose load failed is what it was before. Only what was disturbed may fail.
* After a kill a table is not known until it is loaded again. That a next load is whole shows at once, and in the end.

The same histories are tried each time. `HISTORIES=random` tries others, and shortens what fails.
"""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
import truth
from conftest import QUIET, Warehouse, open_databases
from dlt.common.destination.exceptions import DestinationTerminalException
from dlt.destinations.impl.duckdb.duck import DuckDbClient
from examples import examples
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from machine import KILLED_PROGRAM, PROGRAM
from tenacity import wait_none
from warm_python import warm_python

from ometria_source import LoadReport, load
from ometria_source.loading import destinations
from ometria_source.simulator import SimulatedAccount, SimulatedOmetria

pytestmark = pytest.mark.thorough

NOW = datetime.now(timezone.utc) - timedelta(hours=2)

# Of the slow version, which takes about ten minutes of one processor: each part has a seed and tries as many histories.
PARTS = 6
HISTORIES = 8
STEPS = 8

CHECKS = {
    "profiles": truth.assert_profiles,
    "lists": truth.assert_lists,
    "member_lists": truth.assert_members,
    "unsubscribes": truth.assert_unsubscribes,
    "email_events": truth.assert_events,
}
LOGS = ("unsubscribes", "email_events")

# Two datasets in one file, and a file of its own.
TARGETS = (("duckdb", "ometria"), ("duckdb", "second"), ("elsewhere", "ometria"))

some_tables = st.sets(st.sampled_from(sorted(CHECKS)), min_size=1)
places = st.sampled_from((TARGETS[0], *TARGETS))
# how members are read
ways = st.sampled_from(("lists", "profiles"))


@contextmanager
def refusing_table(step: str, table: str) -> Iterator[None]:
    """A destination that refuses one step of the load of a table."""
    real = getattr(DuckDbClient, step)

    def refuse(client: Any, *arguments: Any, **options: Any) -> Any:
        if any(argument == table or f"/{table}." in str(argument) for argument in (*arguments, *options.values())):
            raise DestinationTerminalException("no")
        return real(client, *arguments, **options)

    with patch.object(DuckDbClient, step, refuse):
        yield


class History(RuleBasedStateMachine):
    """An account, a machine, its destinations, and the model of what they hold."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="history_"))
        self.stack.callback(shutil.rmtree, self.folder)
        self.patch = self.stack.enter_context(pytest.MonkeyPatch.context())
        (self.folder / "workspace").mkdir()
        self.patch.chdir(self.folder / "workspace")
        self.account = SimulatedAccount.invent(12, now=NOW)
        self.ometria = self.stack.enter_context(SimulatedOmetria(self.account))
        self.export = self.folder / "export"
        self.account.write_export(self.export)
        self.environment = {
            **QUIET,
            "DLT_DATA_DIR": str(self.folder / "dlt"),
            "SOURCES__OMETRIA__API_KEY": self.ometria.api_key,
            "SOURCES__OMETRIA__BASE_URL": self.ometria.base_url,
            "SOURCES__OMETRIA__BUCKET_URL": self.export.as_uri(),
            "SOURCES__OMETRIA__FULL_SCAN_DAYS": "0",
            "DESTINATION__ELSEWHERE__DESTINATION_TYPE": "duckdb",
            "DESTINATION__ELSEWHERE__CREDENTIALS": str(self.folder / "workspace" / "elsewhere.duckdb"),
            "LOAD__RAISE_ON_MAX_RETRIES": "1",
            "WATCHED_FOLDERS": str(self.folder),
        }
        for name, value in self.environment.items():
            self.patch.setenv(name, value)
        self.patch.setattr(destinations, "WAIT", wait_none())
        # what a table of a place holds; none: it is not known
        self.held: dict[tuple[tuple[str, str], str], Any] = {}

    def teardown(self) -> None:
        try:
            for place in {place for place, _ in self.held}:
                self.assert_loaded(self.load(place, set(CHECKS)), place, set(CHECKS))
        finally:
            self.stack.close()

    # The account

    @initialize()
    def begin(self) -> None:
        self.happen(2)

    @rule(number=st.integers(0, 5))
    def happen(self, number: int) -> None:
        """Something of each kind, to other people each time."""
        account = self.account
        account.advance(timedelta(minutes=5))
        people, lists = list(account.profiles), list(account.lists)

        def person(offset: int) -> str:
            return people[(number + offset) % len(people)]

        account.update_profile(person(0), name=f"Changed Name {number}", **{f"field_{number}": number})
        account.join(lists[0], account.add_profile(name="Newa Comer"))
        account.erase_profile(person(1))
        account.unsubscribe(person(2))
        account.unsubscribe(person(3), at=account.now - timedelta(hours=30))
        if len(lists) > 3:
            account.delete_list(lists[number % 3 + 1])
        account.add_list("A new list", members=[person(2), person(4)])
        account.add_events(3)
        account.write_export(self.export)
        account.add_events(2, at=account.now - timedelta(days=3))
        account.write_export(self.export, modified_at=account.now - timedelta(hours=30))

    # The machine

    @rule(place=places, tables=some_tables, way=ways)
    def run(self, place: tuple[str, str], tables: set[str], way: str) -> None:
        self.assert_loaded(self.load(place, tables, member_lists_from=way), place, tables)

    @rule(place=places, tables=some_tables)
    def refresh(self, place: tuple[str, str], tables: set[str]) -> None:
        self.assert_loaded(self.load(place, tables, full_refresh=True), place, tables)

    @rule(place=places, days=st.integers(1, 400))
    def backfill(self, place: tuple[str, str], days: int) -> None:
        """A window: what is older may lack, if it was not there; nothing else changes."""
        report = self.load(place, set(LOGS), start_date=self.account.now - timedelta(days=days), end_date="2100-01-01")
        assert report.ok, report.to_dict()
        for table in LOGS:
            self.held[place, table] = None

    @rule(place=places, tables=some_tables, path=st.sampled_from(("/profiles", "/lists", "/unsubscribes")))
    def run_while_the_account_is_down(self, place: tuple[str, str], tables: set[str], path: str) -> None:
        failing = {"/profiles": {"profiles"}, "/lists": {"lists", "member_lists"}, "/unsubscribes": {"unsubscribes"}}[
            path
        ]
        self.ometria.fail(path, 500, times=None)
        report = self.load(place, tables, member_lists_from="lists")
        self.ometria.heal()
        self.assert_failed(report, place, tables, tables & failing)

    @rule(place=places, tables=some_tables)
    def run_with_a_damaged_file(self, place: tuple[str, str], tables: set[str]) -> None:
        damaged = self.export / "damaged.csv.gz"
        damaged.write_bytes(b"\x1f\x8b\x08 not gzip")
        report = self.load(place, tables)
        damaged.unlink()
        self.assert_failed(report, place, tables, tables & {"email_events"})

    @rule(
        place=places,
        tables=some_tables,
        refused=st.sampled_from(sorted(CHECKS)),
        step=st.sampled_from(("create_load_job", "drop_tables")),
        full_refresh=st.booleans(),
    )
    def run_while_a_package_is_refused(
        self, place: tuple[str, str], tables: set[str], refused: str, step: str, full_refresh: bool
    ) -> None:
        with refusing_table(step, refused):
            report = self.load(place, tables, full_refresh=full_refresh)
        failed = {name for name, table in report.tables.items() if table.error}
        assert failed <= {refused}
        if full_refresh and refused in tables and step == "create_load_job":
            # its rows are dropped before the new ones are refused
            self.held[place, refused] = None
        self.assert_failed(report, place, tables, failed)

    @rule(
        place=places,
        tables=some_tables,
        phase=st.sampled_from(("extract", "normalize", "load", "moved")),
        number=st.integers(1, 150),
        full_refresh=st.booleans(),
    )
    def kill(self, place: tuple[str, str], tables: set[str], phase: str, number: int, full_refresh: bool) -> None:
        destination, dataset = place
        flags = ["--destination", destination, "--dataset", dataset, "--tables", ",".join(sorted(tables))]
        number = number % 6 + 1 if phase == "moved" else number
        command = [*warm_python(), KILLED_PROGRAM, phase, number, PROGRAM, *flags]
        command += ["--full-refresh"] if full_refresh else []
        result = subprocess.run(list(map(str, command)), env=os.environ, capture_output=True, text=True, check=False)
        assert result.returncode in (0, -9), (result.stdout, result.stderr)
        for table in tables:
            self.held[place, table] = None

    @rule()
    def lose_the_working_folder(self) -> None:
        shutil.rmtree(self.folder / "dlt", ignore_errors=True)

    # The model

    def load(self, place: tuple[str, str], tables: set[str], **options: Any) -> LoadReport:
        destination, dataset = place
        with open_databases():
            return load(sorted(tables), destination=destination, dataset=dataset, **options)

    def assert_loaded(self, report: LoadReport, place: tuple[str, str], tables: set[str]) -> None:
        assert report.ok, report.to_dict()
        for table in tables:
            self.held[place, table] = self.present()

    def assert_failed(self, report: LoadReport, place: tuple[str, str], tables: set[str], failing: set[str]) -> None:
        assert report.error is None, report.to_dict()
        assert {name for name, table in report.tables.items() if table.error} == failing, report.to_dict()
        for table in tables - failing:
            self.held[place, table] = self.present()

    def present(self) -> Any:
        """The account as it is now."""
        account = self.account
        return SimpleNamespace(
            profiles={name: copy.deepcopy(account.profiles[name]) for name in account.profiles},
            lists=copy.deepcopy(dict(account.lists)),
            members=copy.deepcopy(dict(account.members)),
            unsubscribes=copy.deepcopy(list(account.unsubscribes)),
            events=copy.deepcopy(list(account.events)),
        )

    @invariant()
    def every_table_is_what_the_model_says(self) -> None:
        for ((destination, dataset), table), account in self.held.items():
            if account is not None:
                name = "ometria_pipeline" if destination == "duckdb" else destination
                CHECKS[table](Warehouse(self.folder / "workspace" / f"{name}.duckdb"), account, dataset)


@pytest.mark.parametrize("part", range(examples(PARTS)))
def test_whatever_happens_each_table_is_what_the_contract_says(part: int) -> None:
    is_random = os.environ.get("HISTORIES") == "random"
    # a class of its own, of which Hypothesis takes the seed
    run_state_machine_as_test(
        History if is_random else seed(part)(type("History", (History,), {})),
        settings=settings(
            # the first one or two are the shortest that there are
            max_examples=max(3, examples(HISTORIES)),
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            # to find the shortest history takes minutes
            phases=tuple(Phase) if is_random else (Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )
