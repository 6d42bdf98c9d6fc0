"""What the columns of a sample hold, told without their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ometria_source.exceptions import UnreadableFileError
from ometria_source.export.canonical import canonical_text, one_array
from ometria_source.export.guesses import guess_type, lacks_zone
from ometria_source.export.sampling import FileSample
from ometria_source.export.shapes import (
    ID_WORDS,
    MOST_VALUES,
    PHONE_NUMBERS,
    has_personal_name,
    is_birth,
    last_word,
    name_is_data,
    shape_of,
    showable,
)
from ometria_source.export.types import cast_declared, data_type_of


@dataclass(frozen=True)
class Column:
    """One column over a sample.

    Attributes:
        name: As the files have it; not to be shown where `name_is_data`.
        place: Its number; the first one is 1.
        files: How many files have it.
        rows: Rows of those files.
        nulls: How many of those rows have no value.
        empties: How many have an empty text.
        distinct: Number of different values.
        kinds: The data types (dlt's names) that it comes in; none where it never has a value.
        guess: The data type to load it as; None where it never has a value.
        shape: What most of its values look like, such as `EMAIL_ADDRESSES`.
        has_personal_name: Its name speaks of a person.
        values: Those that may be shown, of a column of few.
        other_values: How many it has beside those; 0 where none is shown.
        span: First and last instant of a timestamp, ISO 8601; None for anything else, and for a birth.
        lacks_zone: A timestamp in it names no time zone.
        is_everywhere: Each file that was read has it, in all of its parts.
        name_is_data: Its name looks like a value.
    """

    name: str
    place: int
    files: int
    rows: int
    nulls: int
    empties: int
    distinct: int
    kinds: tuple[str, ...]
    guess: str | None
    shape: str | None
    has_personal_name: bool
    values: tuple[str, ...]
    other_values: int
    span: tuple[str, str] | None
    lacks_zone: bool
    is_everywhere: bool
    name_is_data: bool

    @property
    def is_personal(self) -> bool:
        """Whether it looks like something of a person, by name or by shape."""
        return self.has_personal_name or self.shape is not None


def described(samples: Sequence[FileSample]) -> list[FileSample]:
    """The samples whose columns can be told: a file that cannot be read has none, nor has one without a header."""
    return [sample for sample in samples if sample.tables and not sample.is_headerless]


def describe_columns(samples: Sequence[FileSample]) -> list[Column]:
    """Describe each column of a sample.

    Args:
        samples: As `described` picks them.

    Returns:
        In order of first appearance.
    """
    names = dict.fromkeys(name for sample in samples for table in sample.tables for name in table.column_names)
    return [_describe(name, place, samples) for place, name in enumerate(names, 1)]


def column_text(name: str, tables: Sequence[pa.Table]) -> pa.ChunkedArray:
    """The canonical texts of a column, as bytes, of the tables that have it.

    Args:
        name: The column's.
        tables: From the readers.
    """
    arrays = [canonical_text(one_array(t.column(name))).cast(pa.binary()) for t in tables if name in t.column_names]
    return pa.chunked_array(arrays, pa.binary())


def _describe(name: str, place: int, samples: Sequence[FileSample]) -> Column:
    having = [sample for sample in samples if any(name in table.column_names for table in sample.tables)]
    tables = [table for sample in having for table in sample.tables]
    kinds = _kinds(name, tables)
    texts = column_text(name, tables)
    rows = sum(sample.rows for sample in having)
    present = len(texts) - texts.null_count
    values = _as_text(texts.unique().drop_null())
    guess = _guess(name, kinds, values)
    is_timestamp = guess == "timestamp" and values is not None
    shape = shape_of(values) if values is not None and guess == "text" else None
    if shape == PHONE_NUMBERS and last_word(name) in ID_WORDS:
        # they may have as many digits
        shape = None
    shown, others = _shown(name, texts, values, shape)
    return Column(
        name=name,
        place=place,
        files=len(having),
        rows=rows,
        nulls=rows - present,
        empties=pc.sum(pc.equal(pc.binary_length(texts), 0)).as_py() or 0,
        distinct=pc.count_distinct(texts).as_py(),
        kinds=kinds,
        guess=guess,
        shape=shape,
        has_personal_name=has_personal_name(name),
        values=shown,
        other_values=others,
        span=_span(name, values) if is_timestamp and not is_birth(name) else None,
        lacks_zone=is_timestamp and kinds == ("text",) and lacks_zone(values),
        is_everywhere=all(name in table.column_names for sample in samples for table in sample.tables),
        name_is_data=name_is_data(name),
    )


def _kinds(name: str, tables: Sequence[pa.Table]) -> tuple[str, ...]:
    kinds: dict[str, None] = {}
    for table in tables:
        if name in table.column_names:
            field = table.schema.field(name)
            kind = data_type_of(field)
            # a column of text without any value says nothing: csv knows no other type
            if kind is not None and table.column(name).null_count < table.num_rows:
                kinds[kind] = None
    return tuple(kinds)


def _as_text(values: pa.BinaryArray) -> pa.StringArray | None:
    """The values as text; None: they are bytes."""
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        return None


def _guess(name: str, kinds: tuple[str, ...], values: pa.StringArray | None) -> str | None:
    if not kinds:
        return None
    if kinds == ("text",) and values is not None:
        return guess_type(name, values)
    if set(kinds) == {"bigint", "double"}:
        return "double"
    return kinds[0] if len(kinds) == 1 else "binary" if "binary" in kinds else "text"


def _shown(
    name: str, texts: pa.ChunkedArray, values: pa.StringArray | None, shape: str | None
) -> tuple[tuple[str, ...], int]:
    """The values of a column that may be shown, and how many there are beside them."""
    if values is None or not 0 < len(values) <= MOST_VALUES or shape is not None:
        return (), 0
    counts = {
        entry["values"].decode(): entry["counts"] for entry in pc.value_counts(texts).to_pylist() if entry["values"]
    }
    shown = showable(name, counts)
    return tuple(shown), len(counts) - len(shown) if shown else 0


def _span(name: str, values: pa.StringArray) -> tuple[str, str] | None:
    try:
        table = cast_declared(pa.table({name: values}), "", 1, {name: "timestamp"})
    except UnreadableFileError:
        # beyond the years that are written with four digits
        return None
    instants = one_array(table.column(name)).drop_null()
    if not len(instants):
        return None
    ends = pc.min_max(instants)
    first, last = canonical_text(pa.array([ends["min"], ends["max"]], instants.type)).to_pylist()
    return first, last
