"""Combine tables of many files: row groups of the size that databases load fastest, and the first row of each key.

A file may have a single row or millions, and dlt makes one row group of each table that it is given. Each costs it some
10 ms, and the destination more: DuckDB takes half as long again for row groups of 25,000 rows, and twice as long for
those of 50,000, as for its own size.

Keys are deduplicated exactly, in a temporary DuckDB database, which moves to disk what its memory does not hold. No row
becomes a Python object: a batch's keys are compared with all earlier ones in one query.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

# The rows of a row group in DuckDB's own storage; within the range that Snowflake and others ask for.
ROW_GROUP_ROWS = 122_880

# Where rows are longer than a kilobyte, memory counts more.
MOST_BYTES = 128 << 20


# What a column of a table takes beside its cells: buffers are rounded up, and each is an object. Measured on tables of
# 1 and 20 rows, 10 and 30 columns: 1.2 to 1.5 KiB. Of files with a few rows each, it is most of what they take.
COLUMN_BYTES = 1_500


def cut(table: pa.Table) -> Iterator[pa.Table]:
    """Cut a table of very short rows, of which a few MiB of text make millions, into ones of about equal size.

    Args:
        table: Of any number of rows.

    Yields:
        Tables of at most `ROW_GROUP_ROWS`; one without rows as it is.
    """
    if table.num_rows <= ROW_GROUP_ROWS:
        # not sliced: a slice of a table without columns has a row too many (pyarrow 26)
        yield table
        return
    parts = -(-table.num_rows // ROW_GROUP_ROWS)
    step = -(-table.num_rows // parts)
    yield from (table.slice(start, step) for start in range(0, table.num_rows, step))


def constant(text: str, rows: int) -> pa.DictionaryArray:
    """A column of one text, which it holds once. `written_out` repeats it."""
    return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), rows), pa.array([text], pa.string()))


def written_out(table: pa.Table) -> Iterator[pa.Table]:
    """Repeat the texts of columns from `constant` for each row, as not every destination takes dictionaries.

    Args:
        table: Of any columns.

    Yields:
        The same rows, in several tables where their texts take more than `MOST_BYTES`.
    """
    places = [place for place, field in enumerate(table.schema) if pa.types.is_dictionary(field.type)]
    longest = sum(max(map(_longest, table.column(place).chunks), default=0) for place in places)
    step = max(1, MOST_BYTES // max(1, longest))
    for start in range(0, max(1, table.num_rows), step):
        part = table.slice(start, step)
        for place in places:
            field = table.schema.field(place).with_type(pa.string())
            part = part.set_column(place, field, part.column(place).cast(pa.string()))
        yield part


def _longest(chunk: pa.DictionaryArray) -> int:
    return int(pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0)


def _held_bytes(table: pa.Table) -> int:
    return int(table.nbytes) + COLUMN_BYTES * int(table.num_columns)


def row_groups(tables: Iterator[pa.Table | None]) -> Iterator[pa.Table | None]:
    """Put tables of the same columns together.

    Args:
        tables: In any order; None where there is none yet.

    Yields:
        The same rows in tables of `ROW_GROUP_ROWS`; the last of each kind has fewer, and so have some where more than
        `MOST_BYTES` wait. Columns without any row come in a table without rows. None where `tables` has it.
    """
    waiting: dict[bytes, list[pa.Table]] = {}
    rows: Counter[bytes] = Counter()
    held: Counter[bytes] = Counter()
    for table in tables:
        if table is None:
            yield None
            continue
        # with the metadata, which says what is JSON
        columns = table.schema.serialize().to_pybytes()
        waiting.setdefault(columns, []).append(table)
        rows[columns] += len(table)
        held[columns] += _held_bytes(table)
        if rows[columns] >= ROW_GROUP_ROWS:
            whole = pa.concat_tables(waiting.pop(columns))
            end = len(whole) - len(whole) % ROW_GROUP_ROWS
            yield from (whole.slice(start, ROW_GROUP_ROWS) for start in range(0, end, ROW_GROUP_ROWS))
            rows[columns] = len(whole) - end
            held[columns] = 0
            if rows[columns]:
                waiting[columns] = [whole.slice(end)]
                # a few rows may keep the table alive that they are cut from
                held[columns] = waiting[columns][0].get_total_buffer_size()
        elif held.total() > MOST_BYTES:
            yield from map(pa.concat_tables, waiting.values())
            waiting.clear()
            rows.clear()
            held.clear()
    yield from map(pa.concat_tables, waiting.values())


# What DuckDB may keep of the keys in memory, about 5 million; a guess.
MEMORY = "512MB"


def first_rows(tables: Iterator[pa.Table | None], key: str) -> Iterator[pa.Table | None]:
    """Leave out the rows whose key an earlier row has.

    Args:
        tables: Those whose rows win first; None where there is none yet.
        key: A column of text that all tables have, and that is never null.

    Yields:
        The same tables in the same order, each with the rows that are the first of their key. None where `tables` has
        it.
    """
    with _temporary_database() as database:
        database.execute("CREATE TABLE seen (key VARCHAR)")
        waiting: list[pa.Table] = []
        rows = size = 0
        for table in tables:
            if table is None:
                yield None
                continue
            waiting.append(table)
            rows += len(table)
            size += _held_bytes(table)
            if rows >= ROW_GROUP_ROWS or size > MOST_BYTES:
                yield from _first_rows(database, waiting, key)
                waiting, rows, size = [], 0, 0
        yield from _first_rows(database, waiting, key)


@contextmanager
def _temporary_database() -> Iterator[duckdb.DuckDBPyConnection]:
    with tempfile.TemporaryDirectory(prefix="ometria_keys_") as folder:
        database = duckdb.connect(":memory:", config={"temp_directory": folder, "memory_limit": MEMORY})
        try:
            yield database
        finally:
            database.close()


def _first_rows(database: duckdb.DuckDBPyConnection, tables: Sequence[pa.Table], key: str) -> Iterator[pa.Table]:
    keys = pa.chunked_array([chunk for table in tables for chunk in table.column(key).chunks], pa.string())
    database.register("batch", pa.table({"key": keys, "place": pa.array(range(len(keys)), pa.int64())}))
    database.execute(
        "CREATE OR REPLACE TEMP TABLE fresh AS "
        "SELECT key, min(place) AS place FROM batch ANTI JOIN seen USING (key) GROUP BY key"
    )
    database.execute("INSERT INTO seen SELECT key FROM fresh")
    places = database.sql("SELECT place FROM fresh ORDER BY place").to_arrow_table().column("place")
    database.unregister("batch")
    start = 0
    for table in tables:
        end = start + len(table)
        own = places.filter(pc.and_(pc.greater_equal(places, start), pc.less(places, end)))
        yield table.take(pc.subtract(own, start))
        start = end
