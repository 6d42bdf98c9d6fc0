"""Read JSON lines: one object a line, each value in the type it is written in.

Text stays text, whatever it looks like (`"007"`, an ISO timestamp). Lists and objects become JSON text. Columns of one
table have one type each; where a batch mixes types, the column becomes text in the canonical form, so that the same row
gives the same key whatever its neighbours are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pyarrow as pa

from ometria_source.constants import MAX_RECORD_BYTES
from ometria_source.exceptions import UnreadableFileError
from ometria_source.export.canonical import canonical_text
from ometria_source.export.encodings import without_marks
from ometria_source.export.json_text import json_field
from ometria_source.json_values import MAX_INTEGER_DIGITS, MAX_PARSED_DEPTH, json_text, parse_json

# One table holds at most this much. Python objects need about ten times the bytes of their lines.
BATCH_LINES = 20_000
BATCH_BYTES = 8 << 20

# Rows times different fields of one table: as many as its bytes can spell, six for each cell (`"a":1,`). So it is only
# reached where most cells are absent, and memory would grow with the square of the lines.
BATCH_CELLS = BATCH_BYTES // 6

# What a line may be instead, where it cannot be parsed.
_LIMITS = (
    f"or has more than {MAX_PARSED_DEPTH:,} levels, an integer of more than {MAX_INTEGER_DIGITS} digits or half a "
    "surrogate pair"
)

# The integers that a double distinguishes from their neighbours.
_EXACT_DOUBLE = 2**53

# orjson turns integers beyond 64 bits into floats of at least this size, digits lost; and writes all such floats with
# this sign in them.
_SUSPECT_FLOAT = 2.0**63
_SUSPECT_SIGN = "e+"


def read_jsonl(path: str, pieces: Iterator[bytes]) -> Iterator[pa.Table]:
    """Read a file of JSON lines.

    Blank lines, empty objects and a BOM are passed over. A column that is null in a whole table has Arrow's null type.
    An integer keeps every digit, at any depth: beyond 64 bits it makes its column text, and stays a number in JSON
    text. Any other number is a double, so `0.1234567890123456789` is `0.12345678901234568`. Of equal names in one
    object the last one counts. An escaped NUL is kept, as Parquet keeps it; csv is refused with one.

    Args:
        path: For error messages.
        pieces: The file's bytes, decompressed.

    Yields:
        Tables; columns of JSON text are marked (see `json_text.json_columns`).

    Raises:
        UnreadableFileError: A line is not one JSON object (as with `NaN`, half a surrogate pair, or a number beyond
            doubles), is longer than `MAX_RECORD_BYTES`, has too many levels or digits (see `parse_json`), or a field
            without a name. Gives the line.
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
            if batch.would_overflow(names):
                yield batch.table()
                batch = _Batch()
        batch.add(line, row, names)
        if batch.is_full:
            yield batch.table()
            batch = _Batch()
    if batch.rows:
        yield batch.table()


def _lines(path: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Cut a file at each LF, in time and memory that grow with its pieces and its longest line."""
    begun: list[bytes] = []
    size = number = 0
    for piece in pieces:
        lines = piece.split(b"\n")
        begun.append(lines[0])
        size += len(lines[0])
        if size <= MAX_RECORD_BYTES and len(lines) > 1:
            lines[0] = _without_bom(b"".join(begun)) if number == 0 else b"".join(begun)
            begun = [lines.pop()]
            size = len(begun[0])
            yield from lines
            number += len(lines)
        if size > MAX_RECORD_BYTES:
            raise UnreadableFileError(path, f"this line is longer than {MAX_RECORD_BYTES >> 20} MiB", number + 1)
    last = b"".join(begun)
    yield _without_bom(last) if number == 0 else last


def _without_bom(line: bytes) -> bytes:
    """The first line; two BOMs, as some programs write, count as one."""
    return without_marks(line)


def _parse(path: str, number: int, line: bytes) -> dict[str, Any] | None:
    """Parse one line; None: there is nothing on it."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        row = None
    # Outside of the handler, because the decoder's error carries the document.
    if row is None:
        if not line.strip():
            return None
        row = _exact(path, number, line)
    if type(row) is not dict:
        raise UnreadableFileError(path, "this line is JSON, but not an object", number)
    return row


def _exact(path: str, number: int, line: bytes) -> Any:
    """Parse a line that orjson cannot hold: an integer may have hundreds of digits."""
    try:
        return parse_json(line)
    except ValueError:
        pass
    raise UnreadableFileError(path, f"this line is not one JSON object, {_LIMITS}", number)


class _Batch:
    """Rows on their way to one table."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._lines: list[bytes] = []
        self._size = 0
        self._names: dict[str, None] = {}
        self._last: list[str] = []
        self._is_uniform = True
        self._exact: dict[int, dict[str, Any]] = {}

    @property
    def is_full(self) -> bool:
        rows = len(self.rows)
        return rows >= BATCH_LINES or self._size >= BATCH_BYTES or rows * len(self._names) >= BATCH_CELLS

    def would_overflow(self, names: list[str]) -> bool:
        """Whether a row of these fields would make more cells than a table may have."""
        columns = len(self._names) + sum(name not in self._names for name in names)
        return bool(self.rows) and (len(self.rows) + 1) * columns > BATCH_CELLS

    def add(self, line: bytes, row: dict[str, Any], names: list[str]) -> None:
        self.rows.append(row)
        self._lines.append(line)
        self._size += len(line)
        if names != self._last:
            self._is_uniform = not self._last
            self._last = names
            self._names.update(dict.fromkeys(names))

    def table(self) -> pa.Table:
        fields, arrays = [], []
        for name, values in self._columns():
            field, array = self._column(name, values)
            fields.append(field)
            arrays.append(array)
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))

    def _columns(self) -> Iterator[tuple[str, Sequence[Any]]]:
        if self._is_uniform:
            # Four times as fast as asking every row for every name.
            yield from zip(self._last, zip(*[row.values() for row in self.rows], strict=True), strict=True)
        else:
            for name in self._names:
                yield name, [row.get(name) for row in self.rows]

    def _column(self, name: str, values: Sequence[Any]) -> tuple[pa.Field, pa.Array]:
        kinds = set(map(type, values)) - {type(None)}
        if float in kinds and any(type(value) is float and abs(value) >= _SUSPECT_FLOAT for value in values):
            values = self._with_all_digits(name, values)
            kinds = set(map(type, values)) - {type(None)}
        if kinds & {dict, list}:
            values = self._written(name, values)
            kinds -= {dict, list}
            if not kinds:
                return json_field(name), pa.array(values, pa.string())
            kinds.add(str)
        array = _scalars(kinds, values)
        return pa.field(name, array.type), array

    def _with_all_digits(self, name: str, values: Sequence[Any]) -> list[Any]:
        """A column in which no integer beyond 64 bits is a float."""
        return [
            self._exact_row(place)[name] if type(value) is float and abs(value) >= _SUSPECT_FLOAT else value
            for place, value in enumerate(values)
        ]

    def _written(self, name: str, values: Sequence[Any]) -> list[Any]:
        """A column whose lists and objects are JSON text, in which no integer beyond 64 bits is a float."""
        written = [json_text(value) if type(value) is dict or type(value) is list else value for value in values]
        for place, value in enumerate(values):
            if (type(value) is dict or type(value) is list) and _SUSPECT_SIGN in written[place]:
                written[place] = json_text(self._exact_row(place)[name])
        return written

    def _exact_row(self, place: int) -> dict[str, Any]:
        """A row with every digit of its integers; parsed once, however many columns need it."""
        if place not in self._exact:
            self._exact[place] = parse_json(self._lines[place])
        return self._exact[place]


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
            texts.append(str(value))
    return texts
