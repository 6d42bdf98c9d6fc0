"""Read JSON lines: one object a line, each value in the type it is written in.

Text stays text, whatever it looks like (`"007"`, an ISO timestamp). Lists and objects become JSON text. Columns of one
table have one type each; where a batch mixes types, the column becomes text in the canonical form, so that the same row
gives the same key whatever its neighbours are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pyarrow as pa

from ometria_source.exceptions import UnreadableFileError
from ometria_source.export.canonical import canonical_text
from ometria_source.export.json_text import json_field, json_text

# One table holds at most this much. Python objects need about ten times the bytes of their lines.
BATCH_LINES = 20_000
BATCH_BYTES = 8 << 20

# The longest line; see `csv.MAX_RECORD_BYTES`.
MAX_LINE_BYTES = 16 << 20

_BOM = b"\xef\xbb\xbf"
_INT64_MIN, _INT64_END = -(2**63), 2**63

# The integers that a double can tell apart from their neighbours.
_EXACT_DOUBLE = 2**53

# What parsing gives for a line that is no JSON: no JSON gives this.
_UNREADABLE = object()

# orjson turns integers beyond 64 bits into floats of at least this size, digits lost.
_SUSPECT_FLOAT = 2.0**63


def read_jsonl(path: str, pieces: Iterator[bytes]) -> Iterator[pa.Table]:
    """Read a file of JSON lines.

    Blank lines, empty objects and a BOM are passed over. A column that is null in a whole table has Arrow's null type.

    Args:
        path: For error messages.
        pieces: The file's bytes, decompressed.

    Yields:
        Tables; columns of JSON text are marked (see `json_text.json_columns`).

    Raises:
        UnreadableFileError: A line is not one JSON object, or has a field without a name. Gives the line.
    """
    batch = _Batch()
    last: list[str] = []
    for number, line in enumerate(_lines(path, pieces), 1):
        row = _parse(path, number, line)
        if not row:
            continue
        names = list(row)
        # Most rows repeat the fields of the one before.
        if names != last:
            last = names
            if any(not name or name.isspace() for name in names):
                raise UnreadableFileError(path, "a field of this line has no name", number)
        batch.add(line, row, names)
        if len(batch.rows) >= BATCH_LINES or batch.size >= BATCH_BYTES:
            yield batch.table()
            batch = _Batch()
    if batch.rows:
        yield batch.table()


def _lines(path: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    number = 0
    for piece in pieces:
        lines = (rest + piece).split(b"\n")
        rest = lines.pop()
        if number == 0 and lines:
            lines[0] = lines[0].removeprefix(_BOM)
        number += len(lines)
        yield from lines
        if len(rest) > MAX_LINE_BYTES:
            raise UnreadableFileError(path, f"this line is longer than {MAX_LINE_BYTES >> 20} MiB", number + 1)
    yield rest.removeprefix(_BOM) if number == 0 else rest


def _parse(path: str, number: int, line: bytes) -> dict[str, Any] | None:
    """Parse one line; None: there is nothing on it."""
    row = _load(line)
    if row is None and not line.strip():
        return None
    if row is _UNREADABLE:
        raise UnreadableFileError(path, "this line is not one JSON object", number)
    if type(row) is not dict:
        raise UnreadableFileError(path, "this line is JSON, but not an object", number)
    return row


def _load(line: bytes) -> Any:
    """Parse a line. The decoder's error carries the document, so it ends here."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return _UNREADABLE if line.strip() else None


def _reparse(line: bytes) -> dict[str, Any]:
    """Parse a line with Python's slower parser, which keeps every digit of an integer."""
    exact: dict[str, Any] = json.loads(line, parse_int=_integer)
    return exact


def _integer(digits: str) -> int | str:
    # Never through int() beyond 64 bits: Python refuses more than 4300 digits.
    if len(digits) > 20:
        return digits
    value = int(digits)
    return value if _INT64_MIN <= value < _INT64_END else digits


class _Batch:
    """Rows on their way to one table."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.size = 0
        self._lines: list[bytes] = []
        self._layouts: list[list[str]] = []

    def add(self, line: bytes, row: dict[str, Any], names: list[str]) -> None:
        self.rows.append(row)
        self._lines.append(line)
        self.size += len(line)
        if not self._layouts or names != self._layouts[-1]:
            self._layouts.append(names)

    def table(self) -> pa.Table:
        columns = self._columns()
        if any(_has_lost_digits(values) for values in columns.values()):
            self.rows = [_reparse(line) for line in self._lines]
            columns = self._columns()
        fields, arrays = [], []
        for name, values in columns.items():
            field, array = _column(name, values)
            fields.append(field)
            arrays.append(array)
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))

    def _columns(self) -> dict[str, Sequence[Any]]:
        if len(self._layouts) == 1:
            # Four times as fast as asking every row for every name.
            return dict(zip(self._layouts[0], zip(*[row.values() for row in self.rows], strict=True), strict=True))
        names = dict.fromkeys(name for layout in self._layouts for name in layout)
        return {name: [row.get(name) for row in self.rows] for name in names}


def _has_lost_digits(values: Sequence[Any]) -> bool:
    """Whether a float of a column may have been an integer beyond 64 bits."""
    if float not in set(map(type, values)):
        return False
    return any(type(value) is float and abs(value) >= _SUSPECT_FLOAT for value in values)


def _column(name: str, values: Sequence[Any]) -> tuple[pa.Field, pa.Array]:
    kinds = set(map(type, values)) - {type(None)}
    if kinds <= {dict, list} and kinds:
        texts = [None if value is None else json_text(value) for value in values]
        return json_field(name), pa.array(texts, pa.string())
    array = _scalars(kinds, values)
    return pa.field(name, array.type), array


def _scalars(kinds: set[type], values: Sequence[Any]) -> pa.Array:
    if not kinds:
        return pa.nulls(len(values))
    if kinds == {str}:
        return pa.array(values, pa.string())
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds == {float}:
        return pa.array(values, pa.float64())
    if kinds == {int}:
        try:
            return pa.array(values, pa.int64())
        except (OverflowError, pa.ArrowInvalid):
            pass
    if kinds == {int, float} and all(type(v) is not int or -_EXACT_DOUBLE <= v <= _EXACT_DOUBLE for v in values):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array(_texts(values), pa.string())


def _texts(values: Sequence[Any]) -> list[str | None]:
    """The canonical text of every value of a mixed column."""
    floats = iter(canonical_text(pa.array([v for v in values if type(v) is float], pa.float64())).to_pylist())
    texts: list[str | None] = []
    for value in values:
        if value is None or isinstance(value, str):
            texts.append(value)
        elif isinstance(value, bool):
            texts.append("true" if value else "false")
        elif isinstance(value, float):
            texts.append(next(floats))
        else:
            texts.append(str(value) if isinstance(value, int) else json_text(value))
    return texts
