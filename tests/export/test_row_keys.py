"""Keys: the same for the same content, different for different content, for ever."""

# ruff: noqa: DTZ001 -- timestamps without a zone are what is tested
from __future__ import annotations

import hashlib
from datetime import date, datetime, time, timezone
from decimal import Decimal

import pyarrow as pa
import pytest
from export_files import as_parquet, table
from hypothesis import given, settings
from hypothesis import strategies as st

from ometria_source.export.row_keys import row_keys

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=6)
# Few characters, among them all that the hashed form uses: near misses are likely.
NEAR = st.text(alphabet="a1:0\0", max_size=4)
CELLS = st.dictionaries(NEAR.filter(bool) | TEXT.filter(bool), NEAR | TEXT, max_size=4)


def key(**cells):
    """The key of one row."""
    (only,) = row_keys(pa.table({name: [value] for name, value in cells.items()})).to_pylist()
    return only


def key_of(cells):
    """The key of one row, also of one without cells."""
    content = {name: pa.array([value], pa.string()) for name, value in cells.items()}
    return row_keys(pa.table({"nothing": pa.nulls(1), **content})).to_pylist()[0]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({"event_id": "e-1"}, "d3d4cb2b7b9653ced1584e97b6da5898"),
        (
            {"email": "ada@shop.test", "type": "open", "at": "2024-02-03T04:05:06Z"},
            "77fd91914e3c3c6877593eb5e285e9d5",
        ),
        ({"a": ""}, "c4855ea937d9bc672a18f1a2318fd6dc"),
        ({"a": None}, "e3b0c44298fc1c149afbf4c8996fb924"),
        ({"n": 1.5, "ok": True, "name": "日本"}, "2ee558d83c4e73dcb48ccdd36136e40f"),
    ],
)
def test_keys_never_change(cells, expected):
    """They are in the users' warehouses: a change would load every event twice."""
    assert key(**cells) == expected


def test_a_key_is_the_hash_of_names_and_values_with_their_lengths():
    """As README and warehouse SQL may rebuild it."""
    form = "5:email13:ada@shop.test4:name5:Adaé"
    expected = hashlib.sha256(form.encode()).hexdigest()[:32]
    assert key(name="Adaé", email="ada@shop.test", note=None) == expected


def test_the_order_of_columns_does_not_matter():
    assert key(a="1", b="2") == key(b="2", a="1")


def test_null_is_the_same_as_absent_and_not_the_same_as_empty_text():
    assert key(a="1", b=None) == key(a="1")
    assert key(a="1", b="") != key(a="1")
    content = pa.table({"a": ["1"], "b": pa.nulls(1)})
    assert row_keys(content).to_pylist() == [key(a="1")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": "1", "b": "2"}, {"a": "2", "b": "1"}),
        ({"a": "12", "b": "3"}, {"a": "1", "b": "23"}),
        ({"a": "x1:b1:y"}, {"a": "x", "b": "y"}),
        ({"a": "1"}, {"b": "1"}),
        ({"a": "1"}, {"a": "01"}),
        ({"a": "1"}, {"a": "1 "}),
        ({"a": "x"}, {"a": "X"}),
        ({"a": "é"}, {"a": "e\u0301"}),
        ({"a": "x\0"}, {"a": "x"}),
        ({"a": ""}, {"b": ""}),
        ({"a": "1" * 1023}, {"a": "1" * 1024}),
    ],
)
def test_different_rows_have_different_keys(one, other):
    assert key_of(one) != key_of(other)


@settings(deadline=None, max_examples=200)
@given(one=CELLS, other=CELLS)
def test_two_rows_have_one_key_only_if_they_are_equal(one, other):
    assert (key_of(one) == key_of(other)) == (one == other)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1, 1.0, Decimal("1.00"), Decimal(1)], "1"),
        ([0, 0.0, -0.0, Decimal("0.00")], "0"),
        ([1.5, Decimal("1.50")], "1.5"),
        ([-7, -7.0], "-7"),
        ([1000000000000000000, 1e18], "1000000000000000000"),
        ([True], "true"),
        ([False], "false"),
        ([datetime(2024, 2, 3, 4, 5, 6), datetime(2024, 2, 3, 4, 5, 6, tzinfo=timezone.utc)], "2024-02-03T04:05:06Z"),
        ([datetime(2024, 2, 3, 4, 5, 10, 500_000)], "2024-02-03T04:05:10.5Z"),
        ([datetime(2024, 2, 3)], "2024-02-03T00:00:00Z"),
        ([date(2024, 2, 10)], "2024-02-10"),
        ([time(4, 5, 6), time(4, 5, 6, 0)], "04:05:06"),
        ([time(4, 5, 0, 250_000)], "04:05:00.25"),
        ([0.1], "0.1"),
        ([1e300], "1e+300"),
        ([1e-7], "1e-07"),
        ([float("nan")], "nan"),
        ([float("inf")], "inf"),
        ([b"text"], "text"),
    ],
)
def test_a_value_has_one_key_whatever_its_type(values, text):
    assert {key(a=value) for value in values} == {key(a=text)}


def test_every_format_gives_the_same_keys():
    contents = {
        "e.csv": 'id,at,n,ok,none\n007,"a,b",5,true,\n008,,1.5,false,\n',
        "e.tsv": "none\tid\tat\tn\tok\n\t007\ta,b\t5\ttrue\n\t008\t\t1.5\tfalse\n",
        "e.jsonl": '{"id": "007", "at": "a,b", "n": 5, "ok": true}\n{"ok": false, "n": 1.5, "id": "008", "at": null}\n',
        "e.parquet": as_parquet(
            pa.table({"n": [5.0, 1.5], "id": ["007", "008"], "at": ["a,b", None], "ok": [True, False]})
        ),
    }
    keys = {path: row_keys(table(content, path)).to_pylist() for path, content in contents.items()}
    assert all(found == keys["e.csv"] for found in keys.values())


def test_a_json_row_has_one_key_whatever_its_neighbours_are():
    """A column that mixes types becomes text; its values must hash as they would alone."""
    lines = ['{"a": 1}', '{"a": 1.0}', '{"a": 1.5}', '{"a": true}', '{"a": "x"}', '{"a": [1, 2]}', '{"a": 1e20}']
    together = row_keys(table("\n".join(lines), "e.jsonl")).to_pylist()
    alone = [row_keys(table(line, "e.jsonl")).to_pylist()[0] for line in lines]
    assert together == alone
    assert together[0] == together[1]


def test_declared_columns_alone_count():
    content = pa.table({"id": ["1", "1"], "at": ["x", "x"], "note": ["p", "q"]})
    first, second = row_keys(content, ["id", "at"]).to_pylist()
    assert first == second == key(at="x", id="1")
    assert row_keys(content, ["at", "id"]).to_pylist() == [first, second]
    with pytest.raises(KeyError):
        row_keys(content, ["missing"])


def test_equal_rows_have_equal_keys():
    assert len(set(row_keys(pa.table({"a": ["x"] * 5})).to_pylist())) == 1


def test_rows_without_any_value_have_the_key_of_nothing():
    empty = hashlib.sha256(b"").hexdigest()[:32]
    for column in (pa.nulls(2), pa.nulls(2, pa.string()), pa.nulls(2, pa.int64()), pa.nulls(2, pa.float64())):
        assert row_keys(pa.table({"a": column, "b": pa.nulls(2)})).to_pylist() == [empty] * 2
    for values in ([None, "x"], ["x", None], [None, "x", None], [None, ""]):
        expected = [empty if value is None else key(a=value) for value in values]
        assert row_keys(pa.table({"a": values})).to_pylist() == expected


# --- layouts

WHOLE = pa.table(
    {
        "text": [None if n % 7 == 0 else "x" * (n % 5) for n in range(100)],
        "number": [None if n % 11 == 0 else n / 4 for n in range(100)],
        "flag": [n % 2 == 0 for n in range(100)],
        "at": pa.array([n * 1_000_000 for n in range(100)], pa.timestamp("us", tz="UTC")),
        "amount": [Decimal(n) / 4 for n in range(100)],
        "none": pa.nulls(100),
    }
)


@pytest.mark.parametrize(("start", "length"), [(0, 100), (1, 99), (37, 20), (99, 1), (8, 8), (100, 0), (50, 0)])
def test_a_slice_has_the_keys_of_its_rows(start, length):
    assert row_keys(WHOLE.slice(start, length)).to_pylist() == row_keys(WHOLE).to_pylist()[start : start + length]


def test_chunks_change_nothing():
    def chunked(name, ends):
        return pa.chunked_array(
            [WHOLE[name].chunk(0).slice(a, b - a) for a, b in zip([0, *ends], [*ends, 100], strict=True)],
            WHOLE[name].type,
        )

    layouts = ([50], [], [1, 99], [0, 33, 33, 66], [100], list(range(1, 100)))
    columns = {name: chunked(name, ends) for name, ends in zip(WHOLE.column_names, layouts, strict=True)}
    assert row_keys(pa.table(columns)).to_pylist() == row_keys(WHOLE).to_pylist()


@pytest.mark.parametrize("content", [WHOLE.schema.empty_table(), pa.table({"a": pa.array([], pa.string())})])
def test_no_rows_have_no_keys(content):
    keys = row_keys(content)
    assert len(keys) == 0
    assert keys.type == pa.string()


def test_a_table_larger_than_one_slice_has_the_keys_of_its_rows():
    long = pa.table({"a": ["x" * 3000 + str(n) for n in range(6000)], "b": list(range(6000))})
    keys = row_keys(long).to_pylist()
    assert len(set(keys)) == 6000
    assert keys[5999] == row_keys(long.slice(5999)).to_pylist()[0]
