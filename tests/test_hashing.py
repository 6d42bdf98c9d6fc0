"""The hash that stands for a personal value, in rows of JSON and in columns of Arrow. All data is invented."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from datetime import date, datetime, timezone
from decimal import Decimal

import pyarrow as pa
import pytest
from dlt.common.normalizers.naming.snake_case import NamingConvention
from hypothesis import given
from hypothesis import strategies as st

from ometria_source.emails import looks_like_email, replace_emails
from ometria_source.export.json_text import JSON_FIELD
from ometria_source.json_values import json_text
from ometria_source.naming import ColumnNames
from ometria_source.privacy.apply import ArrowPrivacy, RowPrivacy
from ometria_source.privacy.hashing import Hasher
from ometria_source.privacy.personal_words import is_personal
from ometria_source.privacy.rules import TablePrivacy, in_json, parse_rules
from ometria_source.source import Privacy

SALT = "an invented salt of the tests"
HASHER = Hasher(SALT)


def expected(text: str) -> str:
    return hmac.new(SALT.encode(), text.encode(), hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Ada", "Ada"),
        (" Ada ", " Ada "),
        ("", ""),
        (" Ada@Shop.test\n", "ada@shop.test"),
        (7, "7"),
        (1.0, "1"),
        (0.1, "0.1"),
        (True, "true"),
        (Decimal("1.50"), "1.5"),
        (date(1990, 1, 2), "1990-01-02"),
        (datetime(2024, 2, 3, 4, 5, 6, 500_000, tzinfo=timezone.utc), "2024-02-03T04:05:06.5Z"),
        ({"b": 1, "a": [None]}, '{"a":[null],"b":1}'),
        (10**30, str(10**30)),
    ],
)
def test_the_text_that_is_hashed(value, text):
    assert HASHER.value(value) == expected(text)


def test_this_hash_never_changes():
    # printf ada@shop.test | openssl dgst -sha256 -hmac salt
    assert Hasher("salt").value(" ADA@shop.test") == "cfa3517c715f9d7fe0fec909594835de44a385e9ba72f6bdd157eaff76e968cd"
    assert Hasher("salt").value("x") == "555eb18440ae9c41f5d150d5628fa2b28bbdd8c479600188ebc68db666b0195f"


def test_null_stays_null():
    assert HASHER.value(None) is None
    assert HASHER.column(pa.chunked_array([[None, "x"]], pa.string())).to_pylist() == [None, expected("x")]
    assert HASHER.column(pa.chunked_array([[None]], pa.null())).to_pylist() == [None]
    assert HASHER.column(pa.chunked_array([[]], pa.string())).to_pylist() == []


words = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
texts = words | st.builds("{}@{}".format, words, words)


@given(st.lists(st.none() | texts, max_size=30), st.booleans())
def test_a_column_of_text_has_the_hashes_of_its_values(values, is_email):
    column = HASHER.column(pa.chunked_array([values], pa.string()), is_email)
    assert column.to_pylist() == [HASHER.value(value, is_email) for value in values]


@given(
    st.one_of(
        st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)),
        st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False)),
        st.lists(st.none() | st.booleans()),
        st.lists(st.none() | st.dates()),
        st.lists(st.none() | st.datetimes(timezones=st.just(timezone.utc))),
    )
)
def test_a_column_of_another_type_has_the_hashes_of_its_values(values):
    column = HASHER.column(pa.chunked_array([pa.array(values)]))
    assert column.to_pylist() == [HASHER.value(value) for value in values]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-100, 100) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_no_address_is_left_in_json(value):
    def addresses(value):
        if isinstance(value, str):
            return [value] if "@" in value and Hasher("x").without_emails(value) != value else []
        if isinstance(value, dict):
            return [found for pair in value.items() for part in pair for found in addresses(part)]
        return [found for part in value for found in addresses(part)] if isinstance(value, list) else []

    after = HASHER.without_emails(value)
    assert addresses(after) == []
    if not addresses(value):
        assert after == value


def test_an_address_within_a_text_is_hashed_alone():
    assert HASHER.without_emails("ask Ada@shop.test, or <bruno@shop.test>.") == (
        f"ask {expected('ada@shop.test')}, or <{expected('bruno@shop.test')}>."
    )
    assert HASHER.without_emails({"a@b.test": ["c@d.test"]}) == {expected("a@b.test"): [expected("c@d.test")]}


# The same in a pattern, whose time grows with the square of a text's length.
WORD = r"[^\s@<>()\[\]{},;:\"'`\\/=&?|]+"
ADDRESS = re.compile(f"{WORD}(?:@{WORD})+")


@given(st.text("ab@@ .,;<é\n", max_size=20))
def test_the_addresses_of_a_text_are_words_around_an_at_sign(text):
    def mark(found):
        return f"[{found}]"

    is_address = ADDRESS.fullmatch(text.strip()) is not None
    assert looks_like_email(text) == is_address
    assert replace_emails(text, mark) == (mark(text) if is_address else ADDRESS.sub(lambda found: mark(found[0]), text))


@pytest.mark.parametrize("text", ["a" * 200_000, "a" * 199_999 + "@", "@" * 200_000, " @a" + "a@@" * 60_000])
def test_a_long_text_without_blanks_is_searched(text):
    """Forty thousand letters took half a minute once; these would take a quarter of an hour."""
    assert replace_emails(text, lambda _: "hash") == text
    assert replace_emails(f"{text} ada@shop.test", lambda _: "hash") == f"{text} hash"


@given(st.lists(json_values.filter(lambda value: isinstance(value, dict | list)), min_size=1, max_size=5))
def test_json_of_a_row_and_of_a_column_come_out_the_same(values):
    rules = parse_rules("hash_columns", ["email_events.o__a"], ("email_events",))
    policy = TablePrivacy("email_events", "email_events", rules=rules, salt=SALT)
    field = pa.field("o", pa.string(), metadata=JSON_FIELD)
    table = pa.Table.from_arrays([pa.array([json_text(value) for value in values])], schema=pa.schema([field]))
    column = ArrowPrivacy(policy, ColumnNames({}, NamingConvention())).protect(table).column("o").to_pylist()
    rows = RowPrivacy(policy)
    assert [json.loads(text) for text in column] == [rows.row({"o": value})["o"] for value in values]


def test_a_path_stands_for_each_element_of_a_list():
    value = {"People": [{"Full Name": "Ada", "n": 1}, {"n": 2}, 3], "people2": [{"full_name": "x"}]}
    after = in_json(value, ("people", "full_name"), str.upper)
    assert after == {"People": [{"Full Name": "ADA", "n": 1}, {"n": 2}, 3], "people2": [{"full_name": "x"}]}
    gone = in_json(value, ("people",), None)
    assert gone == {"people2": [{"full_name": "x"}]}


@pytest.mark.parametrize("name", ["email", "to_address", "customer_name", "recipient_ip", "mobile_phone", "birthday"])
def test_names_that_say_of_a_person(name):
    assert is_personal(name)


@pytest.mark.parametrize("name", ["campaign_name", "event_type", "email_id", "send_id", "device_type", "subject"])
def test_names_that_do_not(name):
    assert not is_personal(name)


def test_a_field_that_clashes_with_a_personal_one_is_treated_as_that():
    policy = Privacy(hash_columns=["profiles.email"], pii_salt=SALT).of("profiles")
    assert RowPrivacy(policy).row({"email_2": "a@b.test", "email_3_x": "y"}) == {
        "email_2": expected("a@b.test"),
        "email_3_x": "y",
    }


def test_strict_hashes_what_is_personal_by_name_or_by_look_in_what_is_not_documented():
    row = RowPrivacy(Privacy(privacy="strict", pii_salt=SALT).of("profiles")).row(
        {
            "profile_id": "p1",
            "customer_id": "Ada@Shop.test",
            "tags": ["vip", "a@b.test"],
            "work": {"firstname": "Ada", "since": 2020},
            "billing_address": {"street": "Invented Road"},
            "stats__orders": 3,
        }
    )
    assert row == {
        "profile_id": "p1",
        "customer_id": expected("ada@shop.test"),
        "tags": ["vip", expected("a@b.test")],
        "work": {"firstname": expected("Ada"), "since": 2020},
        "billing_address": expected('{"street":"Invented Road"}'),
        "stats__orders": 3,
    }
