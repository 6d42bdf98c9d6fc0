"""Profile the columns of a sample: types, counts, and candidate keys, without their values.

A type that is declared wrongly fails a load, or worse: `007` becomes 7. So a guessed type needs two things: every value
is written as the type writes it, and `types.cast_declared`, which will read it, does so now. A column that is named
like an id, a code or something of a person stays text, because its next value may begin with a zero.

Candidate keys are a fact about the sample, and no more than a hint about the export.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import pyarrow as pa
import pyarrow.compute as pc

from ometria_source.describe.sample import FileSample
from ometria_source.describe.shapes import (
    EMAIL_ADDRESSES,
    IP_ADDRESSES,
    LONG_TEXT,
    MOST_VALUES,
    PHONE_NUMBERS,
    name_is_data,
    shape_of,
    showable,
)
from ometria_source.exceptions import UnreadableFileError
from ometria_source.export.canonical import canonical_text, one_array
from ometria_source.export.row_keys import row_keys
from ometria_source.export.types import cast_declared, data_type_of
from ometria_source.privacy.words import ID_WORDS, has_personal_name, is_birth, last_word, word_set, words

# Digits of a number, at most: more are rather an id, a phone number, or seconds since 1970. A guess.
_WHOLE = r"(0|-?[1-9][0-9]{0,8})"
_PATTERNS = {
    "bigint": rf"^{_WHOLE}$",
    "double": rf"^({_WHOLE}|-?(0|[1-9][0-9]{{0,8}})\.[0-9]{{1,6}})$",
    "date": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
    "timestamp": r"(?i)^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?"
    r"( ?(Z|UTC|GMT|[+-][0-9]{2}(:?[0-9]{2})?))?$",
    "json": r"(?s)^(\{.*\}|\[.*\])$",
}
# As `_PATTERNS["timestamp"]`, without the zone.
_WITHOUT_ZONE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+$"

# One word alone need not be a yes or a no: `f` and `y` are more than that.
_BOOLS = (({"true", "false"}, 1), ({"yes", "no"}, 2), ({"y", "n"}, 2), ({"t", "f"}, 2))

# The last words of columns whose values are names made of digits. Guesses.
_NUMERIC_NAMES = ID_WORDS | word_set(
    "code ref reference sku ean upc gtin isbn barcode serial version build pin number no nr num account"
)


def guess_type(name: str, values: pa.StringArray) -> str:
    """Guess the type of a text column.

    Args:
        name: The column's.
        values: Its different values, without nulls.

    Returns:
        Data type (dlt's name); "text" where no other is safe.
    """
    # an empty text becomes null in every other type, as an empty cell is anyhow
    values = values.filter(pc.not_equal(values, ""))
    if not len(values):
        return "text"
    guess = "bool" if _are_bools(values) else _by_pattern(name, values)
    if guess is None or not _casts(name, values, guess):
        return "text"
    return guess


def lacks_zone(values: pa.StringArray) -> bool:
    """Whether a timestamp is among these that names no zone, and so counts as UTC."""
    return pc.any(pc.match_substring_regex(values, _WITHOUT_ZONE)).as_py() is True


def _are_bools(values: pa.StringArray) -> bool:
    if len(values) > 8:
        # more than the spellings of yes and no
        return False
    found = set(pc.utf8_lower(values).to_pylist())
    return any(found <= pair and len(found) >= fewest for pair, fewest in _BOOLS)


def _by_pattern(name: str, values: pa.StringArray) -> str | None:
    for data_type, pattern in _PATTERNS.items():
        # the first value shows the type of most columns
        if all(pc.all(pc.match_substring_regex(part, pattern)).as_py() for part in (values.slice(0, 1), values)):
            if data_type == "double" and not _are_measures(values):
                return None
            return None if data_type in ("bigint", "double") and _names_by_digits(name) else data_type
    return None


def _names_by_digits(name: str) -> bool:
    return last_word(name) in _NUMERIC_NAMES or "id" in words(name) or has_personal_name(name)


def _are_measures(values: pa.StringArray) -> bool:
    """Whether numbers lose nothing as a double: 1.10 beside 1.9 is a version, and 1.10 beside 1.90 is a price."""
    decimals = pc.utf8_length(pc.replace_substring_regex(values, r"^[^.]*\.?", ""))
    padded = pc.match_substring_regex(values, r"\.[0-9]*0$")
    return not pc.any(padded).as_py() or len(pc.unique(decimals)) == 1


def _casts(name: str, values: pa.StringArray, data_type: str) -> bool:
    try:
        cast_declared(pa.table({name: values}), "", 1, {name: data_type})
    except UnreadableFileError:
        return False
    return True


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
    """The samples whose columns are known: a file that cannot be read has none, nor has one without a header."""
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


# Pairs are formed of the columns with the most different values. A guess: 66 pairs take well under a second.
COLUMNS_IN_PAIRS = 12

# What is unique by chance: measures, moments, yes and no, and what says more than a key would.
_NO_KEYS = ("double", "decimal", "bool", "json", "date", "time", "timestamp", "binary")


@dataclass(frozen=True)
class CandidateKeys:
    """What distinguishes rows.

    Attributes:
        rows: Different rows of the sample.
        repeated: Rows that are there again, equal in every cell; they are left out of account.
        unique: Columns that are never null, never empty and never the same.
        pairs: Pairs of columns that are; only where no single column is.
        renewed: Columns that are unique within each file, but come again in another file with other cells.
    """

    rows: int
    repeated: int
    unique: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    renewed: tuple[str, ...] = ()


def candidate_keys(samples: Sequence[FileSample], columns: Sequence[Column]) -> CandidateKeys:
    """Find what distinguishes the rows of a sample.

    Args:
        samples: As for `describe_columns`.
        columns: What that found.
    """
    tables = [table for sample in samples for table in sample.tables]
    hashes = pa.chunked_array([row_keys(table) for table in tables], pa.string())
    different = _first_places(one_array(hashes))
    rows = len(different)
    if rows < 2:
        # any column would do
        return CandidateKeys(rows, len(hashes) - rows)
    full = [column for column in columns if column.is_everywhere and not column.nulls + column.empties]
    coded = {
        column.name: one_array(column_text(column.name, tables)).dictionary_encode().indices
        for column in full
        if column.shape not in (LONG_TEXT, IP_ADDRESSES) and column.guess not in ("json", "binary")
    }
    singles = [column for column in full if column.name in coded and _may_be_a_key(column)]
    unique = [column.name for column in singles if column.distinct == rows]
    pairs: list[tuple[str, str]] = []
    if not unique:
        names = sorted((column for column in full if column.name in coded), key=lambda column: -column.distinct)
        pairs = _pairs(names[:COLUMNS_IN_PAIRS], coded, different)
    file_of_row = _files_of_rows(samples).take(different)
    renewed = [
        column.name
        for column in singles
        if column.distinct < rows and _is_unique_within_files(coded[column.name].take(different), file_of_row)
    ]
    return CandidateKeys(rows, len(hashes) - rows, tuple(unique), tuple(pairs), tuple(renewed))


def _may_be_a_key(column: Column) -> bool:
    return column.guess not in _NO_KEYS and not column.has_personal_name and column.shape != EMAIL_ADDRESSES


def _pairs(columns: Sequence[Column], coded: dict[str, pa.Array], different: pa.Array) -> list[tuple[str, str]]:
    found = []
    for one, other in combinations(columns, 2):
        if not (_may_be_a_key(one) or _may_be_a_key(other)):
            continue
        if one.distinct * other.distinct >= len(different) > 1 and min(one.distinct, other.distinct) > 1:
            both = _combined(coded[one.name].take(different), coded[other.name].take(different))
            if pc.count_distinct(both).as_py() == len(different):
                found.append((one.name, other.name))
    return found


def _is_unique_within_files(codes: pa.Array, file_of_row: pa.Array) -> bool:
    return bool(pc.count_distinct(_combined(codes, file_of_row)).as_py() == len(codes))


def _combined(one: pa.Array, other: pa.Array) -> pa.Array:
    """One number for each pair of small numbers."""
    return pc.add(pc.multiply(one.cast(pa.int64()), 1 << 31), other.cast(pa.int64()))


def _files_of_rows(samples: Sequence[FileSample]) -> pa.Array:
    return pa.concat_arrays([pa.repeat(pa.scalar(number, pa.int32()), s.rows) for number, s in enumerate(samples)])


def _first_places(hashes: pa.Array) -> pa.Array:
    """Where each different row stands first."""
    table = pa.table({"hash": hashes, "place": pa.array(range(len(hashes)), pa.int64())})
    return one_array(table.group_by("hash").aggregate([("place", "min")]).column("place_min"))
