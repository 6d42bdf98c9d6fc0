"""A guess at the type of a text column, which must not change what any of its values says.

A type that is declared wrongly fails a load, or worse: `007` becomes 7. So a guess needs two things: every value is
written as the type writes it, and `types.cast_declared`, which will read it, does so now. What is named like an id, a
code or something of a person stays text, because its next value may begin with a zero.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from ometria_source.exceptions import UnreadableFileError
from ometria_source.export.shapes import ID_WORDS, has_personal_name, last_word, word_set, words
from ometria_source.export.types import cast_declared

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
# As `_PATTERNS["timestamp"]`, without what tells the zone.
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
        # most columns are told by their first value
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
