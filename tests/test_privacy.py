"""Personal data that must not reach the warehouse: hashed, dropped, and by the preset. All data is invented."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from pathlib import Path

import dlt
import pytest

from ometria_source import InvalidSettingError, ometria_source

SALT = "an invented salt of the tests"


def hashed(text: str) -> str:
    return hmac.new(SALT.encode(), text.encode(), hashlib.sha256).hexdigest()


def configure(monkeypatch: pytest.MonkeyPatch, **settings: object) -> None:
    for name, value in {"pii_salt": SALT, **settings}.items():
        key = f"SOURCES__OMETRIA__{name.upper()}"
        if value is None:
            monkeypatch.delenv(key, raising=False)
        else:
            monkeypatch.setenv(key, value if isinstance(value, str) else json.dumps(value))


@pytest.fixture
def events(bucket: Path):
    def write(name: str, text: str) -> None:
        path = bucket / name
        path.write_text(text, encoding="utf-8")
        os.utime(path, (1_790_000_000, 1_790_000_000))

    return write


def test_a_hashed_address_joins_the_tables(ometria, account, bucket, events, load, warehouse, monkeypatch):
    people = {p["id"]: p for p in account.profiles.values() if p["email"]}
    person = next(iter(people.values()))
    events("e.csv", f"event_id,To Address\n1,  {person['email'].upper()} \n2,\n3,no address\n")
    configure(monkeypatch, hash_columns=["*.email", "unsubscribes.email_address", "email_events.to_address"])
    load()
    for row in warehouse.rows("profiles"):
        raw = account.profiles[row["profile_id"]]["email"]
        assert row["email"] == (hashed(raw.strip().lower()) if raw is not None else None)
    opt_outs = {row["email_address"] for row in warehouse.rows("unsubscribes")}
    assert opt_outs <= {None, *(hashed(p["email"].lower()) for p in people.values())}
    assert len(opt_outs) > 1
    events_loaded = {row["event_id"]: row["to_address"] for row in warehouse.rows("email_events")}
    assert events_loaded == {"1": hashed(person["email"].lower()), "2": None, "3": hashed("no address")}
