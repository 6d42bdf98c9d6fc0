"""`--check` says truly how an account behaves, and nothing of anybody. All data is invented."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from ometria_source.api import client
from ometria_source.cli.options import PIPELINE_NAME
from ometria_source.loading.pipeline import held, pipeline_folder
from ometria_source.simulator import Behaviour


@pytest.fixture(autouse=True)
def no_pace_of_its_own(monkeypatch):
    monkeypatch.setattr(client, "ENDPOINT_LIMITS", {})


@pytest.fixture
def check(account, ometria, run, workspace):
    """Run the check; its findings by name, and its exit status."""

    def run_check(*flags: str) -> tuple[dict[str, dict[str, str]], int]:
        ometria.requests.clear()
        result = run("--check", "--report", "report.json", *flags)
        report = json.loads((workspace / "report.json").read_text(encoding="utf-8"))
        assert report["requests"] == len(ometria.requests) <= 60
        assert all(request.method == "GET" for request in ometria.requests)
        for finding in report["checks"]:
            assert f"{finding['status']} {finding['name']}: {finding['finding']}" in result.out
            assert (finding["advice"] is not None) == (finding["status"] == "failed")
        text = json.dumps(report) + result.out + result.err
        people = [account.profiles[key] for key in account.profiles]
        personal = [person[field] for person in people for field in ("email", "id", "customer_id", "lastname")]
        assert not [value for value in personal if value and len(value) > 5 and value in text]
        assert ometria.api_key not in text
        names = {finding["name"] for finding in report["checks"]}
        assert names >= {"members path", "page limit", "unsubscribes paging", "Retry-After"}
        assert not (workspace / "ometria_pipeline.duckdb").exists()
        return {finding["name"]: finding for finding in report["checks"]}, result.status

    return run_check


def test_an_account_as_it_is_documented(account, ometria, export, check):
    found, status = check()
    assert status == 0
    assert not [finding for finding in found.values() if finding["status"] == "failed"]
    assert found["key"]["finding"] == "accepted"
    assert found["page limit"]["finding"] == "250 is given, and 250 where 1000 are asked for"
    assert found["past the end"]["finding"] == "an empty list"
    assert found["updateSince"]["finding"].startswith("a date is honoured")
    assert found["members path"]["finding"] == "/lists/{list_id}/profiles, paged"
    assert found["Retry-After"]["status"] == "unknown"
    assert "files" in found["bucket"]["finding"]


@pytest.mark.parametrize(
    ("behaviour", "name", "words"),
    [
        ({"max_limit": 100}, "page limit", "100, although 250"),
        ({"over_limit": "refuse"}, "page limit", "1000 is refused with status 400"),
        ({"members_path": "members"}, "members path", "/lists/{list_id}/members, paged"),
        ({"members_path": "contacts", "members_item": "contact"}, "members path", "/lists/{list_id}/contacts, paged"),
        ({"members_paged": False}, "members path", "/lists/{list_id}/profiles, not paged"),
        ({"members_path": None}, "members path", "profiles carry their `lists`"),
        ({"members_path": None, "profiles_carry_lists": False}, "members path", "no profile among 250"),
        ({"update_since_honoured": False}, "updateSince", "it is not honoured"),
        ({"profiles_paged": False}, "past the end", "`offset` is not honoured"),
        ({"profiles_paged": False}, "page limit", "could not be asked"),
        ({"unsubscribes_paged": True}, "unsubscribes paging", "`limit` and `offset` are honoured"),
        ({"unsubscribes_cap": 20}, "unsubscribes paging", "cut at 20 rows"),
        ({"unsubscribes_cap": 20, "unsubscribes_order": "descending"}, "unsubscribes paging", "cut at 20 rows"),
    ],
)
def test_an_account_that_behaves_otherwise(ometria, check, behaviour, name, words):
    ometria.behaviour = Behaviour(**behaviour)
    found, _ = check("--tables", "profiles,lists,member_lists,unsubscribes")
    assert words in found[name]["finding"], found[name]


def test_unsubscribes_that_come_at_once(account, ometria, check):
    while len(account.unsubscribes) % 10 != 0:
        account.unsubscribe(list(account.profiles)[0], at=account.now - timedelta(days=1))
    found, _ = check("--tables", "unsubscribes")
    assert "not paged: all" in found["unsubscribes paging"]["finding"]
    account.unsubscribe(list(account.profiles)[0], at=account.now - timedelta(days=1))
    found, _ = check("--tables", "unsubscribes")
    assert f"all {len(account.unsubscribes)} rows come at once" in found["unsubscribes paging"]["finding"]


def test_opt_outs_of_one_second_are_not_taken_for_cut(account, ometria, check):
    account.unsubscribes.clear()
    at = account.now - timedelta(days=1)
    for person in list(account.profiles)[:20]:
        account.unsubscribe(person, at=at)
    found, _ = check("--tables", "unsubscribes")
    assert found["unsubscribes paging"]["finding"] == "not paged: all 20 rows come at once"


def test_a_list_of_one_member_does_not_tell_whether_members_are_paged(account, ometria, check):
    ometria.behaviour = Behaviour(members_paged=False)
    for item, members in account.members.items():
        for person in members[1:]:
            account.leave(item, person)
    found, _ = check("--tables", "member_lists")
    assert "no list has two members" in found["members path"]["finding"]


@pytest.mark.parametrize(
    ("behaviour", "table", "name"),
    [
        ({"forbidden": frozenset({"/contacts"})}, "collections", "contacts"),
        ({"forbidden": frozenset({"/lists"})}, "member_lists", "lists"),
        ({"forbidden": frozenset({"/lists"})}, "list_changes", "lists"),
        ({"missing": frozenset({"/lists/"})}, "list_changes", "list changes"),
        ({"forbidden": frozenset({"/lists/"})}, "list_changes", "list changes"),
        ({"forbidden": frozenset({"/profiles"}), "members_path": None}, "member_lists", "members path"),
        ({"members_path": None, "profiles_carry_lists": False}, "member_lists", "members path"),
    ],
)
def test_what_keeps_a_wanted_table_from_loading_fails_the_check_as_it_fails_the_load(
    ometria, run, check, behaviour, table, name
):
    ometria.behaviour = Behaviour(**behaviour)
    found, status = check("--tables", table)
    assert (status, found[name]["status"]) == (1, "failed")
    assert run("--tables", table).status == 1


@pytest.mark.parametrize(
    ("behaviour", "fault", "table"),
    [
        ({}, ("/orders", 400), "profiles"),
        ({}, ("/orders", 503), "profiles"),
        ({"profiles_paged": False}, None, "unsubscribes"),
        ({"forbidden": frozenset({"/profiles", "/lists"})}, None, "unsubscribes"),
    ],
)
def test_what_a_wanted_table_does_not_need_fails_nothing(ometria, check, run, behaviour, fault, table):
    ometria.behaviour = Behaviour(**behaviour)
    if fault:
        ometria.fail(*fault, times=None)
    found, status = check("--tables", table)
    assert status == 0, found
    assert found["key"]["status"] == "ok"
    ometria.heal()
    assert run("--tables", table).status == 0


def test_where_members_are_read_from_is_what_is_checked(ometria, check, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", "lists")
    ometria.behaviour = Behaviour(members_path=None)
    found, status = check("--tables", "member_lists")
    assert (status, found["members path"]["status"]) == (1, "failed")
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", "profiles")
    ometria.behaviour = Behaviour(members_path=None, forbidden=frozenset({"/lists"}))
    found, status = check("--tables", "member_lists")
    assert (status, found["lists of profiles"]["status"]) == (0, "ok")


def test_an_account_that_does_not_answer_ends_the_check(ometria, check):
    ometria.fail("/", 503, times=None)
    found, status = check()
    assert status == 1
    assert found["key"]["finding"] == "no answer came"
    assert {request.path for request in ometria.requests} == {"/profiles"}


def test_an_account_that_answers_no_more_is_asked_sixty_times(ometria, check, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__PATIENCE_MINUTES", "0.5")
    monkeypatch.setattr(client, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(client, "LONGEST_WAIT", 0.01)
    ometria.after_request(3, lambda: ometria.fail("/", 503, times=None))
    _, status = check()
    assert (len(ometria.requests), status) == (60, 1)


def test_a_check_leaves_the_loads_alone(account, ometria, export, load, check, workspace, monkeypatch):
    """Also one that is under way: nothing of its working folder is touched, nor a place made that was not there."""
    monkeypatch.setenv("DESTINATION__SQLALCHEMY__CREDENTIALS", "sqlite:///here.sqlite")
    load("--tables", "lists", "--destination", "sqlalchemy")

    def files() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in workspace.parent.rglob("*") if path.is_file()}

    with held(pipeline_folder(PIPELINE_NAME)):
        before = files()
        assert before
        for place, destination in [("here", "sqlalchemy"), ("elsewhere", "sqlalchemy"), ("", "duckdb")]:
            monkeypatch.setenv("DESTINATION__SQLALCHEMY__CREDENTIALS", f"sqlite:///{place}.sqlite")
            _, status = check("--destination", destination)
            assert status == 0
            (workspace / "report.json").unlink()
    assert files() == before


def test_the_check_says_what_becomes_of_personal_columns(ometria, bucket, check, monkeypatch):
    for name, value in {
        "HASH_COLUMNS": '["*.email", "profiles.properties__notes"]',
        "DROP_COLUMNS": '["profiles.date_of_birth"]',
        "PII_SALT": "an invented salt of the tests",
    }.items():
        monkeypatch.setenv(f"SOURCES__OMETRIA__{name}", value)
    found, _ = check("--tables", "all")
    assert re.fullmatch(
        r"\d+ documented columns are kept; hashed: `email`, `properties__notes`; left out: `date_of_birth`",
        found["privacy of profiles"]["finding"],
    )
    assert "hashed" not in found["privacy of lists"]["finding"]
    assert "privacy of order_line_items" in found
    monkeypatch.setenv("SOURCES__OMETRIA__PRIVACY", "strict")
    found, _ = check("--tables", "profiles")
    assert "`customer_name`" in found["privacy of profiles"]["finding"]
    assert "known to be harmless" in found["privacy of profiles"]["finding"]


def test_a_destination_that_holds_something_else(ometria, export, run, workspace):
    (workspace / "ometria_pipeline.duckdb").write_bytes(b"no database" * 1000)
    result = run("--check")
    assert result.status == 1
    assert "failed destination duckdb: it cannot be reached" in result.out
    assert "`destination.duckdb.credentials`" in result.out


def test_a_refused_table_fails_only_if_it_is_wanted(ometria, check):
    ometria.behaviour = Behaviour(forbidden=frozenset({"/lists", "/orders"}))
    found, status = check("--tables", "lists,profiles")
    assert status == 1
    assert found["lists"]["status"] == "failed"
    assert "403" in found["lists"]["finding"]
    assert found["orders"]["status"] == "unknown"
    found, status = check("--tables", "profiles")
    assert status == 0
    assert found["lists"]["status"] == "unknown"


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_ends_the_check(ometria, check, monkeypatch, status):
    monkeypatch.setenv("SOURCES__OMETRIA__API_KEY", "another-key-1111")
    ometria.behaviour = Behaviour(refused_status=status)
    found, exit_status = check()
    assert exit_status == 1
    assert [name for name, finding in found.items() if finding["status"] == "failed"] == ["key"]
    assert [finding["advice"] for finding in found.values() if finding["advice"]] == [found["key"]["advice"]]
    assert len(ometria.requests) <= 3


@pytest.mark.parametrize(("header", "words"), [(None, "without it"), ("0", "with it")])
def test_a_429_that_happens_to_come(ometria, check, header, words):
    ometria.fail("/lists", 429, retry_after=header)
    found, _ = check("--tables", "profiles,lists")
    assert words in found["Retry-After"]["finding"]


def test_a_bucket_without_a_file_and_a_destination_out_of_reach(ometria, bucket, check, monkeypatch):
    monkeypatch.setenv("DESTINATION__SQLALCHEMY__CREDENTIALS", "sqlite:////nowhere/at/all/warehouse.sqlite")
    found, status = check("--destination", "sqlalchemy")
    assert status == 1
    assert found["bucket"]["status"] == "failed"
    assert found["destination sqlalchemy"]["status"] == "failed"
    assert "`destination.sqlalchemy.credentials`" in found["destination sqlalchemy"]["advice"]


def test_without_a_bucket_the_check_says_so(ometria, check):
    found, status = check("--tables", "profiles")
    assert (status, found["bucket"]["status"]) == (0, "unknown")
    assert found["bucket"]["finding"] == "none is configured"
