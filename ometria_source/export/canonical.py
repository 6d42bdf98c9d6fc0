"""One text for one value, whatever the file format or Arrow type it came in.

Keys are hashes of these texts and stay in the user's warehouse for ever, so the forms below never change. They also
decide what is lossless: a value fits another type when it has the same text there.

| type | text |
|---|---|
| text, JSON | as it is |
| integers | decimal digits |
| floating point | a whole number below 2^63 as an integer has it (1.0 is `1`), else as Python's `repr` |
| decimal | digits without an exponent or trailing zeros |
| bool | `true`, `false` |
| timestamp | UTC, `2024-02-03T04:05:06.5Z`; no zone counts as UTC; nanoseconds are cut off |
| date, time | `2024-02-03`, `04:05:06.5` |
| binary | its bytes |
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from ometria_source.json_values import decimal_text

MICROSECOND = "us"

# Between these, Arrow and `repr` write the same digits without an exponent. Outside, `repr` alone is asked: its form is
# fixed by Python's language reference, Arrow's by nothing.
_PLAIN_FROM, _PLAIN_TO = 1e-3, 1e15
_INT64_END = 2.0**63


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece, without a copy where it is one already."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def canonical_text(array: pa.Array) -> pa.Array:
    """Write every cell of a column in its one form; null stays null.

    Returns:
        A `string` array, or a `binary` one for bytes that need not be text.

    Raises:
        TypeError: The type has no form here; the readers yield none such.
    """
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return array
    if pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return array.cast(pa.string())
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_date32(kind):
        return array.cast(pa.string())
    if pa.types.is_floating(kind):
        return _float_text(array.cast(pa.float64()))
    if pa.types.is_decimal(kind):
        texts = [None if value is None else decimal_text(value) for value in array.to_pylist()]
        return pa.array(texts, pa.string())
    if pa.types.is_timestamp(kind):
        instants = array.cast(pa.timestamp(MICROSECOND, kind.tz), safe=False).view(pa.timestamp(MICROSECOND))
        text = pc.replace_substring(instants.cast(pa.string()), " ", "T")
        return pc.binary_join_element_wise(_trim_fraction(text), "Z", "")
    if pa.types.is_time(kind):
        return _trim_fraction(array.cast(pa.time64(MICROSECOND), safe=False).cast(pa.string()))
    raise TypeError(f"no canonical text for Arrow type {kind}")


def _trim_fraction(text: pa.Array) -> pa.Array:
    return pc.utf8_rtrim(pc.utf8_rtrim(text, "0"), ".")


def _float_text(array: pa.Array) -> pa.Array:
    whole = pc.and_(pc.equal(array, pc.trunc(array)), pc.less(pc.abs(array), _INT64_END))
    size = pc.abs(array)
    plain = pc.and_(pc.greater_equal(size, _PLAIN_FROM), pc.less(size, _PLAIN_TO))
    as_integer = pc.if_else(whole, array, None).cast(pa.int64()).cast(pa.string())
    as_plain = pc.if_else(plain, array, None).cast(pa.string())
    text = pc.coalesce(as_integer, as_plain)
    rest = pc.and_(pc.is_valid(array), pc.is_null(text))
    if pc.any(rest).as_py():
        text = pc.replace_with_mask(
            text, rest, pa.array([repr(v) for v in array.filter(rest).to_pylist()], pa.string())
        )
    return text
