"""A run adds a bounded number of columns to a table, whatever an account or an export has for names."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from ometria_source.exceptions import TooManyColumnsError
from ometria_source.shown import shown_name
from ometria_source.sync import new_columns
from ometria_source.sync.new_columns import NewColumns

CONTRACT = "SOURCES__OMETRIA__SCHEMA_CONTRACT"


@pytest.fixture(autouse=True)
def most(monkeypatch) -> int:
    """A bound of ten."""
    monkeypatch.setattr(new_columns, "MAX_NEW_COLUMNS", 10)
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")
    return 10


def evolving(mode: str = "evolve", note: Callable[[str], None] = print) -> NewColumns:
    return NewColumns("profiles", ["known"], {"tables": "evolve", "columns": mode, "data_type": "evolve"}, note)


def test_ten_new_columns_are_added_and_the_eleventh_is_refused():
    columns = evolving()
    for number in range(10):
        assert columns.left_out(["known", f"new_{number}", "new_0"], str) == []
    with pytest.raises(TooManyColumnsError, match="more than 10 new columns in this run, such as `new_0`, `new_1`"):
        columns.left_out(["new_10"], str)


@pytest.mark.parametrize("mode", ["discard_value", "discard_row"])
def test_what_a_contract_discards_is_left_out_and_told_once(mode):
    notes: list[str] = []
    columns = evolving(mode, notes.append)
    names = [f"new_{number}" for number in range(12)]
    for _ in range(2):
        assert columns.left_out(names, str) == ["new_10", "new_11"]
    assert len(notes) == 1


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("loyalty_tier", "loyalty_tier"),
        ("ada.lovelace@shop.test", "field_66bb9613936045f2"),
        ("名前", "名前"),
        ("a\nb\x1b[31m", "a\\nb\\x1b[31m"),
        ("x" * 1_000, "x" * 200 + "…"),
    ],
)
def test_a_name_is_shown_without_addresses_control_characters_or_length(name, shown):
    assert shown_name(name) == shown


@pytest.mark.parametrize("contract", ["evolve", "freeze"])
def test_too_many_fields_fail_their_table_only_and_are_told(account, ometria, run, warehouse, monkeypatch, contract):
    monkeypatch.setenv(CONTRACT, contract)
    first, second, *_ = account.profiles
    account.update_profile(first, **{"ada@shop.test": 1, **{f"new_{number}": 1 for number in range(6)}})
    account.update_profile(second, **{f"more_{number}": 1 for number in range(6)})

    result = run("--tables", "profiles,lists")

    assert result.status == 1
    assert "`profiles` would get more than 10 new columns in this run, such as " in result.out
    assert "`drop_columns`" in result.out
    assert "ada" not in result.out + result.err
    assert len(warehouse.rows("lists")) == len(account.lists)


def test_columns_that_are_dropped_are_not_counted(bucket, load, warehouse, monkeypatch):
    names = [f"new_{number}" for number in range(12)]
    (bucket / "a.csv").write_text(",".join(names) + "\n" + ",".join("1" * 12) + "\n")
    monkeypatch.setenv("SOURCES__OMETRIA__DROP_COLUMNS", json.dumps([f"email_events.{name}" for name in names[:2]]))
    monkeypatch.setenv("SOURCES__OMETRIA__PII_SALT", "an invented salt of this test")
    load("--tables", "email_events")
    assert {name for name in warehouse.types("email_events") if name.startswith("new_")} == set(names[2:])


def test_a_first_load_takes_what_fits_where_values_are_discarded(
    account, ometria, bucket, load, warehouse, monkeypatch
):
    """In the API's tables, nested ones included, and in the export."""
    monkeypatch.setenv(CONTRACT, "discard_value")
    many = {f"new_{number:02d}": number for number in range(15)}
    account.update_profile(next(iter(account.profiles)), **many)
    next(iter(account.lists.values())).update(many)
    account.unsubscribes[0].update(many)
    order = next(order for order in account.shop.orders.values() if order["lineitems"])
    order["lineitems"][0].update(many)
    for name in "ab":
        header = ",".join(f"new_{name}{number}" for number in range(6))
        (bucket / f"{name}.csv").write_text(f"{header}\n1,1,1,1,1,1\n")

    told = load("--tables", "profiles,lists,unsubscribes,orders,email_events").out

    assert told.count("more than 10 new columns; the others are left out") == 5
    for table in ("profiles", "lists", "unsubscribes", "order_line_items", "email_events"):
        assert sum(name.startswith("new_") for name in warehouse.types(table)) == 10, table
    for table, rows in (("profiles", account.profiles), ("unsubscribes", account.unsubscribes)):
        assert len(warehouse.rows(table)) == len(rows)
    assert len(warehouse.rows("email_events")) == 2


def test_too_many_columns_of_the_export_are_refused_over_all_files(bucket, run, load, warehouse):
    for name in "abc":
        header = ",".join(f"{name}_{number}" for number in range(4))
        (bucket / f"{name}.csv").write_text(f"{header}\n1,1,1,1\n")
    result = run("--tables", "email_events")
    assert result.status == 1
    assert "`email_events` would get more than 10 new columns in this run, such as `" in result.out
    (bucket / "c.csv").unlink()
    load("--tables", "email_events")

    # another run may add as many
    header = ",".join(f"d_{number}" for number in range(9))
    (bucket / "d.csv").write_text(f"{header}\n1,1,1,1,1,1,1,1,1\n")
    load("--tables", "email_events")
    assert sum(name[:2] in ("a_", "b_", "d_") for name in warehouse.types("email_events")) == 17


def test_names_of_a_file_without_a_header_are_not_shown(bucket, run):
    (bucket / "a.csv").write_text(",".join(f"ada{n}@shop.test" for n in range(12)) + "\n" + ",".join("1" * 12) + "\n")
    result = run("--tables", "email_events")
    assert "such as `…`, `…`, `…`" in result.out
    assert "ada" not in result.out


def test_fields_that_are_null_are_no_columns(account, ometria, load, warehouse):
    """Fields without a value are not counted, and a full refresh may bring back what several runs have added."""
    person = next(iter(account.profiles))
    account.update_profile(person, **dict.fromkeys((f"null_{number}" for number in range(11)), None))
    for letter in "ab":
        account.update_profile(person, **{f"new_{letter}{number}": 1 for number in range(6)})
        load("--tables", "profiles")
    load("--tables", "profiles", "--full-refresh")
    assert sum(name.startswith("new_") for name in warehouse.types("profiles")) == 12
