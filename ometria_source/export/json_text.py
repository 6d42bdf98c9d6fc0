"""JSON as text: how lists and objects are written, and how a column that holds them is marked.

Arrow has no type for JSON that every destination takes, so such a column is text with a mark in its field's metadata.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa

from ometria_source.export.canonical import decimal_text

# Field metadata: it stays with the column wherever Arrow takes it.
JSON_FIELD = {b"ometria_source.data_type": b"json"}

# Levels of lists and objects that are written as such: what orjson writes from 3.12 on, whose texts are keys already.
# dlt writes rows with it as well.
MAX_JSON_DEPTH = 254

# Levels that are parsed: orjson's own limit.
MAX_PARSED_DEPTH = 1024

# Digits of an integer: Python's own limit between text and integer, which protects it from quadratic time. A double,
# which most other JSON parsers would make of it, ends at 309.
MAX_INTEGER_DIGITS = 4300

_CONTAINERS = (dict, list, tuple)
_INT64_MIN, _UINT64_END = -(2**63), 2**64

# 64 bits have 19 digits or more.
_MANY_DIGITS = re.compile(rb"[0-9]{19}")

# An integer of so many, outside of a text: no part of a fraction, an exponent or another number, and no name.
_LONG_INTEGER = re.compile(rb"(?<![0-9.eE+-])-?[1-9][0-9]{18,}(?![0-9.eE])(?!\s*:)")

# Random, so that no text of a file begins with it. It is in nothing that is stored.
_MARK = f"{secrets.token_hex(16)}:"

# What parsing gives for text that is no JSON: no JSON gives this.
_UNREADABLE = object()


def is_json(field: pa.Field) -> bool:
    """Whether a column holds JSON text."""
    return bool(field.metadata and JSON_FIELD.items() <= field.metadata.items())


def json_columns(table: pa.Table) -> list[str]:
    """The names of the columns that hold JSON text."""
    return [field.name for field in table.schema if is_json(field)]


def json_field(name: str) -> pa.Field:
    """Describe a column of JSON text."""
    return pa.field(name, pa.string(), metadata=JSON_FIELD)


def json_text(value: Any) -> str:
    """Write a list or an object: sorted keys, no spaces, integers with every digit.

    What is nested deeper than `MAX_JSON_DEPTH` levels is a string in it that holds JSON, written by the same rule.
    """
    try:
        text = _dumps(value)
    except orjson.JSONEncodeError:
        # too deep, or an integer beyond 64 bits
        return _dumps(_writable(value))
    # Not left to orjson, whose limit changes with its version: 255 levels up to 3.11, 254 from 3.12 on.
    if text.count("[") + text.count("{") > MAX_JSON_DEPTH and is_nested(value, MAX_JSON_DEPTH + 1):
        return _dumps(_writable(value))
    return text


def is_nested(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested this deep.

    Args:
        value: Of JSON; a list in a list is two levels.
        levels: At least one.
    """
    level = [value]
    for _ in range(levels):
        level = [part for part in level if isinstance(part, _CONTAINERS)]
        if not level:
            return False
        level = [part for whole in level for part in (whole.values() if isinstance(whole, dict) else whole)]
    return True


def shallow(value: Any) -> Any:
    """A value in which what is nested deeper than `MAX_JSON_DEPTH` is JSON text.

    Args:
        value: Of JSON; it is not changed.
    """
    return _writable(value, _as_is) if is_nested(value, MAX_JSON_DEPTH + 1) else value


def parse_json(text: str | bytes) -> Any:
    """Parse JSON. An integer keeps every digit; another number is the nearest double.

    Of equal names in one object the last one counts.

    Raises:
        ValueError: It is not JSON, is nested deeper than `MAX_PARSED_DEPTH`, or has a number that is beyond doubles or
            an integer of more than `MAX_INTEGER_DIGITS`. The error quotes nothing.
    """
    data = text.encode() if isinstance(text, str) else text
    parsed = _UNREADABLE
    try:
        if not _MANY_DIGITS.search(data):
            parsed = orjson.loads(data)
        else:
            parsed = _with_integers(orjson.loads(_mark_integers(data)))
    except ValueError:
        # The decoder's error carries the document, so it ends here.
        pass
    if parsed is _UNREADABLE:
        raise ValueError("not JSON")
    return parsed


def _dumps(value: Any) -> str:
    return orjson.dumps(value, default=_json_default, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()


def _as_fragment(value: Any) -> Any:
    """What orjson writes for a value: an integer beyond 64 bits, which it refuses, as its digits."""
    return orjson.Fragment(str(value)) if type(value) is int and not _INT64_MIN <= value < _UINT64_END else value


def _as_is(value: Any) -> Any:
    return value


def _writable(value: Any, leaf: Callable[[Any], Any] = _as_fragment) -> Any:
    """A copy that is nested no deeper than `MAX_JSON_DEPTH`. Without recursion, for which it may be too deep."""
    root: list[Any] = [None]
    waiting: list[tuple[Any, Any, Any, int]] = [(root, 0, value, 1)]
    while waiting:
        whole, key, part, level = waiting.pop()
        if not isinstance(part, _CONTAINERS):
            whole[key] = leaf(part)
        elif level > MAX_JSON_DEPTH:
            whole[key] = json_text(part)
        elif isinstance(part, dict):
            # All keys at once: in the order that they had.
            whole[key] = copy = dict.fromkeys(part)
            waiting += [(copy, name, inner, level + 1) for name, inner in part.items()]
        else:
            whole[key] = elements = [None] * len(part)
            waiting += [(elements, index, inner, level + 1) for index, inner in enumerate(part)]
    return root[0]


def _mark_integers(data: bytes) -> bytes:
    """Make texts of integers that orjson might turn into floats, as it does beyond 64 bits.

    Raises:
        ValueError: One has more than `MAX_INTEGER_DIGITS`.
    """
    # Of the same length, and every quote left is the end of a text or its beginning.
    masked = data.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    pieces = []
    start = place = 0
    for number, part in enumerate(masked.split(b'"')):
        # Only every second part is outside of texts.
        for found in () if number % 2 else _LONG_INTEGER.finditer(part):
            if len(found[0].removeprefix(b"-")) > MAX_INTEGER_DIGITS:
                raise ValueError("an integer with too many digits")
            pieces += [data[start : place + found.start()], b'"', _MARK.encode(), found[0], b'"']
            start = place + found.end()
        place += len(part) + 1
    return b"".join([*pieces, data[start:]])


def _with_integers(value: Any) -> Any:
    """Make integers of the texts that `_mark_integers` made, in place."""
    root = [value]
    waiting: list[Any] = [root]
    while waiting:
        whole = waiting.pop()
        for key, part in whole.items() if isinstance(whole, dict) else enumerate(whole):
            if isinstance(part, str):
                if part.startswith(_MARK):
                    whole[key] = int(part.removeprefix(_MARK))
            elif isinstance(part, dict | list):
                waiting.append(part)
    return root[0]


def _json_default(value: Any) -> Any:
    """What orjson does not know, from the nested columns of a parquet file."""
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
