"""The key of a row: a hash of its cells, which no order of columns, file format or machine changes.

Each cell that is not null is written as the lengths and texts of its name and value, in the order of the names; a null
cell and an absent one are the same. The lengths keep apart what a separator could not: an empty cell, a null, and a
cell that holds the separator.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc


def row_keys(table: pa.Table, columns: Sequence[str] | None = None) -> pa.Array:
    """Hash each row.

    Args:
        table: Rows with named cells.
        columns: The cells that count; None: all.

    Returns:
        64 hex digits (SHA-256) for each row.

    Raises:
        KeyError: One of `columns` is not in the table.
    """
    pieces = [_piece(name, table[name]) for name in sorted(columns or table.column_names)]
    if not pieces:
        return pa.array([], pa.string())
    joined = pc.binary_join_element_wise(*pieces, pa.scalar(b""))
    keys = [key for chunk in _chunks(joined) for key in _hashes(chunk)]
    return pa.array(keys, pa.string())


def _piece(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A cell with its name, and nothing for a null."""
    text = canonical_text(column).cast(pa.binary())
    label = name.encode()
    lengths = pc.binary_length(text).cast(pa.string()).cast(pa.binary())
    start = pa.scalar(str(len(label)).encode() + b":" + label)
    piece = pc.binary_join_element_wise(start, lengths, pa.scalar(b":"), text, pa.scalar(b""))
    return piece.fill_null(b"")


def _chunks(column: pa.ChunkedArray | pa.Array) -> Sequence[pa.Array]:
    chunks: Sequence[pa.Array] = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return chunks


def _hashes(values: pa.Array) -> list[str]:
    """Walk the bytes of all rows at once, without an object for each row."""
    _, offsets, data = values.buffers()
    if data is None:
        return [hashlib.sha256().hexdigest()] * len(values)
    ends = memoryview(offsets).cast("i")[values.offset : values.offset + len(values) + 1]
    view, sha256 = memoryview(data), hashlib.sha256
    return [sha256(view[start:end]).hexdigest() for start, end in pairwise(ends)]


def canonical_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """One text for each value, whatever format or unit it came in.

    Args:
        column: Of any type that the readers give.

    Returns:
        Numbers in shortest form (1.0 as `1`), true and false, dates in ISO form, instants as ISO in UTC without
        trailing zeros, JSON and text as they are, bytes as they are.
    """
    kind = column.type
    if pa.types.is_null(kind):
        return column.cast(pa.string())
    if pa.types.is_floating(kind):
        return _by_value(column, _number)
    if pa.types.is_decimal(kind):
        return _by_value(column, lambda value: _without_zeros(format(value, "f")))
    if pa.types.is_timestamp(kind):
        return _by_value(column, lambda value: _without_zeros(value.strftime("%Y-%m-%dT%H:%M:%S.%f")) + "Z")
    if pa.types.is_time(kind):
        return _by_value(column, lambda value: _without_zeros(value.strftime("%H:%M:%S.%f")))
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return column
    return column.cast(pa.string())


def _by_value(column: pa.ChunkedArray, spell: Callable[..., str]) -> pa.ChunkedArray:
    """Spell each distinct value once. Python spells it: Arrow's own spelling is not promised to stay."""
    spelled = []
    for chunk in column.chunks:
        encoded = chunk.dictionary_encode()
        texts = pa.array([spell(value) for value in encoded.dictionary.to_pylist()], pa.string())
        spelled.append(texts.take(encoded.indices))
    return pa.chunked_array(spelled, pa.string())


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _without_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
