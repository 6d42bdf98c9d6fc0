"""Any JSON value in any field of a profile is loaded: as itself, or beside its column, and keeps no other from loading.

Many values share a run: each is the only odd one of its profile. All data is invented.
"""

from __future__ import annotations

import json
import re
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from dlt.common.data_types import coerce_value, py_type_to_sc_type
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from raw_api import page, serving

from ometria_source.api.client import _rows
from ometria_source.json_values import MAX_ROW_DEPTH, is_nested, shallow
from ometria_source.sync.rows import _fits, read_instant

# Of each field that Ometria documents, and of two that it does not, by where it stands.
FIELDS = (
    "email", "customer_id", "name", "gender", "date_of_birth", "marketing_optin", "phone_number", "tags", "properties",
    "country", "identities", "dates", "dates.acquired", "dates.unknown", "stats", "stats.orders", "stats.revenue",
    "stats.unknown", "unknown", "unknown_2",
)  # fmt: skip

ONE_OF_EACH_TYPE = (
    "customer_id", "date_of_birth", "marketing_optin", "dates.acquired", "stats.orders", "stats.revenue", "properties",
    "unknown",
)  # fmt: skip


def deep(levels: int, bottom: str = '"x"') -> str:
    return "[" * levels + bottom + "]" * levels


# What is or was misread, as JSON.
NASTY = (
    '"0001-01-01T00:00:00+02:00"', '"9999-12-31T23:59:59-02:00"', '"0000-00-00T00:00:00Z"', '"2024-02-30 00:00:00"',
    '"2024-01-31"', '"2024-01-31T12:00:00.123+0200"', '"2024"', '"12:30"', '"P1D"', '"2024-01-01/2024-02-01"',
    "1000000000000000000", "-1000000000000000000", "1e18", "1e300", "-1", "0", "1", "2", "1.5", "1e999", "NaN",
    "9007199254740993", "9223372036854775807", "9223372036854775808", "9" * 400, "9" * 5_000,
    '"7"', '"007"', '" 7 "', '"0x1f"', '"1_0"', '"1.10"', '"nan"', '"inf"', '"1e5"', '"yes"', '"true"', '"null"',
    '"[1]"', '"{}"', '"\\u0000"', '"a\\u0000b"', '"\\ud83c"', '"\\uf026x"', '""', '" "', '"' + "x" * 70_000 + '"',
    "true", "false", "null", "[]", "{}", '{"": ""}', '[null]', '{"a": {"b": [1, "2", null]}}', '["\\ud83c", NaN]',
    deep(252), deep(253), deep(254), deep(255), deep(400), deep(1_100), '{"a":' * 300 + "1" + "}" * 300,
)  # fmt: skip


def profile(number: int, field: str, text: str) -> bytes:
    """A profile whose field holds this JSON."""
    name, _, part = field.partition(".")
    value = f'{{"{part}": {text}}}' if part else text
    return f'{{"id": "{number:06d}", "{name}": {value}, "number": {number}}}'.encode()


def expected(number: int, field: str, text: str) -> Any:
    """The value of a field, as a row may hold it."""
    (found,) = _rows(b"[" + profile(number, field, text) + b"]")
    name, _, part = field.partition(".")
    return shallow(found[name][part] if part else found[name], MAX_ROW_DEPTH)


def columns_of(field: str) -> str:
    return {"name": "customer_name"}.get(field, field.replace(".", "__"))


def is_same(stored: Any, value: Any) -> bool:
    """Whether a cell holds a value: a number may be spelt otherwise, an instant may be in another zone."""
    if isinstance(stored, datetime):
        return stored == read_instant(value)
    if isinstance(stored, date):
        return stored.isoformat() == value
    if isinstance(stored, bool) or isinstance(value, bool):
        return str(stored).lower() == str(value).lower() or (value in (0, 1) and stored == bool(value))
    if isinstance(stored, int | float) and isinstance(value, str | int | float):
        return Decimal(str(stored)) == Decimal(str(value))
    if isinstance(stored, str) and isinstance(value, int | float):
        return Decimal(stored) == Decimal(str(value))
    return bool(stored == value)


def assert_loaded(warehouse, cases: list[tuple[str, str]]) -> None:
    rows = {row["number"]: row for row in warehouse.rows("profiles")}
    assert len(rows) == len(cases)
    for number, (field, text) in enumerate(cases):
        value, column = expected(number, field, text), columns_of(field)
        found = {name: cell for name, cell in rows[number].items() if name.startswith(column) and cell is not None}
        if value is None:
            continue
        if field in ("dates", "stats", "phone_number") and isinstance(value, dict):
            # its parts are columns
            continue
        # a part whose name is empty may have the plain column
        own = re.compile(rf"{column}(_[0-9a-f]{{8}})?(__v_\w+)?")
        mine = {name: cell for name, cell in found.items() if own.fullmatch(name)}
        assert len(mine) == 1, (field, text[:80], {name: str(cell)[:80] for name, cell in found.items()})
        ((name, cell),) = mine.items()
        assert is_same(cell, value), (field, text[:80], name, str(cell)[:80])


@pytest.fixture
def answered(monkeypatch):
    """An API whose profiles are these, and the settings that lead to it."""
    cases: list[tuple[str, str]] = []

    def answer(_: str, query: dict[str, str]) -> bytes:
        return page([profile(number, *case) for number, case in enumerate(cases)], query)

    with serving(answer) as address:
        monkeypatch.setenv("SOURCES__OMETRIA__API_KEY", "key")
        monkeypatch.setenv("SOURCES__OMETRIA__BASE_URL", address)
        monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")
        monkeypatch.setenv("SOURCES__OMETRIA__ALLOW_DELETES", "true")
        yield cases


@pytest.mark.parametrize("fields", [ONE_OF_EACH_TYPE, pytest.param(FIELDS, marks=pytest.mark.slow)], ids=["", "all"])
def test_a_value_that_was_misread_is_loaded_in_every_field(answered, load, warehouse, fields):
    answered += [(field, text) for field in fields for text in NASTY]
    load("--tables", "profiles")
    assert_loaded(warehouse, answered)


@pytest.mark.slow
def test_values_of_other_types_than_before_are_loaded(answered, load, warehouse):
    """Undeclared columns keep the types of their first values, whatever comes."""
    names = [f"unknown_{number}" for number in range(6)]
    answered += list(zip(names, ('"2024-01-31 12:00:00"', "1", "1.5", "true", '"x"', "[]"), strict=True))
    load("--tables", "profiles")
    answered += [(name, text) for name in names for text in NASTY]
    load("--tables", "profiles")
    assert_loaded(warehouse, answered)


def test_deep_values_are_searched_for_personal_data(answered, load, warehouse, monkeypatch):
    """What is too deep to be searched is hashed as a whole."""
    monkeypatch.setenv("SOURCES__OMETRIA__PRIVACY", "strict")
    monkeypatch.setenv("SOURCES__OMETRIA__PII_SALT", "an invented salt of this test")
    person = '{"email": "ada@shop.test", "lastname": "Lovelace"}'
    answered += [("unknown", deep(levels, person)) for levels in (1, 240, 251, 252, 253, 260, 299, 400, 1_100)]
    load("--tables", "profiles")
    found = [json.dumps(row, default=str) for row in warehouse.rows("profiles")]
    assert len(found) == len(answered)
    assert not [row for row in found if "ada@shop" in row or "Lovelace" in row]


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([json.loads(text) for text in NASTY if text[0] == '"' and "\\ud83c" not in text])
    | st.datetimes(timezones=st.sampled_from([timezone.utc])).map(str),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=6,
)


@pytest.mark.slow
# each example is a run for many values: one that fails says which value it is, and need not be shrunk
@settings(max_examples=3, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(FIELDS), VALUES.map(json.dumps)), min_size=50, max_size=100))
def test_any_value_is_loaded_in_any_field(answered, load, warehouse, cases):
    answered[:] = cases
    load("--tables", "profiles", "--full-refresh")
    assert_loaded(warehouse, answered)


KINDS = ("text", "bigint", "double", "bool", "timestamp", "date", "json", "decimal", "wei", "time", "binary")


@settings(max_examples=200)
@given(st.sampled_from(KINDS), VALUES.filter(lambda value: value is not None))
def test_what_is_left_in_its_column_is_taken_by_dlt_unchanged(kind, value):
    """Whatever dlt would fail at, or change, does not fit."""
    (row,) = _rows(json.dumps([{"a": value}]).encode())
    value = row["a"]
    if not _fits(kind, value):
        return
    found = read_instant(value) if kind == "timestamp" else coerce_value(kind, py_type_to_sc_type(type(value)), value)
    assert is_same(str(found) if isinstance(found, Decimal) else found, value)


@pytest.mark.parametrize(
    ("kind", "value", "fits"),
    [
        ("timestamp", "2024-01-01T10:10:10.123456Z", True), ("timestamp", "2024-01-01T10:10:10.123456000Z", True),
        ("timestamp", "2024-01-01T10:10:10.1234567Z", False), ("timestamp", "2024-01-01 10:10:10,000000001+00", False),
        ("timestamp", "20240101T101010Z", False), ("timestamp", "2024/01/01 10:10:10", False),
        ("bigint", "0", True), ("bigint", "-0", False), ("bigint", -0.0, False), ("bigint", 0.0, True),
        ("decimal", "-0", False), ("decimal", -0.0, False), ("wei", "-0.0", False), ("decimal", "0", True),
        ("double", "-0", True), ("double", "-0.0", True),
    ],
)  # fmt: skip
def test_an_instant_and_a_zero_fit_where_no_digit_or_sign_is_lost(kind, value, fits):
    assert _fits(kind, value) == fits


@given(st.integers(1, 600))
def test_a_row_is_never_deeper_than_dlt_writes(levels):
    (row,) = _rows(f'[{{"a": {deep(levels)}}}]'.encode())
    assert not is_nested(shallow(row["a"], MAX_ROW_DEPTH), MAX_ROW_DEPTH + 1)
