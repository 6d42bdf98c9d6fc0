"""The types of columns: those a user declares, and one for each column over all files.

dlt cannot load a column that comes as two Arrow types, and the package that holds it blocks every later run. Files of
one export do disagree (a jsonl file writes 1 where the next writes 1.5), so each value goes where it loses nothing:
into its column when it has the same canonical text there, else into the variant column that dlt would make of it.

Text is parsed leniently where a user declared the type, strictly where the type was merely seen before.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from ometria_source.exceptions import UnreadableFileError
from ometria_source.export.canonical import MICROSECOND, canonical_text, one_array
from ometria_source.export.json_text import JSON_FIELD, is_json
from ometria_source.json_values import MAX_JSON_DEPTH, is_nested, json_text, parse_json
from ometria_source.naming import ColumnNames

# One Arrow type for each of dlt's data types. The decimal is dlt's default precision and scale.
ARROW_TYPES: dict[str, pa.DataType] = {
    "text": pa.string(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "decimal": pa.decimal128(38, 9),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp(MICROSECOND, "UTC"),
    "date": pa.date32(),
    "time": pa.time64(MICROSECOND),
    "json": pa.string(),
    "binary": pa.binary(),
}

# What people and databases write for yes and no.
_TRUE = pa.array(["true", "t", "yes", "y", "1"])
_FALSE = pa.array(["false", "f", "no", "n", "0"])

# Digits of a second behind the microseconds.
_FINER = r"([.][0-9]{6})[0-9]+"

# 0001 to 9999, which Python and most warehouses have.
_YEAR = "(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"

# A cell can only have the canonical form of a type if it looks like this: it keeps most others from being tried at all.
_CANONICAL_PATTERN = {
    "bigint": r"^-?[0-9]{1,19}$",
    "double": r"^(-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?|-?inf|nan)$",
    "decimal": r"^-?[0-9]{1,29}(\.[0-9]{1,9})?$",
    "bool": r"^(true|false)$",
    "timestamp": rf"^{_YEAR}-[0-9]{{2}}-[0-9]{{2}}T[0-9:]{{8}}(\.[0-9]{{1,6}})?Z$",
    "date": rf"^{_YEAR}-[0-9]{{2}}-[0-9]{{2}}$",
    "time": r"^[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?$",
}


def parse_text(text: pa.StringArray, data_type: str) -> pa.Array:
    """Read every cell as a type that the user declared.

    Space around a cell is ignored, and an empty cell is null, in every type but text. Timestamps are ISO 8601, with
    `T` or a space, with or without an offset (without: UTC), or a date alone; what is finer than microseconds is cut
    off. JSON stays as it is written, but for what is nested deeper than `json_text.MAX_JSON_DEPTH`.

    Raises:
        ValueError: A cell cannot be read (pyarrow's error, whose text may quote the cell).
    """
    if data_type == "text":
        return text
    text = pc.utf8_trim_whitespace(text)
    text = pc.if_else(pc.equal(text, ""), None, text)
    if data_type == "json":
        return pa.array([None if cell is None else _parse_json(cell) for cell in text.to_pylist()], pa.string())
    if data_type == "bool":
        return _parse_bool(text)
    if data_type == "timestamp":
        text = _with_zone(text)
    elif data_type == "time":
        # Arrow reads no time from text, but a timestamp.
        midnight = pc.binary_join_element_wise("1970-01-01T", pc.replace_substring_regex(text, _FINER, r"\1"), "")
        return midnight.cast(pa.timestamp(MICROSECOND)).cast(ARROW_TYPES["time"])
    elif data_type in ("bigint", "double", "decimal"):
        text = pc.replace_substring_regex(text, r"^\+([0-9.])", r"\1")
        # Arrow reads 0x10 as 16.
        if data_type == "bigint" and not _all(pc.match_substring_regex(text, r"^-?[0-9]+$")):
            raise ValueError("not an integer")
    return text.cast(ARROW_TYPES[data_type])


def first_unreadable(text: pa.StringArray, data_type: str) -> int:
    """Find the first cell that `parse_text` cannot read, given that there is one."""
    low, high = 0, len(text)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            parse_text(text.slice(low, middle - low), data_type)
        except ValueError:
            high = middle
        else:
            low = middle
    return low


def fitting(text: pa.StringArray, data_type: str) -> pa.Array:
    """Read the cells that a type can hold without loss: those whose canonical text there is what they are now.

    Returns:
        Null for every other cell.
    """
    if data_type == "json":
        return pa.array([cell if _is_canonical_json(cell) else None for cell in text.to_pylist()], pa.string())
    if data_type in ("text", "binary"):
        return text.cast(ARROW_TYPES[data_type])
    likely = pc.if_else(pc.match_substring_regex(text, _CANONICAL_PATTERN[data_type]), text, None)
    values = _parse_each(likely, data_type)
    return pc.if_else(pc.equal(canonical_text(values), text), values, None)


def _parse_each(text: pa.StringArray, data_type: str) -> pa.Array:
    """Parse the cells that can be parsed, the others to null."""
    try:
        return parse_text(text, data_type)
    except ValueError:
        if len(text) == 1:
            return pa.nulls(1, ARROW_TYPES[data_type])
    half = len(text) // 2
    return pa.concat_arrays([_parse_each(text.slice(0, half), data_type), _parse_each(text.slice(half), data_type)])


def _parse_bool(text: pa.StringArray) -> pa.Array:
    lower = pc.utf8_lower(text)
    yes = pc.is_in(lower, _TRUE)
    if not _all(pc.or_(pc.or_(yes, pc.is_in(lower, _FALSE)), pc.is_null(text))):
        raise ValueError("not a bool")
    return pc.if_else(pc.is_null(text), None, yes)


def _with_zone(text: pa.StringArray) -> pa.StringArray:
    """Bring ISO timestamps to the one shape that Arrow reads: an offset on each, no more than microseconds."""
    text = pc.utf8_upper(text)
    for pattern, replacement in (
        (r"^([0-9]{4}-[0-9]{2}-[0-9]{2})$", r"\1T00:00:00Z"),
        (r"\s*(UTC|GMT)$", "Z"),
        (r"\s+([+-][0-9:]+)$", r"\1"),
        (_FINER, r"\1"),
        (r"^([0-9-]+[T ][0-9:.]+)$", r"\1Z"),
    ):
        text = pc.replace_substring_regex(text, pattern, replacement)
    return text


def _parse_json(cell: str) -> str:
    """JSON as it is written, but no deeper than `MAX_JSON_DEPTH`."""
    value = parse_json(cell)
    return json_text(value) if is_nested(value, MAX_JSON_DEPTH + 1) else cell


def _is_canonical_json(cell: str | None) -> bool:
    if cell is None or not cell.startswith(("{", "[")):
        return False
    try:
        return json_text(parse_json(cell)) == cell
    except ValueError:
        return False


def _all(mask: pa.BooleanArray) -> bool:
    return pc.all(mask, min_count=0).as_py() is not False


# On a column for values that another column's type cannot hold.
VARIANT_FIELD = {b"ometria_source.variant": b"true"}


# The integers that a double distinguishes from their neighbours.
_EXACT_DOUBLE = 2**53


def cast_declared(table: pa.Table, path: str, first_row: int, columns: Mapping[str, str]) -> pa.Table:
    """Give columns the types that the user declared.

    Args:
        table: As the readers yield it.
        path: For error messages.
        first_row: Number of the table's first row in its file; a file's first data row is 1.
        columns: Data type (dlt's names) by the column's name in the table. A column that the table lacks is
            added, null.

    Returns:
        The table; an empty text has become null in every declared type but text.

    Raises:
        UnreadableFileError: A cell cannot be read as its declared type. Gives row and column, never the cell.
    """
    for name, data_type in columns.items():
        field = _field(name, data_type)
        place = table.schema.get_field_index(name)
        if place < 0:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
            continue
        array = one_array(table.column(place))
        found = data_type_of(table.schema.field(place))
        if found is None:
            array = pa.nulls(len(array), field.type)
        elif found != data_type or array.type != field.type:
            array = _cast(array, found, path, first_row, name, data_type)
        table = table.set_column(place, field, array)
    return table


def _cast(array: pa.Array, found: str, path: str, first_row: int, name: str, data_type: str) -> pa.Array:
    same = _standard(array) if found == data_type else None
    if same is not None:
        return same
    row = first_row
    try:
        text = canonical_text(array).cast(pa.string())
        try:
            return parse_text(text, data_type)
        except ValueError:
            row += first_unreadable(text, data_type)
    except ValueError:
        # Bytes that are not text: the column's first row stands for all.
        pass
    # Raised outside of the handlers: Arrow's errors quote the cell.
    raise UnreadableFileError(path, f"row {row}, column `{name}`: this cell cannot be read as {data_type}")


def is_variant(field: pa.Field) -> bool:
    """Whether a column is for values that another column's type cannot hold."""
    return bool(field.metadata and VARIANT_FIELD.items() <= field.metadata.items())


class ColumnTypes:
    """One type a column, over all files of a load and over runs. Safe to share between threads.

    Args:
        known: dlt data type by column: what the destination's table has.
        names: The columns of the fields.
    """

    def __init__(self, known: Mapping[str, str], names: ColumnNames) -> None:
        self._types = {name: data_type for name, data_type in known.items() if data_type in ARROW_TYPES}
        self._names = names
        self._lock = threading.Lock()

    def conform(self, table: pa.Table) -> pa.Table:
        """Bring a table to the types that its columns have so far; a column seen for the first time sets its type.

        Returns:
            The same rows under the table's names of columns, without columns of the null type. A value that its
            column's type cannot hold unchanged is in `<column>__v_<data type>` instead, which is marked as a variant.
        """
        fields: list[pa.Field] = []
        arrays: list[pa.Array] = []
        names = self._names.columns(table.column_names)
        for source, column in zip(table.schema, table.columns, strict=True):
            data_type = data_type_of(source)
            if data_type is None:
                continue
            name = names[source.name]
            array = one_array(column)
            with self._lock:
                kept = self._types.setdefault(name, data_type)
            array, rest = _split(array, data_type, kept)
            fields.append(_field(name, kept))
            arrays.append(array)
            for rest_type, values in rest:
                fields.append(_field(self._names.variant(name, rest_type), rest_type, VARIANT_FIELD))
                arrays.append(values)
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _split(array: pa.Array, found: str, kept: str) -> tuple[pa.Array, list[tuple[str, pa.Array]]]:
    """Divide a column into what its type can hold unchanged, and the rest by type: each null where the other is not."""
    if found == kept:
        same = _standard(array)
        if same is not None:
            return same, []
    if found == "bigint" and kept == "double" and _exact_as_double(array):
        return array.cast(pa.float64()), []
    if found == "json" and kept == "text" and array.null_count < len(array):
        # it would fit, but be taken for a value of the file
        return pa.nulls(len(array), pa.string()), [("json", array)]
    text = canonical_text(array)
    if found == "binary" and kept != "binary":
        text = pa.array([_decoded(cell) for cell in text.to_pylist()], pa.string())
    fits = fitting(text, kept)
    left = pc.and_(pc.is_valid(array), pc.is_null(fits))
    if not pc.any(left).as_py():
        return fits, []
    rest = _standard(pc.if_else(left, array, None))
    if rest is None:
        # A decimal with more digits than dlt's.
        return fits, [("text", pc.if_else(left, text, None))]
    return fits, [(found, rest)]


def _standard(array: pa.Array) -> pa.Array | None:
    """Bring a column to the Arrow type of its data type; None: a value does not fit."""
    wanted = ARROW_TYPES[data_type_of(pa.field("", array.type)) or "text"]
    if array.type == wanted:
        return array
    if pa.types.is_timestamp(wanted):
        # Without a zone it counts as UTC; with another zone the instant is the same.
        return array.cast(pa.timestamp(MICROSECOND, array.type.tz), safe=False).cast(wanted)
    try:
        return array.cast(wanted)
    except pa.ArrowInvalid:
        return None


def _exact_as_double(array: pa.Array) -> bool:
    bounds = pc.min_max(array).as_py()
    return bounds["min"] is None or -_EXACT_DOUBLE <= bounds["min"] <= bounds["max"] <= _EXACT_DOUBLE


def _decoded(cell: bytes | None) -> str | None:
    try:
        return None if cell is None else cell.decode()
    except UnicodeDecodeError:
        return None


def _field(name: str, data_type: str, marks: Mapping[bytes, bytes] | None = None) -> pa.Field:
    marks = {**(marks or {}), **(JSON_FIELD if data_type == "json" else {})}
    return pa.field(name, ARROW_TYPES[data_type], metadata=marks or None)


def data_type_of(field: pa.Field) -> str | None:
    """The type of a column, by dlt's name; None: no value shows one yet.

    Raises:
        TypeError: The readers yield no such column.
    """
    kind = field.type
    if pa.types.is_null(kind):
        return None
    if is_json(field):
        return "json"
    for matches, data_type in (
        (pa.types.is_string, "text"),
        (pa.types.is_integer, "bigint"),
        (pa.types.is_floating, "double"),
        (pa.types.is_boolean, "bool"),
        (pa.types.is_timestamp, "timestamp"),
        (pa.types.is_date, "date"),
        (pa.types.is_time, "time"),
        (pa.types.is_decimal, "decimal"),
        (pa.types.is_binary, "binary"),
    ):
        if matches(kind):
            return data_type
    raise TypeError(f"column of Arrow type {kind}, which no reader yields")
