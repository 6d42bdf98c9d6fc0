"""Of the rows that have one key the first, exactly, in memory that does not grow with their number.

The keys go into a temporary database of DuckDB's, which moves to disk what its memory does not hold. No row becomes a
Python object: a batch's keys are compared with all earlier ones in one query.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ometria_source.export.row_groups import MOST_BYTES, ROW_GROUP_ROWS

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
            size += table.nbytes
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
