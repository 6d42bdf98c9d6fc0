"""A description shows nothing of anybody: no address, phone number, name or IP address, under whatever column name."""

from __future__ import annotations

import csv
import io
import json

import pyarrow as pa
import pytest
from export_files import StoredFile, samples
from hypothesis import given, settings
from hypothesis import strategies as st

from ometria_source.describe.render import description
from ometria_source.describe.sample import take_inventory
from ometria_source.describe.shapes import name_is_data, shape_of, showable
from ometria_source.privacy.words import has_personal_name

FIRST = ["Adelaide", "Grace", "Zoë", "O'Neil", "Ximena", "Ng"]
LAST = ["Lovelace", "Hopper", "Müller-Lüdenscheid", "Turing"]
NAMES = st.builds("{} {}".format, st.sampled_from(FIRST), st.sampled_from(LAST))
EMAILS = st.builds(
    "{}{}@{}.test".format,
    st.sampled_from(["ada", "Bob.H", "info+1", "open"]),
    st.integers(0, 99),
    st.sampled_from("ab"),
)
PHONES = st.builds(
    "{}{}".format, st.sampled_from(["+44", "0049 (30) ", "0", "+1-"]), st.integers(100_000_000, 999_999_999)
)
IPS = st.one_of(
    st.ip_addresses(v=4).map(str), st.ip_addresses(v=6, network="2001:db8::/32").map(str).filter(lambda ip: len(ip) > 9)
)
PERSONAL = st.one_of(NAMES, EMAILS, PHONES, IPS)

# as harmless as can be, so that only the values tell
COLUMNS = [
    "x", "ref", "event_type", "type", "status", "event_name", "device_type", "event_time", "value", "subject", "email",
    "class", "event_id",
]  # fmt: skip


@st.composite
def people(draw) -> list[list[str]]:
    """Rows of personal values, few of them, so that each comes often; harmless ones may be among them."""
    width = draw(st.integers(1, 4))
    pools = [draw(st.lists(PERSONAL, min_size=1, max_size=3)) for _ in range(width)]
    harmless = draw(st.booleans())
    rows = draw(st.integers(1, 12))
    return [[pool[row % len(pool)] if not harmless or row % 3 else "open" for pool in pools] for row in range(rows)]


def assert_shown(rows: list[list[str]], text: str) -> None:
    for row in rows:
        for value in row:
            assert value == "open" or value not in text
            for part in value.split():
                assert part not in LAST or part not in text


def described(content: str, path: str) -> str:
    file = StoredFile(path, content)
    return "\n".join(description(take_inventory([file]), samples(content, path=path), None))


@settings(max_examples=120, deadline=None)
@given(people(), st.permutations(COLUMNS), st.sampled_from(["a.csv", "a.jsonl", "part"]))
def test_no_personal_value_is_shown_under_any_column_name(rows, names, path):
    names = names[: len(rows[0])]
    if path.endswith("jsonl"):
        content = "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)
    else:
        sink = io.StringIO()
        csv.writer(sink).writerows([names, *rows])
        content = sink.getvalue()
    assert_shown(rows, described(content, path))


@settings(max_examples=60, deadline=None)
@given(people(), EMAILS | PHONES | st.ip_addresses(v=4).map(str))
def test_no_personal_value_is_shown_of_a_file_that_begins_with_data(rows, value):
    sink = io.StringIO()
    csv.writer(sink).writerows([[value, *row] for row in rows])
    assert_shown([[value], *rows], described(sink.getvalue(), "a.csv"))


@pytest.mark.parametrize(
    ("name", "counts", "expected"),
    [
        ("x", {"open": 1, "Email Sent": 1}, ["Email Sent", "open"]),
        ("x", {"open": 1, "ada": 99}, []),
        ("event_type", {"open": 1, "injected_twice": 5, "ada": 4}, ["injected_twice", "open"]),
        ("event_type", {"open": 1, "Ada Lovelace": 99}, ["open"]),
        ("event_type", {"open": 1, "ada@shop.test": 99}, []),
        ("bounce_class", {"10": 9, "90": 9}, ["10", "90"]),
        ("type", {"+447700900123": 99}, []),
        ("first_name", {"open": 9}, []),
        ("ip_address", {"unknown": 9}, []),
        ("event_type", {f"t{number}": 9 for number in range(30)}, []),
    ],
)
def test_values_are_shown_for_a_reason_only(name, counts, expected):
    assert showable(name, counts) == expected


@pytest.mark.parametrize(
    "name",
    [
        "email",
        "to_address",
        "first_name",
        "lastName",
        "phone",
        "ip",
        "ipAddress",
        "postcode",
        "City",
        "geo_city",
        "birth_date",
        "user-agent",
        "URL",
        "target_url",
        "recipient",
        "dateOfBirth",
    ],
)
def test_names_of_something_personal(name):
    assert has_personal_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "event_id",
        "email_id",
        "email_sent_at",
        "event_name",
        "campaign_name",
        "email_opened",
        "device_type",
        "x",
        "is_email_valid",
    ],
)
def test_names_of_nothing_personal(name):
    assert not has_personal_name(name)


@pytest.mark.parametrize(
    ("name", "is_data"),
    [
        ("ada@shop.test", True),
        ("+44 7700 900123", True),
        ("10.0.0.1", True),
        ("2024-02-03", True),
        ("12", True),
        ("https://shop.test", True),
        ("@profile_id", False),
        ("Sent at (UTC)", False),
        ("utm_2", False),
        ("2001:db8::1", True),
        ("evt-000012345678", True),
        ("revenue_2024", False),
    ],
)
def test_names_that_are_data(name, is_data):
    assert name_is_data(name) == is_data


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        (["ada@shop.test", "x@y.test"], "e-mail addresses"),
        (["+44 7700 900123", "07700 900123"], "phone numbers"),
        (["10.0.0.1", "2001:db8::1", "1:2:3:4:5:6:7:8"], "IP addresses"),
        (["word " * 10], "long text"),
        (["04:05:06"], None),
        (["2024-02-03"], None),
        (["2024-02-03 04:05:06"], None),
        (["open", "click", "ada@shop.test"], None),
        ([], None),
    ],
)
def test_what_most_values_of_a_column_look_like(values, shape):
    assert shape_of(pa.array(values, pa.string())) == shape


def test_a_header_with_a_long_number_in_a_name_is_a_header_still_without_that_name():
    text = described("event_id,custom_123456\n1,a\n", "a.csv")
    assert "event_id" in text
    assert "123456" not in text


@pytest.mark.parametrize(
    ("name", "value"),
    [("first_name_category", "bob"), ("gender_type", "f"), ("street_state", "CA"), ("anna_status", "anna smith")],
)
def test_codes_that_may_be_somebodys_are_not_shown_whatever_the_last_word_is(name, value):
    assert showable(name, {value: 100}) == []
