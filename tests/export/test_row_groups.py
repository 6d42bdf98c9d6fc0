"""Tables are put together into row groups, and no row is lost or moved to other columns."""

from __future__ import annotations

from collections import defaultdict

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ometria_source.export import batches as module
from ometria_source.export.batches import ROW_GROUP_ROWS, row_groups
from ometria_source.export.json_text import json_field

SCHEMAS = {
    "text": pa.schema([pa.field("a", pa.string())]),
    "json": pa.schema([json_field("a")]),
    "wide": pa.schema([pa.field("a", pa.string()), pa.field("b", pa.int64())]),
}


def table(kind, rows, first=0):
    numbers = range(first, first + rows)
    columns = {"a": [f"row {number}" for number in numbers], "b": list(numbers)}
    return pa.table([columns[name] for name in SCHEMAS[kind].names], schema=SCHEMAS[kind])


def kind_of(found):
    return next(kind for kind, schema in SCHEMAS.items() if found.schema.equals(schema, check_metadata=True))


@given(
    parts=st.lists(st.none() | st.tuples(st.sampled_from(sorted(SCHEMAS)), st.integers(0, 25)), max_size=40),
    most_bytes=st.sampled_from([0, 400, 1 << 20]),
)
def test_all_rows_come_out_once_in_order_and_in_full_groups(parts, most_bytes):
    given_rows = defaultdict(list)
    tables = []
    for number, part in enumerate(parts):
        made = None if part is None else table(*part, first=number * 100)
        tables.append(made)
        if made is not None:
            given_rows[part[0]] += made.to_pylist()
    with_size = module.ROW_GROUP_ROWS, module.MOST_BYTES
    module.ROW_GROUP_ROWS, module.MOST_BYTES = 10, most_bytes
    try:
        found = list(row_groups(iter(tables)))
    finally:
        module.ROW_GROUP_ROWS, module.MOST_BYTES = with_size

    assert found.count(None) == parts.count(None)
    groups = defaultdict(list)
    for group in found:
        if group is not None:
            groups[kind_of(group)].append(group)
    for kind, rows in given_rows.items():
        assert [row for group in groups[kind] for row in group.to_pylist()] == rows
        sizes = [len(group) for group in groups[kind]]
        assert sizes
        assert max(sizes) <= 10
        if most_bytes == 1 << 20:
            assert all(size == 10 for size in sizes[:-1])


def test_a_million_rows_of_tiny_files_become_few_tables():
    sizes = [len(group) for group in row_groups(table("text", 100) for _ in range(10_000))]
    assert sizes == [ROW_GROUP_ROWS] * (1_000_000 // ROW_GROUP_ROWS) + [1_000_000 % ROW_GROUP_ROWS]


def test_no_more_waits_than_memory_allows(monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 100_000)
    given_bytes = taken_bytes = most = 0

    def tables():
        nonlocal given_bytes, most
        for number in range(200):
            part = table("wide" if number % 2 else "text", 100)
            given_bytes += part.nbytes
            most = max(most, given_bytes - taken_bytes)
            yield part

    for group in row_groups(tables()):
        taken_bytes += group.nbytes
    assert most < 110_000
