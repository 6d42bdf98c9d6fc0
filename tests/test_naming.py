"""Names of columns: one for each field, never empty, and the same in every run. All names are invented."""

from __future__ import annotations

import json
import random
import re
import shutil

import pytest
import truth
from dlt.common.normalizers.naming.snake_case import NamingConvention
from examples import few
from hypothesis import given
from hypothesis import strategies as st

from ometria_source.naming import FIELD_HINT, ColumnNames, snake_case

# what tempts dlt's snake case: names that it makes one, names without letters, names of its own
TEMPTING = st.sampled_from(
    [
        "userId",
        "UserId",
        "user_id",
        "user_id_2",
        "user__id",
        "名前",
        "年齢",
        "%",
        "#",
        "",
        " ",
        "__",
        "___",
        "x",
        "_dlt_id",
    ]
    + [
        "_dlt_load_id",
        "dlt_load_id",
        "a__v_bigint",
        "a",
        "A",
        "@a",
        "/a",
        "/a/b",
        "a/b",
        "a~b",
        "2x",
        "_2x",
        "ß",
        "a" * 80,
    ]
)
FIELDS = st.lists(
    st.one_of(
        TEMPTING, st.text(max_size=12), st.lists(st.text("aA_@/~ ", max_size=3), min_size=2, max_size=3).map(tuple)
    ),
    unique=True,
    max_size=12,
)


def names_after(fields, columns, naming):
    """The names of a later run, whose schema has what an earlier one left."""
    hints = columns.hints(columns.columns(fields).values())
    return ColumnNames({name: {"name": name, "data_type": "text", **hint} for name, hint in hints.items()}, naming)


@given(FIELDS, st.randoms(), st.sampled_from([None, 63, 30]))
def test_any_fields(fields, random, limit):
    """Any fields have distinct, usable columns, and the same in a later run, one by one in another order."""
    naming = NamingConvention(limit)
    first = ColumnNames({}, naming)
    columns = first.columns(fields)
    assert len(set(columns.values())) == len(fields)
    for column in columns.values():
        assert column
        assert not column.startswith("_dlt_")
        assert len(column) <= (limit or len(column))
        assert naming.normalize_path(column) == column
    later = names_after(fields, first, naming)
    shuffled = list(fields)
    random.shuffle(shuffled)
    assert {field: later.columns([field])[field] for field in shuffled} == columns
    assert not later.hints(columns.values())


@given(FIELDS, FIELDS)
def test_fields_of_a_later_run(fields, others):
    """A field that comes later takes no column from one that was loaded."""
    naming = NamingConvention()
    first = ColumnNames({}, naming)
    columns = first.columns(fields)
    later = names_after(fields, first, naming)
    both = later.columns([*others, *fields])
    assert {field: both[field] for field in fields} == columns
    assert len(set(both.values())) == len(both)


@given(FIELDS, st.sampled_from(["bigint", "text"]))
def test_variants_share_no_column(fields, data_type):
    """No field has the column of another one's variant, whichever was there first."""
    for number in (0, len(fields)):
        names = ColumnNames({}, NamingConvention())
        early = names.columns(fields[:number])
        variants = {column: names.variant(column, data_type) for column in early.values()}
        late = names.columns(fields)
        variants.update({column: names.variant(column, data_type) for column in late.values()})
        assert len({*late.values(), *variants.values()}) == 2 * len(fields)
        assert {column: names.variant(column, data_type) for column in late.values()} == variants


def test_first_has_the_plain_column():
    """The first of several fields has the plain column, a later one eight digits of a hash behind it."""
    names = ColumnNames({}, NamingConvention())
    assert names.columns(["userId"]) == {"userId": "user_id"}
    assert names.columns(["UserId", "user_id"]) == {"UserId": "user_id_ad26364e", "user_id": "user_id_f89d6b69"}


def test_names_without_letters():
    """A name of which nothing is left has a column all the same, and dlt's own names are data like others."""
    assert snake_case("__").startswith("column_")
    assert snake_case("") != snake_case("__")
    assert snake_case("_dlt_load_id") == "dlt_load_id"


def test_reserved():
    """A column that the table has by itself is no field's."""
    names = ColumnNames({}, NamingConvention(), ["event_key"])
    assert names.columns(["event_key"])["event_key"].startswith("event_key_")


def test_columns_of_earlier_versions():
    """Columns without a hint, numbered ones included, stay those of the fields that have them."""
    old = ["user_id", "user_id_2", "event_key_2", "customer_id_2", "other", "count__v_text"]
    stored = {name: {"name": name, "data_type": "text"} for name in old}
    stored["count__v_text"]["variant"] = True
    names = ColumnNames(stored, NamingConvention(), ["event_key", "customer_id"])
    found = names.columns(["UserId", "user_id", "userID", "event_key", "customerId", "other", "count__v_text"])
    assert (found["user_id"], found["UserId"]) == ("user_id", "user_id_2")
    assert re.fullmatch("user_id_[0-9a-f]{8}", found["userID"])
    assert (found["event_key"], found["customerId"], found["other"]) == ("event_key_2", "customer_id_2", "other")
    assert found["count__v_text"].startswith("count__v_text_")
    assert names.variant("count", "text") == "count__v_text"


def test_addresses_are_not_stored():
    """The schema holds no name that may be an address."""
    names = ColumnNames({}, NamingConvention())
    (column,) = names.columns(["ada@shop.test"]).values()
    hint = str(names.hints([column])[column][FIELD_HINT])
    assert "ada" not in hint
    assert hint.startswith("sha256:")
    assert "@" not in str(names.hints(names.columns([("tags", "bob@shop.test")]).values()))


NAMES = [
    "userId",
    "UserId",
    "USER_ID",
    "名前",
    "年齢",
    "%",
    "#",
    "",
    "__",
    "_dlt_id",
    "_dlt_load_id",
    "_dlt_parent_id",
    "@x",
    "x",
]


@pytest.fixture
def pipelines_dir(tmp_path):
    """Where the program's working folder is."""
    return tmp_path / "dlt" / "pipelines"


def test_fields_of_profiles(account, ometria, load, warehouse, pipelines_dir):
    """Each value stays in the column of its field: in another order, by page, and after a lost working folder."""
    people = list(account.profiles)
    shuffle = random.Random(1)
    for turn in range(3):
        for person in people[:: turn + 1]:
            some = shuffle.sample(NAMES, 9 - turn)
            account.update_profile(person, **{name: f"{name!r} {turn}" for name in some})
        load("--tables", "profiles")
        stored = {row["profile_id"]: row for row in warehouse.rows("profiles")}
        fields = columns_by_field(stored.values())
        assert fields.keys() == {repr(name) for name in NAMES}
        for person, profile in account.profiles.items():
            for name in NAMES:
                assert stored[person][fields[repr(name)]] == profile.get(name)
        shutil.rmtree(pipelines_dir)


def columns_by_field(rows):
    """The only column in which each field's values are: a value begins with its field's name."""
    found: dict[str, set[str]] = {}
    for row in rows:
        for column, value in row.items():
            if isinstance(value, str) and value[:1] == "'" and value[-2] == " ":
                found.setdefault(value[:-2], set()).add(column)
    assert all(len(columns) == 1 for columns in found.values()), found
    return {field: columns.pop() for field, columns in found.items()}


def test_columns_of_files(bucket, load, warehouse, pipelines_dir):
    """Files that spell their columns in any order, and lose their state in between, fill the same columns."""
    shuffle = random.Random(2)
    # a column of a file has a name, or the file is refused
    names = [name for name in NAMES if name]
    lines = 0
    for number in range(4):
        with (bucket / f"{number}.jsonl").open("w", encoding="utf-8") as file:
            for _ in range(3):
                some = shuffle.sample(names, 8)
                file.write(json.dumps({name: f"{name!r} {lines % 10}" for name in some}) + "\n")
                lines += 1
        load()
        shutil.rmtree(pipelines_dir)
    rows = warehouse.rows("email_events")
    assert len(rows) == lines
    assert columns_by_field(rows).keys() == {repr(name) for name in names}


@pytest.mark.parametrize("name", few(["_dlt_load_id", "_dlt_id", "_dlt_parent_id", "_dlt_valid_from"]))
def test_dlts_own_names(account, ometria, bucket, load, warehouse, name):
    """A field or column that is named like one of dlt's is data under another name, and stops nothing."""
    account.update_profile(next(iter(account.profiles)), **{name: "theirs"})
    (bucket / "a.csv").write_text(f"event_id,{name}\ne1,theirs\n")
    (bucket / "b.csv").write_text("event_id\ne2\n")
    load("--tables", "profiles,email_events")
    column = name.lstrip("_")
    assert [row[column] for row in warehouse.rows("profiles") if row[column]] == ["theirs"]
    assert {row["event_id"]: row[column] for row in warehouse.rows("email_events")} == {"e1": "theirs", "e2": None}


def test_a_field_and_a_path(account, ometria, load, warehouse):
    """A field that is spelled like the path to another one overwrites nothing, nor does a third one."""
    first = next(iter(account.profiles))
    named = {"dates__acquired": "one", "dates__acquired_2": "two", "phone_number_country": "three"}
    account.update_profile(first, phone_number={"number": "+44", "country_code": "GB"}, **named)
    load("--tables", "profiles")
    row = next(row for row in warehouse.rows("profiles") if row["profile_id"] == first)
    assert row["dates__acquired"] == truth.utc(account.profiles[first]["dates"]["acquired"])
    assert (row["phone_number"], row["phone_number_country"]) == ("+44", "GB")
    assert set(named.values()) <= {value for value in row.values() if isinstance(value, str)}


def test_dropped_fields_stay_dropped(bucket, load, warehouse, monkeypatch):
    """A field that a rule drops is dropped whichever of the fields with its name comes first, and in every run."""
    monkeypatch.setenv("SOURCES__OMETRIA__DROP_COLUMNS", '["email_events.user_id"]')
    (bucket / "a.csv").write_text("k,userId\n1,secret1\n")
    load()
    (bucket / "b.csv").write_text("k,UserId,userId\n2,harmless,secret2\n")
    load()
    assert not any(str(value).startswith("secret") for row in warehouse.rows("email_events") for value in row.values())


def test_release():
    """A column that is left out is free for another field, and is not reported."""
    reported = []
    names = ColumnNames({}, NamingConvention(), report=lambda *words: reported.append(words))
    columns = names.columns(["userId", "UserId"])
    names.release(columns.values())
    assert names.columns(["UserId"]) == {"UserId": "user_id"}
    names.hints(["user_id"])
    later = names.columns(["user_id"])["user_id"]
    assert not reported
    names.hints([later])
    assert reported == [("user_id", later, "user_id")]
