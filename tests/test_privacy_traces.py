"""Nothing personal is left anywhere by a load with `privacy = "strict"`, also of one that was killed.

The program is a process of its own. Everything that it leaves is searched: the working folder with its load packages,
state, traces and logs, the database and its log, and what was printed. All people are invented.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import PROGRAM, Machine

from ometria_source.simulator import SimulatedAccount, SimulatedOmetria

pytestmark = pytest.mark.slow

SALT = "an invented salt of the tests"
TABLES = ("profiles", "lists", "member_lists", "unsubscribes", "email_events")

# A shorter text can be in a database's bytes by chance.
SHORTEST = 5


@pytest.fixture
def machine(tmp_path: Path, workspace, monkeypatch) -> Iterator[Machine]:
    with SimulatedOmetria(SimulatedAccount()) as ometria:
        machine = Machine(tmp_path / "current", ometria)
        machine.become(None)
        for name, value in {
            "DLT_DATA_DIR": str(machine.folder / "dlt"),
            "SOURCES__OMETRIA__API_KEY": ometria.api_key,
            "SOURCES__OMETRIA__BASE_URL": ometria.base_url,
            "SOURCES__OMETRIA__BUCKET_URL": (machine.folder / "export").as_uri(),
            "SOURCES__OMETRIA__PRIVACY": "strict",
            "SOURCES__OMETRIA__PII_SALT": SALT,
            "WATCHED_FOLDERS": str(machine.folder),
        }.items():
            monkeypatch.setenv(name, value)
        yield machine


def personal_texts(account: SimulatedAccount) -> set[str]:
    """What must not be found: names, addresses, numbers and birthdays."""
    texts: set[str] = {SALT}
    for profile in account.profiles.values():
        phone = profile.get("phone_number")
        values = [profile.get(field) for field in ("email", "name", "firstname", "lastname", "date_of_birth")]
        values.append(phone.get("number") if isinstance(phone, dict) else phone)
        texts.update(str(value) for value in values if value)
    return {text for text in texts if len(text) >= SHORTEST}


def leaks(machine: Machine, printed: str, account: SimulatedAccount) -> list[tuple[str, str]]:
    texts = personal_texts(account)
    assert len(texts) > 500
    places = {"printed": printed.encode()}
    for folder in ("dlt", "workspace"):
        for path in (machine.folder / folder).rglob("*"):
            if path.is_file():
                places[str(path.relative_to(machine.folder))] = path.read_bytes()
    # in small letters, of which there are fewer to search for
    spellings = {spelling.encode().lower(): text for text in texts for spelling in (text, text.lower(), text.upper())}
    return [
        (place, text)
        for place, content in places.items()
        for small in [content.lower()]
        for spelling, text in spellings.items()
        if spelling in small
    ]


def test_the_search_finds_what_an_ordinary_load_leaves(machine):
    result = machine.load(SOURCES__OMETRIA__PRIVACY="")
    found = {text for _, text in leaks(machine, result.stdout, machine.account)}
    assert {p["email"] for p in machine.account.profiles.values() if p["email"]} <= found
    assert SALT not in found


def test_a_strict_load_leaves_nothing(machine):
    result = machine.run(PROGRAM, "--verbose", RUNTIME__LOG_LEVEL="DEBUG")
    assert result.returncode == 0, result
    assert leaks(machine, result.stdout + result.stderr, machine.account) == []
    people = machine.account
    machine.change()
    result = machine.run(PROGRAM, "--verbose")
    assert result.returncode == 0, result
    assert leaks(machine, result.stdout + result.stderr, people) == []
    for table in TABLES:
        assert machine.warehouse.rows(table)


@pytest.mark.parametrize(("phase", "most"), [("extract", 350), ("normalize", 350), ("load", 420), ("commit", 500_000)])
def test_a_strict_load_that_is_killed_leaves_nothing(machine, phase, most):
    machine.kill(phase, random.Random(phase).randint(most // 3, most), "--verbose")
    assert leaks(machine, "", machine.account) == []
    # what it left is finished, and still nothing is found
    result = machine.run(PROGRAM, "--verbose")
    assert result.returncode == 0, result
    assert leaks(machine, result.stdout + result.stderr, machine.account) == []


def test_a_strict_load_that_fails_leaves_nothing(machine):
    (machine.folder / "export" / "broken.csv").write_text("event_id,email\n1,jane.broken@shop.test,more\n")
    result = machine.run(PROGRAM, "--verbose", RUNTIME__LOG_LEVEL="DEBUG")
    assert result.returncode == 1, result
    assert "broken.csv" in result.stdout
    assert leaks(machine, result.stdout + result.stderr, machine.account) == []
    assert "jane.broken" not in result.stdout + result.stderr
