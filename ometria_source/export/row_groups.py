"""Tables of many files put together, so that each is a row group of the size that databases load fastest.

A file may have a single row or millions, and dlt makes one row group of each table that it is given. Each costs it some
10 ms, and the destination more: DuckDB takes half as long again for row groups of 25,000 rows, and twice as long for
those of 50,000, as for its own size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pyarrow as pa

# The rows of a row group in DuckDB's own storage; within the range that Snowflake and others ask for.
ROW_GROUP_ROWS = 122_880

# Where rows are longer than a kilobyte, memory counts more.
MOST_BYTES = 128 << 20


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
    waiting_bytes = 0
    for table in tables:
        if table is None:
            yield None
            continue
        # with the metadata, which tells JSON from text
        columns = table.schema.serialize().to_pybytes()
        waiting.setdefault(columns, []).append(table)
        rows[columns] += len(table)
        waiting_bytes += table.nbytes
        if rows[columns] >= ROW_GROUP_ROWS:
            whole = pa.concat_tables(waiting.pop(columns))
            waiting_bytes -= whole.nbytes
            end = len(whole) - len(whole) % ROW_GROUP_ROWS
            yield from (whole.slice(start, ROW_GROUP_ROWS) for start in range(0, end, ROW_GROUP_ROWS))
            rows[columns] = len(whole) - end
            if rows[columns]:
                waiting[columns] = [whole.slice(end)]
                waiting_bytes += waiting[columns][0].nbytes
        elif waiting_bytes > MOST_BYTES:
            yield from map(pa.concat_tables, waiting.values())
            waiting.clear()
            rows.clear()
            waiting_bytes = 0
    yield from map(pa.concat_tables, waiting.values())
