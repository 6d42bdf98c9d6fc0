"""From text to typed columns: leniently where a user declared the type, strictly where it was merely seen before."""

from __future__ import annotations

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ometria_source.export.canonical import MICROSECOND, canonical_text, json_text

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

# A cell can only have the canonical form of a type if it looks like this: it keeps most others from being tried at all.
_CANONICAL_PATTERN = {
    "bigint": r"^-?[0-9]{1,19}$",
    "double": r"^(-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?|-?inf|nan)$",
    "decimal": r"^-?[0-9]{1,29}(\.[0-9]{1,9})?$",
    "bool": r"^(true|false)$",
    "timestamp": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]{1,6})?Z$",
    "date": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
    "time": r"^[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?$",
}


def parse_text(text: pa.StringArray, data_type: str) -> pa.Array:
    """Read every cell as a type that the user declared.

    Space around a cell is ignored, and an empty cell is null, in every type but text. Timestamps are ISO 8601, with
    `T` or a space, with or without an offset (without: UTC), or a date alone; what is finer than microseconds is cut
    off.

    Raises:
        ValueError: A cell cannot be read (pyarrow's error, whose text may quote the cell).
    """
    if data_type == "text":
        return text
    text = pc.utf8_trim_whitespace(text)
    text = pc.if_else(pc.equal(text, ""), None, text)
    if data_type == "json":
        for cell in text:
            if cell.is_valid:
                orjson.loads(cell.as_py())
        return text
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


def _is_canonical_json(cell: str | None) -> bool:
    if cell is None or not cell.startswith(("{", "[")):
        return False
    try:
        return json_text(orjson.loads(cell)) == cell
    except orjson.JSONDecodeError:
        return False


def _all(mask: pa.BooleanArray) -> bool:
    return pc.all(mask, min_count=0).as_py() is not False
