"""JSON values: parse them, write them, and bound how deep they are nested. One rule for the API and the export.

`parse_json` takes JSON only. `parse_any_json` also takes what other programs write for it, as the API may: half a
surrogate pair, which no database takes, becomes U+FFFD; `NaN`, and a number beyond doubles, is the text that it was.
Neither fails by recursion: Python's own limit depends on its version and on the depth of the call.
"""

from __future__ import annotations

import base64
import json
import math
import re
import secrets
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import orjson

# Levels of lists and objects that are written as such: what orjson writes from 3.12 on, whose texts are keys already.
MAX_JSON_DEPTH = 254

# The same of a value in a row: dlt writes rows with orjson as well, as objects in a list.
MAX_ROW_DEPTH = MAX_JSON_DEPTH - 2

# Levels that are parsed: orjson's own limit.
MAX_PARSED_DEPTH = 1024

# Levels that `parse_any_json` gives; what lies below is text. Few enough for Python's own functions (`repr`, `json`) in
# any version, and more than `MAX_JSON_DEPTH`: what has such a text in it is still known to be deeper than that.
MAX_LOOSE_DEPTH = 300

# Digits of an integer: Python's own limit between text and integer, which protects it from quadratic time. A double,
# which most other JSON parsers would make of it, ends at 309.
MAX_INTEGER_DIGITS = 4300

# What a column of integers holds in every database.
INT64 = range(-(2**63), 2**63)

_CONTAINERS = (dict, list, tuple)
_UINT64_END = 2**64

# A text of JSON without escapes, to its end or that of all; or where a list or an object begins or ends. No part of it
# is ever tried twice.
_TOKEN = re.compile(rb'"[^"]*(?:"|\Z)|[\[\]{}]')

# What half a surrogate pair looks like; a whole one may look so too.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")

# 64 bits have 19 digits or more.
_MANY_DIGITS = re.compile(rb"[0-9]{19}")

# An integer of so many, outside of a text: no part of a fraction, an exponent or another number, and no name.
_LONG_INTEGER = re.compile(rb"(?<![0-9.eE+-])-?[1-9][0-9]{18,}(?![0-9.eE])(?!\s*:)")

# Random, so that no text of a file begins with it. It is in nothing that is stored.
_MARK = f"{secrets.token_hex(16)}:"

# What parsing gives for text that is no JSON: no JSON gives this.
_UNREADABLE = object()


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


def decimal_text(value: Decimal) -> str:
    """Write a decimal without exponent and trailing zeros."""
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


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


def has_repeated_keys(text: str) -> bool:
    """Whether an object in a text of JSON has a key more than once; also True where the text cannot be parsed.

    Args:
        text: Of JSON, or of what `parse_any_json` takes.
    """
    repeated = False

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        found = dict(pairs)
        repeated = repeated or len(found) < len(pairs)
        return found

    try:
        json.loads(text, object_pairs_hook=note)
    except (ValueError, RecursionError):
        return True
    return repeated


def shallow(value: Any, levels: int = MAX_JSON_DEPTH) -> Any:
    """A value in which what is nested deeper is JSON text.

    Args:
        value: Of JSON; it is not changed.
        levels: At least one, and no more than `MAX_LOOSE_DEPTH`.
    """
    return _writable(value, _as_is, levels) if is_nested(value, levels + 1) else value


def text_beyond_64_bits(digits: str) -> int | str:
    """An integer; its digits, where it does not fit into a column of integers, nor into JSON that dlt writes."""
    return int(digits) if len(digits) <= len(str(INT64.start)) and int(digits) in INT64 else digits


def parse_json(text: str | bytes, integer: Callable[[str], Any] = int) -> Any:
    """Parse JSON. An integer keeps every digit; another number is the nearest double.

    Of equal names in one object the last one counts.

    Args:
        text: In UTF-8.
        integer: What an integer of 19 digits or more becomes.

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
            parsed = _with_integers(orjson.loads(_mark_integers(data)), integer)
    except ValueError:
        # The decoder's error carries the document, so it ends here.
        pass
    if parsed is _UNREADABLE:
        raise ValueError("not JSON")
    return parsed


def parse_any_json(text: str | bytes, integer: Callable[[str], Any] = int) -> Any:
    """Parse JSON, and what other programs write for it; see above. No part is nested deeper than `MAX_LOOSE_DEPTH`.

    Args:
        text: In UTF-8.
        integer: What an integer of 19 digits or more becomes; one of more than `MAX_INTEGER_DIGITS` stays text.

    Raises:
        ValueError: It is neither. The error quotes nothing.
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    try:
        value = parse_json(data, integer)
    except ValueError:
        value = _parse_loosely(data, integer)
    return shallow(value, MAX_LOOSE_DEPTH) if _is_maybe_deep(data) else value


def _is_maybe_deep(data: bytes) -> bool:
    """Whether there are brackets enough for more than `MAX_LOOSE_DEPTH` levels."""
    return data.count(b"[") + data.count(b"{") > MAX_LOOSE_DEPTH


def _parse_loosely(data: bytes, integer: Callable[[str], Any]) -> Any:
    parsed = _UNREADABLE
    try:
        if _is_maybe_deep(data):
            data = _cut_below(data, MAX_LOOSE_DEPTH)
        text = data.decode(json.detect_encoding(data), "surrogatepass")
        parsed = json.loads(
            text,
            parse_int=lambda digits: digits if len(digits) > MAX_INTEGER_DIGITS else integer(digits),
            parse_float=lambda number: float(number) if math.isfinite(float(number)) else number,
            parse_constant=str,
        )
        if _SURROGATE.search(text):
            # one text for all of it: half a pair may be escaped, or be the three bytes that UTF-8 forbids
            parsed = json.dumps(parsed, ensure_ascii=False).encode("utf-16", "surrogatepass")
            parsed = json.loads(parsed.decode("utf-16", "replace"))
    except (ValueError, RecursionError):
        # The decoder's error carries the document, so it ends here. What is no JSON may be deeper than it looks.
        pass
    if parsed is _UNREADABLE:
        raise ValueError("not JSON")
    return parsed


def _cut_below(data: bytes, levels: int) -> bytes:
    """JSON in which what is nested deeper is a text that holds it.

    Raises:
        ValueError: It is not JSON.
    """
    pieces: list[bytes] = []
    depth = end = start = 0
    for token in _TOKEN.finditer(_without_escapes(data)):
        if token[0] in (b"[", b"{"):
            depth += 1
            if depth == levels + 1:
                pieces.append(data[end : token.start()])
                start = token.start()
        elif token[0] in (b"]", b"}"):
            depth -= 1
            if depth == levels:
                end = token.end()
                pieces.append(json.dumps(data[start:end].decode("utf-8", "replace"), ensure_ascii=False).encode())
    if depth > levels:
        raise ValueError("not JSON")
    return b"".join([*pieces, data[end:]])


def _dumps(value: Any) -> str:
    return orjson.dumps(value, default=_json_default, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()


def _as_fragment(value: Any) -> Any:
    """What orjson writes for a value: an integer beyond 64 bits, which it refuses, as its digits."""
    return orjson.Fragment(str(value)) if type(value) is int and not INT64.start <= value < _UINT64_END else value


def _as_is(value: Any) -> Any:
    return value


def _writable(value: Any, leaf: Callable[[Any], Any] = _as_fragment, levels: int = MAX_JSON_DEPTH) -> Any:
    """A copy that is nested no deeper than so many levels. Without recursion, for which it may be too deep."""
    root: list[Any] = [None]
    waiting: list[tuple[Any, Any, Any, int]] = [(root, 0, value, 1)]
    while waiting:
        whole, key, part, level = waiting.pop()
        if not isinstance(part, _CONTAINERS):
            whole[key] = leaf(part)
        elif level > levels:
            whole[key] = json_text(part)
        elif isinstance(part, dict):
            # All keys at once: in the order that they had.
            whole[key] = copy = dict.fromkeys(part)
            waiting += [(copy, name, inner, level + 1) for name, inner in part.items()]
        else:
            whole[key] = elements = [None] * len(part)
            waiting += [(elements, index, inner, level + 1) for index, inner in enumerate(part)]
    return root[0]


def _without_escapes(data: bytes) -> bytes:
    """JSON of the same length in which every quote is the end of a text or its beginning."""
    return data.replace(b"\\\\", b"__").replace(b'\\"', b"__")


def _mark_integers(data: bytes) -> bytes:
    """Make texts of integers that orjson might turn into floats, as it does beyond 64 bits.

    Raises:
        ValueError: One has more than `MAX_INTEGER_DIGITS`.
    """
    pieces = []
    start = place = 0
    for number, part in enumerate(_without_escapes(data).split(b'"')):
        # Only every second part is outside of texts.
        for found in () if number % 2 else _LONG_INTEGER.finditer(part):
            if len(found[0].removeprefix(b"-")) > MAX_INTEGER_DIGITS:
                raise ValueError("an integer with too many digits")
            pieces += [data[start : place + found.start()], b'"', _MARK.encode(), found[0], b'"']
            start = place + found.end()
        place += len(part) + 1
    return b"".join([*pieces, data[start:]])


def _with_integers(value: Any, integer: Callable[[str], Any]) -> Any:
    """Make integers of the texts that `_mark_integers` made, in place."""
    root = [value]
    waiting: list[Any] = [root]
    while waiting:
        whole = waiting.pop()
        for key, part in whole.items() if isinstance(whole, dict) else enumerate(whole):
            if isinstance(part, str):
                if part.startswith(_MARK):
                    whole[key] = integer(part.removeprefix(_MARK))
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
