"""A type is guessed only where it changes nothing that a value says."""

from __future__ import annotations

import pyarrow as pa
import pytest
from examples import examples
from export_files import samples
from hypothesis import given, settings
from hypothesis import strategies as st

from ometria_source.describe.column_profile import Column, describe_columns, guess_type
from ometria_source.export.types import cast_declared


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        # ids and codes stay as they are written
        ("x", ["007"], "text"),
        ("x", ["+447700900123"], "text"),
        ("x", ["1e5"], "text"),
        ("x", ["1", "0x10"], "text"),
        ("x", ["12345678901"], "text"),
        ("x", [" 1"], "text"),
        ("x", ["1", "n/a"], "text"),
        ("profile_id", ["1", "2"], "text"),
        ("postCode", ["12345"], "text"),
        ("order_number", ["5"], "text"),
        ("app", ["1.10", "1.9"], "text"),
        ("phone", ["7"], "text"),
        ("x", [], "text"),
        ("x", [""], "text"),
        ("x", ["nan", "inf"], "text"),
        # numbers
        ("clicks", ["0", "-5", "12"], "bigint"),
        ("number_of_opens", ["0", "1", ""], "bigint"),
        ("price", ["1.50", "0.99"], "double"),
        ("share", ["0.5", "1", "-2.25"], "double"),
        # yes and no
        ("opened", ["true"], "bool"),
        ("opened", ["TRUE", "false"], "bool"),
        ("opened", ["y", "n"], "bool"),
        ("opened", ["y"], "text"),
        ("gender", ["f"], "text"),
        ("flag", ["0", "1"], "bigint"),
        # moments
        ("at", ["2024-02-03T04:05:06Z"], "timestamp"),
        ("at", ["2024-02-03 04:05:06.123456789+00", "2024-02-03 04:05"], "timestamp"),
        ("at", ["2024-02-03"], "date"),
        ("at", ["2024-02-30"], "text"),
        ("at", ["2024-02-03T25:05:06Z"], "text"),
        ("at", ["03/02/2024"], "text"),
        ("at", ["1706900000"], "text"),
        ("at", ["04:05:06"], "text"),
        # JSON, but no scalars
        ("who", ['{"a": 1}', "[]"], "json"),
        ("who", ["{not json}"], "text"),
    ],
)
def test_the_type_of_a_text_column(name, values, expected):
    assert guess_type(name, pa.array(values, pa.string())) == expected


CELLS = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.from_regex(r"[+-]?[0-9]{1,3}([.][0-9]{1,3})?(e[0-9])?", fullmatch=True),
    st.from_regex(r"20[0-9]{2}-[01][0-9]-[0-3][0-9]([T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+]01)?)?", fullmatch=True),
    st.sampled_from(["true", "no", "", "{}", "nan", "1.10"]),
    st.text(max_size=3),
)


@pytest.mark.thorough
@settings(max_examples=examples(150), deadline=None)
@given(st.lists(CELLS, max_size=5))
def test_whatever_is_guessed_can_be_cast_and_numbers_keep_their_value(values):
    guess = guess_type("x", pa.array(values, pa.string()))
    (column,) = cast_declared(pa.table({"x": pa.array(values, pa.string())}), "", 1, {"x": guess}).columns
    if guess == "bigint":
        assert [str(value) for value in column.to_pylist() if value is not None] == [v for v in values if v]
    if guess == "double":
        assert [value for value in column.to_pylist() if value is not None] == [float(v) for v in values if v]


def described(*contents: bytes | str, path: str = "a.csv") -> dict[str, Column]:
    return {column.name: column for column in describe_columns(samples(*contents, path=path))}


def test_nulls_and_different_values_are_counted_over_the_files_that_have_the_column():
    columns = described('a,b\n1,\n1,""\n', "b\nx\n")
    assert [(c.files, c.rows, c.nulls, c.empties, c.distinct) for c in columns.values()] == [
        (1, 2, 0, 0, 1),
        (2, 3, 1, 1, 2),
    ]
    assert not columns["a"].is_everywhere
    assert columns["b"].is_everywhere


def test_a_column_without_values_has_no_type():
    columns = described('{"a": null, "b": 1}\n{"b": 2}\n', path="a.jsonl")
    assert (columns["a"].guess, columns["a"].nulls) == (None, 2)
    assert (columns["b"].guess, columns["b"].kinds) == ("bigint", ("bigint",))


def test_types_that_meet_become_one_that_holds_both():
    columns = described('{"a": 1, "b": 1}', '{"a": 1.5, "b": "007"}', path="a.jsonl")
    assert [(column.guess, column.kinds) for column in columns.values()] == [
        ("double", ("bigint", "double")),
        ("text", ("bigint", "text")),
    ]


def test_first_and_last_instant_are_told_of_timestamps_but_not_of_births():
    columns = described(
        "sent_at,born_at,d\n2024-02-03T04:05:06.5Z,1990-01-01T00:00:00Z,2024-01-01\n2024-02-03 05:05,,\n"
    )
    assert columns["sent_at"].span == ("2024-02-03T04:05:06.5Z", "2024-02-03T05:05:00Z")
    assert columns["sent_at"].lacks_zone
    assert columns["born_at"].span is None
    assert columns["d"].span is None
