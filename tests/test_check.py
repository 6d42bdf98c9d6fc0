"""`--check` says truly how an account behaves, and nothing of anybody. All data is invented."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from ometria_source.api import client
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
        ({"members_path": None, "profiles_carry_lists": False}, "members path", "no profile among ten"),
        ({"update_since_honoured": False}, "updateSince", "it is not honoured"),
        ({"profiles_paged": False}, "past the end", "`offset` is not honoured"),
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
    assert found["key"]["status"] == "failed"
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
