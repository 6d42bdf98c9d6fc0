"""Keys made of content: a hash of a row's cells, the same wherever and in whatever order they stand.

A row is written as its present cells, ordered by column name, and hashed. Each cell is two netstrings without the
comma, `4:type4:open` for `open` in column `type`; the lengths count UTF-8 bytes. So no cell can pretend to be two. Null
and absent are the same, both leave nothing; an empty text does leave a piece (`4:type0:`).

The keys are in the users' warehouses: neither this form nor `canonical` may ever change.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc

from ometria_source.export.canonical import canonical_text, one_array

# The first half of SHA-256, which SQL can rebuild with its function of that name. Of ten billion rows, two different
# ones have the same 128 bits with a chance below 1 in 10^18. A merge writes each row twice, and random text is what a
# database writes slowest: the whole hash takes a twentieth longer. Not base64: some databases ignore the case of text.
KEY_HEX_DIGITS = 32
_KEY_BYTES = KEY_HEX_DIGITS // 2

# Rows are joined in slices of about this many bytes of cells: it bounds memory, keeps Arrow's 32-bit offsets far away,
# and is large enough that the fixed cost of some forty Arrow calls does not show.
_SLICE_BYTES = 8 << 20

# Up to this length the texts of lengths come from a table, which is faster than formatting them.
_LENGTH_TABLE = 1024


def row_keys(table: pa.Table, columns: Sequence[str] | None = None) -> pa.StringArray:
    """Hash each row.

    Args:
        table: Columns of the types that the readers yield.
        columns: Only these count; None: all.

    Returns:
        For each row `KEY_HEX_DIGITS` hexadecimal digits.

    Raises:
        KeyError: A named column is not in the table.
    """
    present = set(table.column_names)
    names = sorted(present if columns is None else set(columns))
    missing = [name for name in names if name not in present]
    if missing:
        raise KeyError(missing[0])
    parts = max(1, -(-table.nbytes // _SLICE_BYTES))
    step = max(1, -(-table.num_rows // parts))
    slices = [_keys(table.slice(start, step), names) for start in range(0, table.num_rows, step)]
    return pa.concat_arrays(slices) if slices else pa.array([], pa.string())


def _keys(table: pa.Table, names: Sequence[str]) -> pa.StringArray:
    pieces: list[pa.Array] = []
    for name in names:
        text = canonical_text(one_array(table.column(name))).cast(pa.binary())
        pieces += [_heads(name.encode(), text), text]
    if not pieces:
        return _digests(pa.array([b""] * table.num_rows, pa.binary()))
    # A null cell has a null head, and both count as empty. Not "skip": it leaves out the rows that have no cell at all
    # (pyarrow 26).
    return _digests(pc.binary_join_element_wise(*pieces, b"", null_handling="replace", null_replacement=""))


def _heads(name: bytes, text: pa.BinaryArray) -> pa.BinaryArray:
    """What stands before each cell: its column and its length."""
    start = b"%d:%s" % (len(name), name)
    lengths = pc.binary_length(text)
    longest = pc.max(lengths).as_py() or 0
    if longest < _LENGTH_TABLE:
        return pa.array([b"%s%d:" % (start, length) for length in range(longest + 1)], pa.binary()).take(lengths)
    digits = lengths.cast(pa.string()).cast(pa.binary())
    return pc.binary_join_element_wise(start, digits, b":", b"", null_handling="emit_null")


def _digests(joined: pa.BinaryArray) -> pa.StringArray:
    count = len(joined)
    _, offset_buffer, data = joined.buffers()
    offsets = memoryview(offset_buffer).cast("i")[joined.offset : joined.offset + count + 1].tolist()
    # Arrow may leave out the buffer when all cells are empty. Slices of bytes are cheaper than of a memoryview.
    cells = data.to_pybytes() if data is not None else b""
    digits = b"".join([sha256(cells[a:b]).digest()[:_KEY_BYTES] for a, b in pairwise(offsets)]).hex().encode()
    ends = array("i", range(0, len(digits) + 1, KEY_HEX_DIGITS))
    return pa.StringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(digits))
