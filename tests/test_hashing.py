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
from hypothesis import given, settings
from hypothesis import strategies as st

from ometria_source.emails import looks_like_email, replace_emails
from ometria_source.export.json_text import JSON_FIELD
from ometria_source.json_values import json_text
from ometria_source.naming import ColumnNames
from ometria_source.privacy.apply import ArrowPrivacy, RowPrivacy
from ometria_source.privacy.hashing import Hasher
from ometria_source.privacy.personal_texts import replace_personal_texts
from ometria_source.privacy.rules import TablePrivacy, parse_rules
from ometria_source.privacy.words import is_harmless
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
            return [value] if HASHER.without_emails(value) != value else []
        if isinstance(value, dict):
            return [found for pair in value.items() for part in pair for found in addresses(part)]
        return [found for part in value for found in addresses(part)] if isinstance(value, list) else []

    policy = TablePrivacy("email_events", "email_events", salt=SALT)
    after = RowPrivacy(policy).inside("o", value)
    assert addresses(after) == []
    if not addresses(value):
        assert after == value


def test_an_address_within_a_text_is_hashed_alone():
    assert HASHER.without_emails("ask Ada@shop.test, or <bruno@shop.test>.") == (
        f"ask {expected('ada@shop.test')}, or <{expected('bruno@shop.test')}>."
    )
    assert HASHER.without_emails('{"a@b.test": "c@d.test"}') == (
        f'{{"{expected("a@b.test")}": "{expected("c@d.test")}"}}'
    )


# The same in a pattern, whose time grows with the square of a text's length.
WORD = r"[^\s@<>()\[\]{},;:\"`\\/|]+"
ADDRESS = re.compile(f"{WORD}(?:@{WORD})+")


@given(st.text("ab@@ .,;<é\n", max_size=20))
def test_the_addresses_of_a_text_are_words_around_an_at_sign(text):
    def mark(found):
        return f"[{found}]"

    is_address = ADDRESS.fullmatch(text.strip()) is not None
    assert looks_like_email(text) == is_address
    assert replace_emails(text, mark) == (mark(text) if is_address else ADDRESS.sub(lambda found: mark(found[0]), text))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("o'brien@shop.test", ["o'brien@shop.test"]),
        ("ask 'o'brien@shop.test' now", ["o'brien@shop.test"]),
        ("a+b=c@shop.test", ["a+b=c@shop.test"]),
        ("or a+b=c@shop.test, or d&e@shop.test", ["a+b=c@shop.test", "d&e@shop.test"]),
        ('"ada b"@shop.test', ['"ada b"@shop.test']),
        ('write to "ada b"@shop.test, <b@c.test>', ['"ada b"@shop.test', "b@c.test"]),
        ("https://shop.test/?to=ada@shop.test&cc=bob@shop.test#top", ["ada@shop.test", "bob@shop.test"]),
        ("mailto:ada@shop.test?subject=Hi", ["ada@shop.test"]),
        ("a@b@c.test", ["a@b@c.test"]),
        ("@ada and ada@", []),
    ],
)
def test_addresses_with_an_unusual_local_part_are_found_whole(text, found):
    addresses = []
    replace_emails(text, lambda email: addresses.append(email) or "")
    assert addresses == found


@pytest.mark.parametrize(
    "text",
    [
        "ada%40shop.test",
        "ada%2540shop.test",
        "ADA%252540shop.test",
        "ada&#64;shop.test",
        "ada&#x40;shop.test",
        "ada&commat;shop.test",
        "ada\uff20shop.test",
        "\uff41\uff44\uff41\uff20\uff53\uff48\uff4f\uff50\uff0e\uff54\uff45\uff53\uff54",
    ],
)
def test_an_address_that_is_written_in_another_way_is_that_address(text):
    assert HASHER.without_personal_texts(text) == expected("ada@shop.test")
    assert HASHER.without_personal_texts(f"for {text}, gone") == f"for {expected('ada@shop.test')}, gone"


@pytest.mark.parametrize(
    "number",
    [
        "+44 20 7946 0958",
        "+44\u00a020\u20137946 0958",
        "020-7946-0958",
        "555-010-9999",
        "555 010 99 99",
        "(020) 7946 0958",
        "00447700900123",
        "+447700900123",
        "10.0.0.1",
        "2001:db8::1",
    ],
)
def test_numbers_of_people_within_a_text_are_hashed_alone(number):
    assert HASHER.without_personal_texts(f"call {number}, or wait") == f"call {expected(number)}, or wait"


@pytest.mark.parametrize(
    "text",
    [
        "Sale 2024-02-03",
        "24.12.24 - 31.12.24",
        "2023 / 2024 / 2025",
        "2024-01 - 2024-12",
        "12.99 - 15.99 - 100.00",
        "4 006381 333931",
        "1 000 000",
        "a::b",
        "2024-02-03 04:05:06",
        "12:34:56",
        "v1.2.3",
        "2019-2024",
        "7700900123",
        "100%",
        "a & b",
        "std::x",
    ],
)
def test_dates_versions_and_bare_digits_are_kept(text):
    assert HASHER.without_personal_texts(text) == text


def test_a_number_may_follow_a_colon():
    assert HASHER.without_personal_texts("tel:+442079460958") == f"tel:{expected('+442079460958')}"
    assert HASHER.without_personal_texts("from:2001:db8::1") == f"from:{expected('2001:db8::1')}"


def test_a_url_loses_what_follows_its_path():
    text = "see https://shop.test/a/b?name=Ada#Lovelace or www.shop.test/c?x=1"
    assert HASHER.without_personal_texts(text) == "see https://shop.test/a/b or www.shop.test/c"


@pytest.mark.parametrize("text", ["a" * 200_000, "a" * 199_999 + "@", "@" * 200_000, " @a" + "a@@" * 60_000])
def test_a_long_text_without_blanks_is_searched(text):
    """Forty thousand letters took half a minute once; these would take a quarter of an hour."""
    assert replace_emails(text, lambda _: "hash") == text
    assert replace_emails(f"{text} ada@shop.test", lambda _: "hash") == f"{text} hash"
    assert replace_personal_texts(text, lambda _: "hash") == text


@pytest.mark.parametrize(
    "part", ["a@", "=a", "&a", "'", "?", '"@', "%40", "&#64;", "://", "www.", "1 ", "1.1.", "f:", "+"]
)
def test_a_long_text_of_what_may_be_personal_is_searched(part):
    """In seconds, of a text that would take hours if its time grew with the square of its length."""
    replace_personal_texts(f"{part * 200_000}@x", lambda _: "hash")


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
    hashing = Privacy(hash_columns=["email_events.o__people__full_name"], pii_salt=SALT).of("email_events")
    assert RowPrivacy(hashing).row({"o": value})["o"] == {
        "People": [{"Full Name": expected("Ada"), "n": 1}, {"n": 2}, 3],
        "people2": [{"full_name": "x"}],
    }
    dropping = Privacy(drop_columns=["email_events.o__people"]).of("email_events")
    assert RowPrivacy(dropping).row({"o": value})["o"] == {"people2": [{"full_name": "x"}]}


NOT_HARMLESS = """
email to_address customer_name recipient_ip mobile_phone birthday subject title first_name last_email list send user_id
device_type payload country
"""
HARMLESS = "id event_id sendId campaign_name Campaign event_type sent_at timestamp opens is_opened clicked_2"


@pytest.mark.parametrize("name", NOT_HARMLESS.split())
def test_names_that_are_not_known_to_be_harmless(name):
    assert not is_harmless(name)


@pytest.mark.parametrize("name", HARMLESS.split())
def test_names_that_are(name):
    assert is_harmless(name)


def test_strict_hashes_whatever_is_not_known_to_be_harmless():
    row = RowPrivacy(Privacy(privacy="strict", pii_salt=SALT).of("profiles")).row(
        {
            "profile_id": "p1",
            "customer_id": "Ada@Shop.test",
            "tags": ["vip", "a@b.test"],
            "work": {"firstname": "Ada", "since": 2020},
            "billing_address": {"street": "Invented Road"},
            "last_event": {"type": "click", "sent_at": "2024-01-02", "who": "Ada"},
            "stats__orders": 3,
        }
    )
    assert row == {
        "profile_id": "p1",
        "customer_id": expected("ada@shop.test"),
        "tags": ["vip", expected("a@b.test")],
        "work": expected('{"firstname":"Ada","since":2020}'),
        "billing_address": expected('{"street":"Invented Road"}'),
        "last_event": {"type": "click", "sent_at": "2024-01-02", "who": expected("Ada")},
        "stats__orders": 3,
    }


# Names as exports have them: with blanks, dots, underscores of any number, digits, other scripts, and addresses.
field_names = (
    st.text("aAbB_ .-é@1%", min_size=1, max_size=10)
    | st.sampled_from(
        ["user__who", "user", "User", "userId", "user_id", "_dlt_id", "Straße", "a" * 90, "ada@shop.test"]
    )
    | st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=5)
)


@settings(max_examples=300)
@given(st.lists(field_names, min_size=1, max_size=8, unique=True), st.data())
def test_a_rule_hides_exactly_the_column_that_it_names(fields, data):
    """In a file and in a row, whatever the columns are named, the rule being written as the warehouse has the name."""
    columns = ColumnNames({}, NamingConvention()).columns(fields)
    hidden = data.draw(st.sampled_from(fields))
    setting = data.draw(st.sampled_from(["hash_columns", "drop_columns"]))
    policy = Privacy(**{setting: [f"email_events.{columns[hidden]}"]}, pii_salt=SALT).of("email_events")
    protection = ArrowPrivacy(policy, ColumnNames({}, NamingConvention()))
    protected = protection.without_dropped(
        protection.protect(pa.table({field: pa.array(["x"]) for field in fields}))
    ).to_pylist()[0]
    row = RowPrivacy(policy).row(dict.fromkeys(columns.values(), "x"))
    expectation = {field: expected("x") if field == hidden else "x" for field in fields}
    if setting == "drop_columns":
        del expectation[hidden]
    assert protected == expectation
    assert row == {columns[field]: value for field, value in expectation.items()}
    assert not policy.unapplied(())


def test_a_rule_for_a_column_that_does_not_come_is_applied_to_nothing():
    policy = Privacy(hash_columns=["email_events.user__who", "email_events.user"], pii_salt=SALT).of("email_events")
    RowPrivacy(policy).row({"user": "Ada", "user_who": "Ada"})
    assert [rule.name for rule in policy.unapplied(())] == ["email_events.user__who"]
    assert policy.unapplied(["user__who"]) == []


def test_one_key_of_a_column_that_strict_leaves_out_can_be_kept():
    row = {"properties": {"tier": "gold", "name": "Ada", "last_event": {"type": "open", "who": "Ada"}}}
    kept = Privacy(privacy="strict", keep_columns=["profiles.properties__tier"], pii_salt=SALT).of("profiles")
    assert RowPrivacy(kept).row(row) == {
        "properties": {
            "tier": "gold",
            "name": expected("Ada"),
            "last_event": {"type": "open", "who": expected("Ada")},
        }
    }
    assert not kept.unapplied(())


def test_a_path_into_what_is_hidden_anyway_is_no_fault():
    rules = ["profiles.properties__notes", "profiles.work__mail"]
    policy = Privacy(privacy="strict", drop_columns=rules, pii_salt=SALT).of("profiles")
    assert RowPrivacy(policy).row({"properties": {"x": 1}, "work": {"y": "z"}}) == {"work": expected('{"y":"z"}')}
    assert not policy.unapplied(())


def test_a_table_of_an_earlier_version_keeps_its_numbered_columns_hidden():
    policy = Privacy(hash_columns=["profiles.user_id"], pii_salt=SALT).of("profiles")
    policy.begin(hides_siblings=True)
    assert RowPrivacy(policy).row({"user_id": "a", "user_id_2": "b", "user_id_x": "c"}) == {
        "user_id": expected("a"),
        "user_id_2": expected("b"),
        "user_id_x": "c",
    }
    policy.begin(hides_siblings=False)
    assert RowPrivacy(policy).row({"user_id_2": "b"}) == {"user_id_2": "b"}


@pytest.mark.parametrize(
    "text",
    ['{"who": "Ada"}', ' \n{"who": "Ada"}', '\ufeff{"who": "Ada"}', '{"who": "Ada", "who": null}', '[{"who": "Ada"}]'],
)
def test_json_in_a_text_is_looked_into_in_rows_and_files(text):
    for policy in (
        Privacy(privacy="strict", pii_salt=SALT).of("email_events"),
        Privacy(drop_columns=["email_events.event__who"]).of("email_events"),
    ):
        table = ArrowPrivacy(policy, ColumnNames({}, NamingConvention())).protect(pa.table({"event": [text]}))
        assert "Ada" not in str(table.to_pylist())
        assert "Ada" not in str(RowPrivacy(policy).row({"event": text}))
        assert not policy.unapplied(())


def test_strict_looks_into_an_object_where_none_is_documented():
    row = {"country": {"of": "Ada"}, "tags": ["vip", {"who": "Ada"}], "stats__orders": {"+44 20 7946 0991": 1}}
    policy = Privacy(privacy="strict", pii_salt=SALT).of("profiles")
    assert RowPrivacy(policy).row(row) == {
        "country": {"of": expected("Ada")},
        "tags": ["vip", {"who": expected("Ada")}],
        "stats__orders": {expected("+44 20 7946 0991"): expected("1")},
    }


def test_what_is_nested_too_deep_is_hashed_and_the_rule_is_applied():
    deep: object = "Ada"
    for _ in range(300):
        deep = {"who": deep}
    policy = Privacy(hash_columns=["profiles.work__who"], pii_salt=SALT).of("profiles")
    assert len(RowPrivacy(policy).row({"work": deep})["work"]) == 64
    assert not policy.unapplied(())
