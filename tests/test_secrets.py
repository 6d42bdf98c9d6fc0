"""What must never be seen: the key, an e-mail address outside the data, a URL's query. And nothing goes elsewhere.

Everything is listened to at DEBUG: each logger, standard output and error, dlt's trace, and each file that is left
outside the data files. All data is invented; every address in it ends in `.test`.
"""

from __future__ import annotations

import io
import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest
from warm_python import warm_python

from ometria_source.simulator import Behaviour, SimulatedAccount, SimulatedOmetria

PROGRAM = Path(__file__).parents[1] / "pipelines" / "ometria_pipeline.py"
DLT = Path(sys.executable).parent / "dlt"

EMAIL = re.compile(rb"[\w.+-]+@[\w-]+\.test")
QUERY = re.compile(rb"[?&](?:updateSince|since|before|limit|offset|mode|email|type)=")

# Where dlt keeps the data of a load package, beside notes on why a job failed.
DATA_FOLDERS = {"new_jobs", "started_jobs", "completed_jobs", "failed_jobs"}

FAULTS = [
    429,
    500,
    "reset",
    "reset-mid-body",
    "truncated",
    "chunked-cut",
    "html",
    "null",
    "object",
    "bad-json",
    "redirect",
]


@pytest.fixture
def heard(monkeypatch) -> Iterator[Callable[[], str]]:
    """What is logged by anybody, at any level."""
    monkeypatch.setenv("RUNTIME__LOG_LEVEL", "DEBUG")
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    monkeypatch.setattr(root, "level", logging.DEBUG)
    # two that do not pass on what they hear
    loggers = [root, logging.getLogger("dlt"), logging.getLogger("ometria_source")]
    for logger in loggers:
        logger.addHandler(handler)
    logging.getLogger("dlt").setLevel(logging.DEBUG)
    yield text.getvalue
    for logger in loggers:
        logger.removeHandler(handler)


@pytest.fixture
def assert_nothing_leaked(tmp_path, workspace, ometria) -> Callable[..., None]:
    """Neither in these texts nor in any file outside the data is there a key, an address or a query."""

    def check(*texts: str) -> None:
        key = re.compile(re.escape(ometria.api_key).encode())
        pieces = {f"text {place}": text.encode(errors="replace") for place, text in enumerate(texts)}
        pieces |= {str(path): path.read_bytes() for path in left_behind(tmp_path, workspace)}
        found = [
            (where, match.group())
            for where, piece in pieces.items()
            for pattern in (key, EMAIL, QUERY)
            for match in pattern.finditer(piece)
        ]
        assert found == []
        assert {request.method for request in ometria.requests} <= {"GET"}

    return check


def left_behind(tmp_path: Path, workspace: Path) -> Iterator[Path]:
    """The files of dlt's folder and of the current one that are not data."""
    for path in [*(tmp_path / "dlt").rglob("*"), *workspace.rglob("*")]:
        is_data = bool(DATA_FOLDERS & set(path.parts)) and path.suffix != ".exception"
        if path.is_file() and not is_data and ".duckdb" not in path.name:
            yield path


def refuse_values_of(table: str, column: str, warehouse) -> None:
    """Give a column of the database a type that its values do not fit."""
    with duckdb.connect(str(warehouse.path)) as connection:
        connection.execute(f"ALTER TABLE ometria.{table} ALTER {column} TYPE INTEGER USING NULL")


@pytest.mark.parametrize("flags", [pytest.param([], marks=pytest.mark.slow), ["--verbose"]], ids=["quiet", "verbose"])
def test_two_loads_leak_nothing(ometria, export, load, heard, assert_nothing_leaked, flags):
    first, second = load(*flags), load(*flags)
    assert_nothing_leaked(first.out, first.err, second.out, second.err, heard())
    # the ears work
    assert "dlt" in heard()
    assert "urllib3" in heard()


@pytest.mark.parametrize(
    ("fault", "times"),
    [
        (500, 1),
        ("html", None),
        *(
            pytest.param(fault, times, marks=pytest.mark.slow)
            for fault in FAULTS
            for times in (1, None)
            if (fault, times) not in ((500, 1), ("html", None))
        ),
    ],
)
def test_a_fault_leaks_nothing(ometria, run, heard, assert_nothing_leaked, fault, times):
    ometria.fail("/unsubscribes", fault, times)
    ometria.fail("/profiles", fault, times)
    result = run("--verbose", "--tables", "profiles,unsubscribes")
    assert result.status == (1 if times is None or fault == "redirect" else 0)
    assert_nothing_leaked(result.out, result.err, heard())


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_leaks_nothing(ometria, run, monkeypatch, heard, assert_nothing_leaked, status):
    ometria.behaviour = Behaviour(refused_status=status)
    monkeypatch.setenv("SOURCES__OMETRIA__API_KEY", "another-key-1111")
    result = run("--verbose")
    assert result.status == 1
    assert_nothing_leaked(result.out, result.err, heard())
    assert "another-key-1111" not in result.out + result.err + heard()


def test_a_key_that_no_header_can_carry_leaks_nothing(ometria, run, monkeypatch, heard, assert_nothing_leaked):
    monkeypatch.setenv("SOURCES__OMETRIA__API_KEY", f"{ometria.api_key}é")
    result = run("--verbose", "--tables", "profiles")
    assert result.status == 2
    assert_nothing_leaked(result.out, result.err, heard())


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("base_url", "http://ada%40shop.test:ada@shop.test/v2?limit=3"),
        ("start_date", "ada@shop.test"),
        ("requests_per_second", "ada@shop.test"),
        ("email_events_columns", '{"ada@shop.test": "words"}'),
        ("file_format", "ada@shop.test"),
    ],
)
def test_a_bad_setting_is_named_but_its_value_is_not_shown(
    ometria, run, monkeypatch, heard, assert_nothing_leaked, setting, value
):
    """A value in the wrong place may be a secret."""
    monkeypatch.setenv(f"SOURCES__OMETRIA__{setting.upper()}", value)
    for flags in ([], ["--verbose"]):
        result = run(*flags)
        assert result.status == 2
        assert setting in result.err
        assert_nothing_leaked(result.out, result.err, heard())


def test_a_refused_mass_deletion_leaks_nothing(account, ometria, run, load, monkeypatch, heard, assert_nothing_leaked):
    load()
    for identifier in list(account.profiles)[:150]:
        account.erase_profile(identifier)
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")
    result = run("--verbose")
    assert "allow_deletes" in result.out
    assert_nothing_leaked(result.out, result.err, heard())


def test_a_broken_file_of_the_export_leaks_nothing(ometria, run, tmp_path, monkeypatch, heard, assert_nothing_leaked):
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    (bucket / "a.csv").write_text("id,email\n1,ada@shop.test\n2,bob@shop.test,surplus\n")
    (bucket / "b.jsonl").write_text('{"email": "ada@shop.test"\n')
    monkeypatch.setenv("SOURCES__OMETRIA__BUCKET_URL", bucket.as_uri())
    result = run("--verbose", "--tables", "email_events")
    assert result.status == 1
    assert_nothing_leaked(result.out, result.err, heard())


@pytest.mark.parametrize("flags", [[], ["--verbose"]], ids=["quiet", "verbose"])
def test_values_that_the_database_refuses_and_quotes_are_not_passed_on(
    ometria, run, load, warehouse, heard, assert_nothing_leaked, flags
):
    """DuckDB's message quotes the value; dlt logs it, and keeps it in the trace and beside the data."""
    load("--tables", "unsubscribes")
    refuse_values_of("unsubscribes", "email_address", warehouse)

    for _ in range(2):  # the second run reads the same again
        result = run("--tables", "unsubscribes", *flags)
        assert result.status == 1
        assert "The destination refused the data of `unsubscribes`" in result.out
        assert_nothing_leaked(result.out, result.err, heard())
    # what happened is told nevertheless
    assert "Could not convert string '…'" in heard()


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--verbose"]], ids=["quiet", "verbose"])
@pytest.mark.parametrize("level", [None, "DEBUG"])
def test_the_program_itself_leaks_nothing_when_it_succeeds_and_when_it_fails(
    ometria, export, warehouse, monkeypatch, assert_nothing_leaked, flags, level
):
    """Standard output and error of a process of its own, and what dlt's commands tell about it afterwards."""
    if level:
        monkeypatch.setenv("RUNTIME__LOG_LEVEL", level)

    def call(*command: str) -> tuple[int, str]:
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
        return result.returncode, result.stdout + result.stderr

    first = call(*warm_python(), str(PROGRAM), *flags)
    refuse_values_of("unsubscribes", "email_address", warehouse)
    second = call(*warm_python(), str(PROGRAM), *flags)
    ometria.fail("/", 500, times=None)
    third = call(*warm_python(), str(PROGRAM), *flags)
    told = [
        call(*warm_python(), str(DLT), "-v", "pipeline", "ometria_pipeline", *words)
        for words in (["info"], ["trace"], ["failed-jobs"], ["load-package"])
    ]

    assert [first[0], second[0], third[0]] == [0, 1, 1]
    assert "unsubscribes" in "".join(text for _, text in told)
    if "--verbose" in flags:
        assert "Could not convert string '…'" in second[1]
    assert_nothing_leaked(*(text for _, text in [first, second, third, *told]))


@pytest.fixture
def reached(monkeypatch) -> set[object]:
    """The addresses that are looked up or connected to."""
    places: set[object] = set()
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def noted_connect(self, address):
        places.add(address)
        return connect(self, address)

    def noted_look_up(host, port, *rest, **named):
        places.add((host, port))
        return look_up(host, port, *rest, **named)

    monkeypatch.setattr(socket.socket, "connect", noted_connect)
    monkeypatch.setattr(socket, "getaddrinfo", noted_look_up)
    return places


def place_of(server: SimulatedOmetria) -> tuple[str, int]:
    host, port = server.base_url.removeprefix("http://").removesuffix("/v2").split(":")
    return host, int(port)


def test_nothing_but_the_account_is_connected_to(ometria, export, load, reached):
    load()
    assert reached == {place_of(ometria)}


def test_a_redirect_leads_nowhere(ometria, run, reached, assert_nothing_leaked):
    """Neither the key nor anything else goes to the place that an answer points to."""
    with SimulatedOmetria(SimulatedAccount()) as elsewhere:
        ometria.behaviour = Behaviour(redirect_to=f"{elsewhere.base_url}/profiles?limit=3")
        ometria.fail("/", "redirect", times=None)
        result = run("--verbose")

    assert result.status == 1
    assert result.out.count("redirect") == 4
    assert not elsewhere.requests
    assert reached == {place_of(ometria)}
    assert_nothing_leaked(result.out, result.err)


@pytest.mark.parametrize(
    "base_url",
    [
        "http://api.shop.test/v2",
        "http://127.0.0.1.shop.test/v2",
        "http://localhost.shop.test/v2",
        "http://localhost@shop.test/v2",
        "http://0.0.0.0/v2",
        "HTTP://API.SHOP.TEST/v2",
        "ftp://api.shop.test/v2",
        "//api.shop.test/v2",
    ],
)
def test_without_tls_the_key_leaves_the_machine_never(ometria, run, monkeypatch, reached, base_url):
    monkeypatch.setenv("SOURCES__OMETRIA__BASE_URL", base_url)
    result = run()
    assert result.status == 2
    assert "base_url" in result.err
    assert not reached
