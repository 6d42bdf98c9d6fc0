"""No personal value can be read in what `privacy = "strict"` leaves: in any table, format, place and spelling."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from examples import few
from personal_values import GROUPS, IN_NAMES, VALUES, objects, readable

from ometria_source.simulator import SimulatedAccount

PROJECT = Path(__file__).parents[1]

SALT = "an invented salt of the tests"

TABLES = (
    "profiles,lists,unsubscribes,contacts,orders,products,custom_events,collections,list_changes,push_errors,"
    "data_deletion_requests"
)


@pytest.fixture(autouse=True)
def strict(monkeypatch) -> None:
    monkeypatch.setenv("SOURCES__OMETRIA__PRIVACY", "strict")
    monkeypatch.setenv("SOURCES__OMETRIA__PII_SALT", SALT)


def flat_rows() -> list[dict[str, Any]]:
    """The objects as rows of texts, as csv has them."""
    return [
        {
            name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for name, value in row.items()
        }
        for row in objects()
    ]


def columns_of(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def as_csv(rows: list[dict[str, Any]], delimiter: str) -> bytes:
    names = columns_of(rows)
    lines = [names, *([row.get(name, "") for name in names] for row in rows)]
    return "\n".join(delimiter.join('"' + cell.replace('"', '""') + '"' for cell in line) for line in lines).encode()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    names = columns_of(rows)
    pq.write_table(pa.table({name: pa.array([row.get(name) for row in rows], pa.string()) for name in names}), sink)
    return sink.getvalue().to_pybytes()


FORMATS: dict[str, Callable[[], bytes]] = {
    "csv": lambda: as_csv(flat_rows(), ","),
    "tsv": lambda: as_csv(flat_rows(), "\t"),
    "jsonl": lambda: "\n".join(json.dumps(row, ensure_ascii=False) for row in objects()).encode(),
    "csv.gz": lambda: gzip.compress(as_csv(flat_rows(), ",")),
    "parquet": lambda: as_parquet(flat_rows()),
}


def add_to_all(account: SimulatedAccount, fields: dict[str, Any]) -> None:
    """Give one object of each collection more fields."""
    account.update_profile(next(iter(account.profiles)), **fields)
    account.update_list(next(iter(account.lists)), **fields)
    account.unsubscribes[0].update(fields)
    shop = account.shop
    collections = [*shop.contacts.values(), shop.products, shop.orders, shop.custom_events, shop.deletion_requests]
    records = [next(iter(records.values())) for records in collections]
    records += [next(iter(shop.list_changes.values()))[0], shop.push_errors[-1]]
    records.append(next(order["lineitems"][0] for order in shop.orders.values() if order["lineitems"]))
    for record in records:
        record.update(fields)


def test_there_are_enough_values():
    assert len({*VALUES, *IN_NAMES}) >= 150


def test_the_search_finds_what_an_ordinary_load_leaves(bucket, run, tmp_path, monkeypatch):
    monkeypatch.delenv("SOURCES__OMETRIA__PRIVACY")
    (bucket / "e.jsonl").write_bytes(FORMATS["jsonl"]())
    assert run("--tables", "email_events").status == 0
    found = {value for _, value in readable(VALUES, [tmp_path / "workspace"])}
    # DuckDB packs some texts
    assert len(found) > 100


@pytest.mark.parametrize("name", few(FORMATS, 2))
def test_no_value_of_an_export_can_be_read(bucket, run, warehouse, tmp_path, name):
    folder = bucket / IN_NAMES[3]
    folder.mkdir()
    (folder / f"{IN_NAMES[4]}.{name}").write_bytes(FORMATS[name]())
    (bucket / "names.csv").write_text(f"id,{IN_NAMES[0]},{IN_NAMES[1]},status\n1,x,y,open\n", encoding="utf-8")
    (bucket / "keys.jsonl").write_text(json.dumps({"id": 2, "last_event": {IN_NAMES[2]: 1, "type": "open"}}))
    described = run("--describe")
    result = run("--verbose", "--tables", "email_events,email_event_files", "--report", "report.json")
    assert result.status == 0, result
    left = [tmp_path / "workspace", tmp_path / "dlt"]
    assert readable([*VALUES, *IN_NAMES], left, result.out, result.err, described.out, described.err) == []
    rows = warehouse.rows("email_events")
    assert len(rows) == len(VALUES) + 2
    # what is harmless is there
    assert {row["campaign"] for row in rows} >= {f"Sale {number}" for number in range(len(GROUPS["who"]))}
    assert {row["event_type"] for row in rows} == {"open", None}
    assert "hashed because unknown" in result.out


def test_what_is_kept_by_name_is_there_and_nothing_else(bucket, run, warehouse, tmp_path, monkeypatch):
    (bucket / "e.jsonl").write_bytes(FORMATS["jsonl"]())
    kept = ["email_events.remark", "email_events.payload__deep__pc", "email_events.last_event__lives"]
    monkeypatch.setenv("SOURCES__OMETRIA__KEEP_COLUMNS", json.dumps(kept))
    result = run("--tables", "email_events")
    assert result.status == 0, result
    rows = warehouse.rows("email_events")
    assert {row["remark"] for row in rows} - {None} == set(GROUPS["remark"])
    assert {row["payload"]["deep"].get("pc") for row in rows} - {None} == set(GROUPS["pc"])
    assert {row["last_event"].get("lives") for row in rows} - {None} == set(GROUPS["lives"])
    hidden = [value for name in ("contact", "call", "who", "b_day", "machine") for value in GROUPS[name]]
    shared = {value for value in hidden for text in (*GROUPS["remark"], *GROUPS["lives"]) if value in text}
    assert readable(set(hidden) - shared, [tmp_path / "workspace", tmp_path / "dlt"], result.out, result.err) == []


def test_no_value_of_the_api_can_be_read(account, ometria, run, warehouse, tmp_path):
    """Unknown fields of every kind of object, at the top, nested and in lists."""
    extra: dict[str, Any] = {}
    for row in objects():
        for name, value in row.items():
            extra.setdefault(name, []).append(value)
    fields = {f"{name}_{number}": value for name, values in extra.items() for number, value in enumerate(values[:40])}
    add_to_all(account, fields)
    result = run("--verbose", "--tables", TABLES, "--report", "report.json")
    assert result.status == 0, result
    assert readable(VALUES, [tmp_path / "workspace", tmp_path / "dlt"], result.out, result.err) == []


@pytest.mark.slow
def test_the_recipe_of_the_documentation_finds_what_is_readable(account, ometria, tmp_path, monkeypatch):
    """As a user runs it: the file of docs/personal-data.md, beside the pipeline."""
    (recipe,) = re.findall(r"```python\n(.*?)```", (PROJECT / "docs" / "personal-data.md").read_text(), re.DOTALL)
    (tmp_path / "test_recipe.py").write_text(recipe, encoding="utf-8")
    (tmp_path / "pipelines").symlink_to(PROJECT / "pipelines")
    person = next(profile for profile in account.profiles.values() if profile["email"] and profile["phone_number"])
    (tmp_path / "personal.txt").write_text(f"{person['email']}\n{person['lastname']} at home\n", encoding="utf-8")
    monkeypatch.setenv("PERSONAL", str(tmp_path / "personal.txt"))
    monkeypatch.setenv("TABLES", "profiles,unsubscribes")

    def outcome() -> str:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_recipe.py"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout

    assert "1 passed" in outcome()
    monkeypatch.delenv("SOURCES__OMETRIA__PRIVACY")
    found = outcome()
    assert "1 failed" in found
    assert "profiles.email" in found


def test_describe_shows_what_strict_does_to_each_column(bucket, run, warehouse):
    (bucket / "e.csv").write_text(
        "event_id,event_type,sentAt,Recipient,device type,subject\n1,open,2024-01-02,Ada,phone,Hi\n"
    )
    described = run("--describe").out
    said = {
        line.split("  ")[1]: re.search(r"  (kept|hashed)\b", line) for line in described.splitlines() if "1/1" in line
    }
    hashed = {name for name, word in said.items() if word and word[1] == "hashed"}
    assert hashed == {"Recipient", "device type", "subject"}
    assert said.keys() - hashed == {"event_id", "event_type", "sentAt"}
    assert 'keep_columns = ["email_events.device_type", "email_events.subject"]' in described
    assert run("--tables", "email_events").status == 0
    (row,) = warehouse.rows("email_events")
    assert [len(row[name]) for name in ("recipient", "device_type", "subject")] == [64] * 3
    assert (row["event_id"], row["event_type"], row["sent_at"]) == ("1", "open", "2024-01-02")


def test_the_working_folder_holds_no_value_of_rows_from_before(account, ometria, bucket, load, tmp_path, monkeypatch):
    """Neither of a load before `strict`, nor of a person who was erased."""
    (bucket / "e.jsonl").write_bytes(FORMATS["jsonl"]())
    gone = next(profile for profile in account.profiles.values() if profile["email"] and profile["lastname"])
    values = [*VALUES, gone["email"], f"{gone['firstname']} {gone['lastname']}"]
    monkeypatch.delenv("SOURCES__OMETRIA__PRIVACY")
    load("--tables", "email_events,profiles")
    assert readable(values, [tmp_path / "dlt"]) == []
    account.erase_profile(gone["id"])
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")
    load("--tables", "profiles")
    assert readable(values, [tmp_path / "dlt"]) == []
    monkeypatch.setenv("SOURCES__OMETRIA__PRIVACY", "strict")
    load("--tables", "email_events,profiles", "--full-refresh")
    assert readable(values, [tmp_path / "dlt"]) == []
