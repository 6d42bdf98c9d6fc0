"""What tells the rows of a sample apart."""

from __future__ import annotations

import pytest
from export_files import samples

from ometria_source.describe.column_profile import CandidateKeys, candidate_keys, describe_columns


def keys(*contents: str, path: str = "a.csv") -> CandidateKeys:
    read = samples(*contents, path=path)
    return candidate_keys(read, describe_columns(read))


def test_a_column_that_is_unique_over_all_files_is_a_candidate():
    assert keys("id,x\n1,a\n2,a\n", "x,id\na,3\n").unique == ("id",)


@pytest.mark.parametrize(
    "contents",
    [
        ("id,x\n1,a\n1,b\n",),  # twice in a file
        ("id,x\n1,a\n", "id,x\n1,b\n"),  # twice in two
        ("id,x\n1,a\n,b\n",),  # null
        ('id,x\n1,a\n"",b\n',),  # empty
        ("id,x\n1,a\n2,b\n", "x\nc\n"),  # not in every file
        ("id,x\n1,a\n2,b\n", "x\n"),  # not in a header without rows
    ],
)
def test_a_column_that_would_not_tell_all_rows_apart_is_none(contents):
    assert "id" not in keys(*contents).unique


def test_a_field_that_is_missing_from_some_parts_of_a_file_is_none():
    assert keys('{"id": 1, "x": 1}\n{"x": 2}\n', path="a.jsonl").unique == ("x",)


def test_rows_that_come_again_as_they_are_count_once():
    found = keys("id,x\n1,a\n2,b\n", "id,x\n1,a\n3,c\n")
    assert (found.rows, found.repeated, found.unique) == (3, 1, ("id", "x"))


@pytest.mark.parametrize("cells", ["2024-01-0{}T00:00:00Z", "{}.5", "2024-01-0{}", "p{}@shop.test", "10.0.0.{}"])
def test_moments_measures_and_people_are_no_keys(cells):
    content = "x,y\n" + "".join(f"{cells.format(number)},a\n" for number in range(1, 6))
    assert keys(content).unique == ()


def test_pairs_are_looked_for_where_no_column_is_unique():
    found = keys("send,type,same\n1,open,a\n1,click,a\n2,open,a\n")
    assert (found.unique, found.pairs) == ((), (("send", "type"),))


def test_what_is_unique_within_each_file_only_is_told():
    found = keys("email_id,opened\n1,no\n2,no\n", "email_id,opened\n1,yes\n3,no\n")
    assert (found.unique, found.renewed) == ((), ("email_id",))


@pytest.mark.parametrize("content", ["", "id\n", "id\n1\n", "id,x\n1,a\n1,a\n"])
def test_less_than_two_different_rows_tell_nothing(content):
    assert keys(content or "id\n", content or "id\n").unique == ()
