"""Of the rows that have one key the first comes through, whichever tables they are in."""

from __future__ import annotations

import tempfile

import pyarrow as pa
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from ometria_source.export import batches as module
from ometria_source.export.batches import first_rows


def table(keys, first=0):
    return pa.table({"key": pa.array(keys, pa.string()), "number": range(first, first + len(keys))})


@pytest.mark.thorough
@settings(max_examples=examples(100))
@given(parts=st.lists(st.none() | st.lists(st.sampled_from("abcdefgh"), max_size=12), max_size=12))
def test_the_first_row_of_each_key_comes_through_in_its_own_table(parts):
    tables, expected, seen, number = [], [], set(), 0
    for keys in parts:
        tables.append(None if keys is None else table(keys, number))
        if keys is not None:
            firsts = []
            for key in keys:
                if key not in seen:
                    firsts.append(number)
                seen.add(key)
                number += 1
            expected.append(firsts)
    with pytest.MonkeyPatch.context() as patch:
        # several queries, as for many rows
        patch.setattr(module, "ROW_GROUP_ROWS", 10)
        found = list(first_rows(iter(tables), "key"))
    assert [part.column("number").to_pylist() for part in found if part is not None] == expected
    assert found.count(None) == parts.count(None)


def test_each_table_keeps_its_own_columns():
    wide = table(["a", "b"]).append_column("more", pa.array(["x", "y"]))
    found = list(first_rows(iter([table(["a"]), wide]), "key"))
    assert found == [table(["a"]), wide.slice(1)]


def test_nothing_is_left_behind_when_the_reading_breaks_off(workspace, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(workspace))
    monkeypatch.setattr(module, "ROW_GROUP_ROWS", 1)
    rows = first_rows(iter([table(["a"]), table(["b"])]), "key")
    next(rows)
    assert list(workspace.iterdir())
    rows.close()
    assert not list(workspace.iterdir())
