"""Read JSON lines: one object a line, each value with the type that it has in the file.

Arrow's own reader takes text that looks like a time for a timestamp, and fails on a field whose type changes. Here text
stays text, nested values become JSON text, and a field that mixes types within one batch becomes text there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pyarrow as pa

from ometria_source.exceptions import UnreadableFileError
from ometria_source.export.columns import JSON_FIELD

# Lines that become one table: a guess between overhead and memory.
BATCH_LINES = 50_000
BATCH_BYTES = 16 << 20

_BOM = b"\xef\xbb\xbf"
_INT64 = range(-(1 << 63), 1 << 63)


def read_jsonl(path: str, pieces: Iterator[bytes]) -> Iterator[pa.Table]:
    """Read a file of JSON lines.

    Args:
        path: For error messages.
        pieces: The file's bytes, decompressed.

    Yields:
        Tables of at least one row. Columns that hold nested values are marked as JSON.

    Raises:
        UnreadableFileError: A line that is no JSON object. Gives the line.
    """
    rows: list[dict[str, Any]] = []
    size = 0
    for number, line in enumerate(_lines(pieces), 1):
        text = line.removeprefix(_BOM) if number == 1 else line
        if not text.strip():
            continue
        try:
            row = orjson.loads(text)
        except orjson.JSONDecodeError:
            row = None
        if not isinstance(row, dict):
            raise UnreadableFileError(path, "this line is not a whole JSON object", number) from None
        rows.append(row)
        size += len(text)
        if len(rows) >= BATCH_LINES or size >= BATCH_BYTES:
            yield _table(rows)
            rows, size = [], 0
    if rows:
        yield _table(rows)


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    rest: list[bytes] = []
    for piece in pieces:
        first, *others = piece.split(b"\n")
        rest.append(first)
        if others:
            yield b"".join(rest)
            yield from others[:-1]
            rest = [others[-1]]
    if any(rest):
        yield b"".join(rest)


def _table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    names = dict.fromkeys(name for row in rows for name in row)
    columns = [_column(name, [row.get(name) for row in rows]) for name in names]
    fields = [field for field, _ in columns]
    return (
        pa.Table.from_arrays([values for _, values in columns], schema=pa.schema(fields))
        if columns
        else _no_columns(rows)
    )


def _no_columns(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Rows that are all `{}`: a table with rows needs a column, and one of nulls is the same as none."""
    return pa.table({"_empty": pa.nulls(len(rows))})


def _column(name: str, values: list[Any]) -> tuple[pa.Field, pa.Array]:
    types = {type(value) for value in values} - {type(None)}
    if not types:
        return pa.field(name, pa.null()), pa.nulls(len(values))
    if types == {str}:
        return pa.field(name, pa.string()), pa.array(values, pa.string())
    if types == {bool}:
        return pa.field(name, pa.bool_()), pa.array(values, pa.bool_())
    if types == {int} and all(value is None or value in _INT64 for value in values):
        return pa.field(name, pa.int64()), pa.array(values, pa.int64())
    if types <= {int, float} and float in types and all(value is None or float(value) == value for value in values):
        return pa.field(name, pa.float64()), pa.array(values, pa.float64())
    texts = pa.array([_text(value) for value in values], pa.string())
    if types <= {dict, list}:
        return pa.field(name, pa.string(), metadata=JSON_FIELD), texts
    return pa.field(name, pa.string()), texts


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json_text(value)


def json_text(value: Any) -> str:
    """A value as compact JSON whose keys are in order: the same value always gives the same text."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str).decode()
