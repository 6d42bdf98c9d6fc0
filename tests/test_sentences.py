"""What a user reads where something is wrong: one sentence that says what to do. All data is invented."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import truth
from machine import PROGRAM
from warm_python import warm_python

from ometria_source import LoadFailedError, load
from ometria_source.simulator import Behaviour, SimulatedAccount


@pytest.fixture
def account() -> SimulatedAccount:
    """Small: what is tested does not depend on numbers."""
    return SimulatedAccount.invent(30, now=datetime.now(timezone.utc) - timedelta(hours=1))


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("tables", ["lists,unsubscribes", pytest.param("all", marks=pytest.mark.slow)])
def test_a_refused_key_is_said_first_and_once(ometria, export, run, status, tables):
    ometria.behaviour = Behaviour()
    ometria.fail("/", status, times=None)
    result = run("--tables", tables)
    assert result.status == 1
    sentence = (
        f"Ometria refuses the API key (status {status}): check `sources.ometria.api_key` against Settings > API keys "
        "in Ometria, and `base_url`."
    )
    assert result.out.splitlines()[0] == sentence
    assert result.out.count("API key") == sentence.count("API key")
    assert "--verbose" not in result.out
    result = run("--tables", tables, "--check")
    assert result.out.count("API key") == sentence.count("API key")
    assert f"failed key: refused\n    {sentence}\n" in result.out
    with pytest.raises(LoadFailedError) as failed:
        load(tables).raise_for_failures()
    assert str(failed.value).count("API key") == sentence.count("API key")


def test_a_refused_key_is_said_where_other_endpoints_are_not_there(ometria, run):
    ometria.fail("/", 401, times=None)
    for path in ("/contacts", "/orders", "/push/_errors"):
        ometria.fail(path, 404, times=None)
    for flags in ([], ["--check"]):
        result = run("--tables", "all", *flags)
        assert result.status == 1
        assert result.out.count("Ometria refuses the API key") == 1
        assert "Ask Ometria for access" not in result.out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--tabels", "lists"], "--tabels (is --tables meant?)"),
        (["--full-refrehs"], "--full-refrehs (is --full-refresh meant?)"),
        (["--tables", "profile"], "is `profiles` meant?"),
        (["--tables", "unsubscribe"], "is `unsubscribes` meant?"),
    ],
)
def test_the_nearest_name_is_proposed(ometria, run, flags, said):
    result = run(*flags)
    assert result.status == 2
    assert said in result.err
    assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize(
    "flags",
    [
        ["--destination", "postgresql://ada:SECRET-123@host/db"],
        ["--dataset", "ada@shop.test"],
        ["--dataset", "caf\udce9"],
        ["--check=SECRET-123"],
        ["-kSECRET-123"],
        ["SECRET-123"],
        ["--api-key=SECRET-123"],
        ["--tables", "SECRET-123-that-is-longer-than-a-table"],
    ],
)
def test_what_is_typed_in_the_wrong_place_is_not_shown(ometria, run, workspace, flags):
    result = run("--report", "report.json", *flags)
    assert result.status == 2
    report = (workspace / "report.json").read_text(encoding="utf-8")
    for text in ("SECRET", "ada", "caf"):
        assert text not in result.err + report
    assert json.loads(report)["exit_status"] == 2


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("START_DATE", "yesterday", "It is `yesterday`."),
        ("START_DATE", "1969-01-01", "It is `1969-01-01 00:00:00`."),
        ("REQUESTS_PER_SECOND", "many", "It is `many`."),
        ("REQUESTS_PER_SECOND", "-1", "It is `-1.0`."),
        ("FULL_SCAN_DAYS", "-1", "It is `-1.0`."),
        ("DELETES", "softly", "It is `softly`."),
        ("HISTORY", "lists2", "It is `lists2`."),
        ("PRIVACY", "strikt", "It is `strikt`."),
        ("CSV_DELIMITER", "ab", "It is `ab`."),
        ("CSV_ENCODING", "utf-99", "It is `utf-99`."),
        ("SCHEMA_CONTRACT", "evolv", "It is `evolv`."),
        ("EMAIL_EVENTS_COLUMNS", '{"opened_at": "instant"}', "for `opened_at`. It is `instant`."),
        ("EMAIL_EVENTS_COLUMNS", '{"ada@shop.test": "instant"}', "for `…`. It is `instant`."),
        ("DELETES", "a-password-of-27-characters", "It is `…`."),
    ],
)
def test_a_wrong_value_is_named_unless_it_may_be_a_secret(ometria, bucket, run, monkeypatch, setting, value, said):
    monkeypatch.setenv(f"SOURCES__OMETRIA__{setting}", value)
    result = run()
    assert result.status == 2
    assert f"`{setting.lower()}` " in result.err
    assert said in result.err


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("API_KEY", "from Settings > API keys in Ometria"),
        ("BUCKET_URL", "s3://your-bucket/prefix"),
        ("BUCKET_URL", "s3://bucket/prefix"),
    ],
)
def test_what_the_documentation_has_for_a_value_is_known(ometria, run, monkeypatch, setting, value):
    monkeypatch.setenv(f"SOURCES__OMETRIA__{setting}", value)
    for flags in ([], ["--check"]):
        result = run(*flags)
        assert result.status == 2
        assert f"`{setting.lower()}` is still the text of the documentation" in result.err
    assert not ometria.requests


def test_the_part_of_credentials_that_lacks_is_named_as_its_setting(ometria, run, monkeypatch):
    for name, value in {"HOST": "127.0.0.1", "DATABASE": "none", "USERNAME": "nobody"}.items():
        monkeypatch.setenv(f"DESTINATION__POSTGRES__CREDENTIALS__{name}", value)
    result = run("--destination", "postgres", "--tables", "lists")
    assert "`destination.postgres.credentials.password` is not configured" in result.out + result.err


def test_a_database_that_another_process_has_open(account, ometria, warehouse, run, load, workspace):
    load("--tables", "lists")
    hold = (
        f"import duckdb, sys; c = duckdb.connect({str(warehouse.path)!r}); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline()
        result = run("--tables", "lists", "--report", "report.json")
        holder.stdin.close()
    said = "its file is open in another process"
    assert result.status == 1
    assert said in result.out
    assert said in json.loads((workspace / "report.json").read_text(encoding="utf-8"))["error"]
    load("--tables", "lists")
    truth.assert_lists(warehouse, account)


def test_a_folder_that_is_not_there(ometria, run, monkeypatch, tmp_path):
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(tmp_path / "no" / "such" / "folder.duckdb"))
    assert "its folder is not there. Make it" in run("--tables", "lists").out


@pytest.mark.slow
def test_too_many_open_files(account, ometria, warehouse, workspace, load):
    command = [*warm_python(), str(PROGRAM), "--tables", "lists,unsubscribes"]
    result = subprocess.run(
        [sys.executable, "-c", FEW_FILES, *command[1:]], capture_output=True, text=True, check=False
    )
    assert result.returncode in (1, 2), result
    assert "too many open files" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    load("--tables", "lists,unsubscribes")
    truth.assert_lists(warehouse, account)


# Runs a program as Python would, with few descriptors left for it.
FEW_FILES = f"""
import os, resource, runpy, sys
sys.argv = sys.argv[-3:]
import ometria_source.cli.program, duckdb, dlt.destinations.impl.duckdb.duck, s3fs, pyarrow.parquet
resource.setrlimit(resource.RLIMIT_NOFILE, (24, {resource.getrlimit(resource.RLIMIT_NOFILE)[1]}))
held = [os.open(os.devnull, os.O_RDONLY) for _ in range(24 - 3 - len(os.listdir("/proc/self/fd")))]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_names_are_shown_without_what_a_terminal_obeys(account, ometria, load):
    load("--tables", "lists")
    names = ["red\x1b[31m", "two\nlines", "n" * 300]
    for item in account.lists.values():
        for number, name in enumerate(names):
            item[name] = number
    out = load("--tables", "lists").out
    assert "\x1b" not in out
    assert "lines" not in [line.strip() for line in out.splitlines()]
    assert max(map(len, out.split())) <= 210


def test_the_check_prints_names_without_what_a_terminal_obeys(ometria, bucket, run):
    (bucket / "a.csv").write_text("id\n1\n")
    Path(os.fsdecode(bytes(bucket) + b"/u\xff\x1b[31m\nok key: accepted.csv")).touch()
    result = run("--tables", "email_events", "--check")
    assert "\x1b" not in result.out
    assert "\nok key: accepted.csv" not in result.out
    assert "\\x1b[31m" in result.out


def test_no_more_than_200_characters_of_a_name_are_shown(bucket, run):
    name = "word " * 49 + ".parquet"
    (bucket / name).write_text("no parquet")
    result = run("--tables", "email_events")
    assert name[:200] in result.out
    assert name[:201] not in result.out


def test_names_of_files_are_shown_without_what_a_terminal_obeys(ometria, bucket, run):
    (bucket / "bad\x1b[31m\n.csv.gz").write_bytes(b"\x1f\x8b\x08 not gzip")
    result = run("--tables", "email_events")
    assert result.status == 1
    assert "\x1b" not in result.out
    assert r"bad\x1b[31m\n.csv.gz" in result.out
