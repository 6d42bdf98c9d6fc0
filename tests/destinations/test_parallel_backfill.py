"""Many workers that load disjoint windows into one dataset give what one run gives."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone

import psycopg2
import pytest
from machine import KILLED_PROGRAM, PROGRAM
from warm_python import warm_python

from destinations.places import Place
from ometria_source.simulator import SimulatedAccount
from ometria_source.simulator.export import write_events

pytestmark = pytest.mark.slow

WORKERS = 4
DAYS = 12
MEETING_PROGRAM = KILLED_PROGRAM.with_name("meeting_program.py")
KILLED_DEFINITIONS = KILLED_PROGRAM.with_name("killed_definitions.py")

START = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=DAYS)


@pytest.fixture
def account() -> SimulatedAccount:
    """Opt-outs on each day of the windows, one at each of their bounds."""
    account = SimulatedAccount.invent(40, now=START + timedelta(days=DAYS + 1))
    people = list(account.profiles)
    for number in range(DAYS * 4):
        account.unsubscribe(people[number % len(people)], at=START + timedelta(hours=6 * number))
    return account


@pytest.fixture
def export(account, bucket) -> None:
    """A file for each day, one at each of the windows' bounds."""
    for day in range(DAYS):
        events = account.events[day::DAYS]
        write_events(bucket / f"{day:02}.csv.gz", events, modified_at=START + timedelta(days=day))


def window(number: int) -> tuple[str, ...]:
    length = timedelta(days=DAYS // WORKERS)
    start = START + number * length
    return ("--start-date", start.isoformat(), "--end-date", (start + length).isoformat())


@pytest.fixture
def worker(at_postgres, tmp_path, monkeypatch):
    """Starts a worker with a working folder and a staging dataset of its own."""
    for name, value in at_postgres.settings.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as running:

        def start(number: int, *driver: object, days: tuple[str, ...] = ()) -> subprocess.Popen[str]:
            own = {
                "DLT_DATA_DIR": str(tmp_path / f"worker_{number}"),
                "DESTINATION__STAGING_DATASET_NAME_LAYOUT": f"%s_staging_{number}",
                "SQL_CLIENT": at_postgres.sql_client,
                "WATCHED_FOLDERS": str(tmp_path / f"worker_{number}"),
            }
            command = [
                *warm_python(),
                *driver,
                PROGRAM,
                *at_postgres.arguments,
                *(days or window(number)),
            ]
            process = subprocess.Popen(
                list(map(str, command)),
                env=os.environ | own,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            running.enter_context(process)
            # one that a failed test leaves would be waited for without end
            running.callback(process.kill)
            return process

        yield start


@pytest.fixture
def in_one_run(account, ometria, export, at_postgres, worker, load) -> Place:
    """What one run over all windows loads."""
    place = Place("postgres", f"{at_postgres.dataset}_whole", at_postgres.settings, at_postgres.sql_client)
    load(*place.arguments, "--start-date", START.isoformat(), "--end-date", (START + timedelta(days=DAYS)).isoformat())
    return place


def rows(place: Place, table: str, before: datetime | None = None) -> list[str]:
    """The rows of a table; of files before some time."""
    return sorted(
        repr({name: value for name, value in row.items() if not name.startswith("_dlt_")})
        for row in place.rows(table)
        if before is None or row["_file_modified_at"] < before
    )


def assert_same(place: Place, in_one_run: Place) -> None:
    for table in ("unsubscribes", "email_events"):
        expected = rows(in_one_run, table)
        assert expected
        assert rows(place, table) == expected


def assert_loaded(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        out, error = process.communicate(timeout=120)
        assert process.returncode == 0, (out, error)
        assert "Traceback" not in error


def test_workers_that_make_the_dataset_at_the_same_moment(at_postgres, worker, in_one_run):
    with socket.create_server(("127.0.0.1", 0)) as meeting:
        meeting.settimeout(60)
        port = meeting.getsockname()[1]
        processes = [worker(number, MEETING_PROGRAM, port) for number in range(WORKERS)]
        for place in ("is_storage_initialized", "get_storage_tables"):
            with ExitStack() as lines:
                for _ in range(WORKERS):
                    line = lines.enter_context(meeting.accept()[0])
                    lines.callback(line.sendall, b"!")
                    assert line.recv(64).decode().strip() == place
    assert_loaded(processes)
    assert_same(at_postgres, in_one_run)


def test_an_event_in_files_of_several_windows_is_there_once(account, bucket, at_postgres, worker, in_one_run):
    for day in range(DAYS):
        write_events(bucket / f"shared_{day:02}.csv", account.events[:20], START + timedelta(days=day, hours=1))
    # the tables are there, and to insert takes as long as with many rows: all workers would have deleted by then
    assert_loaded([worker(0)])
    database = psycopg2.connect(at_postgres.settings["DESTINATION__POSTGRES__CREDENTIALS"])
    with database, database.cursor() as cursor:
        cursor.execute(f"DELETE FROM {at_postgres.dataset}.email_events")
        cursor.execute(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(4); RETURN NULL; END $$"
        )
        cursor.execute(
            f"CREATE TRIGGER slow AFTER INSERT ON {at_postgres.dataset}.email_events "
            "FOR EACH STATEMENT EXECUTE FUNCTION wait()"
        )
    database.close()
    assert_loaded([worker(number) for number in range(WORKERS)])
    keys = [row["event_key"] for row in at_postgres.rows("email_events")]
    assert len(keys) == len(set(keys))
    assert set(keys) == {row["event_key"] for row in in_one_run.rows("email_events")}


def test_workers_that_meet_names_of_one_column_for_the_first_time(at_postgres, bucket, worker):
    """Each has a name of its own for the same column, and has read its files before any of them loads."""
    names = ("userId", "UserId", "user_id", "User-ID")
    for number, name in enumerate(names):
        path = bucket / f"{number}.csv"
        path.write_text(f"id,{name},only{number}\n{number},value of {name},{number}\n")
        at = (START + timedelta(days=DAYS // WORKERS * number, hours=1)).timestamp()
        os.utime(path, (at, at))
    database = psycopg2.connect(at_postgres.settings["DESTINATION__POSTGRES__CREDENTIALS"])
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtext(%s))", (at_postgres.dataset,))
        processes = [worker(number) for number in range(WORKERS)]
        for process in processes:
            next(line for line in process.stderr if "waits for its turn" in line)
    database.close()
    assert_loaded(processes)

    rows = {row["id"]: row for row in at_postgres.rows("email_events")}
    assert len(rows) == WORKERS
    held = {}
    for number, name in enumerate(names):
        (held[name],) = [column for column, value in rows[str(number)].items() if value == f"value of {name}"]
        assert rows[str(number)][f"only{number}"] == str(number)
    assert len(set(held.values())) == WORKERS
    assert "user_id" in held.values()

    # a worker with a new working folder knows the columns of all
    for number, name in enumerate(names):
        (bucket / f"{number}.csv").write_text(f"id,{name}\n{number + 10},again {name}\n")
        at = (START + timedelta(hours=number)).timestamp()
        os.utime(bucket / f"{number}.csv", (at, at))
    assert_loaded([worker(7, days=window(0))])
    rows = {row["id"]: row for row in at_postgres.rows("email_events")}
    for number, name in enumerate(names):
        assert rows[str(number + 10)][held[name]] == f"again {name}"


def test_a_worker_that_waits_for_its_turn_says_so_and_can_be_interrupted(at_postgres, worker, in_one_run):
    database = psycopg2.connect(at_postgres.settings["DESTINATION__POSTGRES__CREDENTIALS"])
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtext(%s))", (at_postgres.dataset,))
        interrupted, patient = worker(0), worker(1)
        for process in (interrupted, patient):
            told = next(line for line in process.stderr if "waits for its turn" in line)
            assert at_postgres.dataset in told
        interrupted.send_signal(signal.SIGINT)
        _, error = interrupted.communicate(timeout=60)
        assert interrupted.returncode == 130
        assert "Interrupted." in error
    database.close()
    assert_loaded([patient])
    assert_loaded([worker(number) for number in (0, 2, 3)])
    assert_same(at_postgres, in_one_run)


@pytest.mark.parametrize("fate", [("extract", 20), ("load", 10), ("load", 40), ("load", 75)], ids=lambda at: f"{at}")
def test_workers_that_are_killed_and_started_again(at_postgres, worker, in_one_run, fate):
    killed = [worker(number, KILLED_PROGRAM, *fate) for number in range(WORKERS)]
    ends = [process.wait(timeout=120) for process in killed]
    assert set(ends) <= {-signal.SIGKILL, 0}
    assert -signal.SIGKILL in ends
    assert_loaded([worker(number) for number in range(WORKERS)])
    assert_same(at_postgres, in_one_run)


@pytest.fixture
def dagster(at_postgres, tmp_path, monkeypatch):
    """Starts a worker of Dagster's own command on some day's files."""
    settings = {
        "OMETRIA_DESTINATION": at_postgres.destination,
        "OMETRIA_DATASET": at_postgres.dataset,
        "OMETRIA_EXPORT_BEGINS": f"{START:%Y-%m-%d}",
        "SQL_CLIENT": at_postgres.sql_client,
        # as for the tests themselves
        "PYTHONPATH": os.pathsep.join(sys.path),
        **at_postgres.settings,
    }
    with ExitStack() as running:

        def start(day: int, killed_at: str) -> subprocess.Popen[str]:
            # several processes at once fail to make Dagster's own database
            home = tmp_path / f"dagster_{day}"
            home.mkdir()
            (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
            own = {
                "DAGSTER_HOME": str(home),
                "DLT_DATA_DIR": str(home / "dlt"),
                "WATCHED_FOLDERS": str(home),
                "KILLED_AT": killed_at,
            }
            command = [sys.executable, "-m", "dagster", "asset", "materialize", "-f", KILLED_DEFINITIONS]
            command += ["--select", "ometria/email_events_backfill"]
            command += ["--partition", f"{START + timedelta(days=day):%Y-%m-%d}"]
            process = subprocess.Popen(
                list(map(str, command)),
                env=os.environ | settings | own,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            return running.enter_context(process)

        yield start


def test_workers_of_dagster_that_are_killed_are_started_again_by_it(at_postgres, dagster, in_one_run, tmp_path):
    moments = ("extract 5", "load 5", "load 14", "load 20")
    for worker in [dagster(day, moment) for day, moment in enumerate(moments)]:
        told, _ = worker.communicate(timeout=120)
        assert worker.returncode == 0, told
        assert "STEP_UP_FOR_RETRY" in told
        assert "SIGKILL" in told
    end = START + timedelta(days=len(moments))
    assert rows(at_postgres, "email_events") == rows(in_one_run, "email_events", before=end)
    # no row stays behind where it was on its way
    assert list(tmp_path.glob("dagster_*/dlt/backfills/*")) == []
    # the workers' staging datasets are gone
    with at_postgres.pipeline().sql_client() as client:
        datasets = client.execute_sql("SELECT schema_name FROM information_schema.schemata")
    assert [name for (name,) in datasets if name.startswith(f"{at_postgres.dataset}_staging")] == []
