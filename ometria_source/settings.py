"""Validate the settings of the source: dates, numbers, words, and the schema contract."""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import cast

from dlt.common.schema.typing import TSchemaContractDict
from dlt.common.time import ensure_pendulum_datetime
from dlt.common.typing import TAnyDateTime

from ometria_source.exceptions import InvalidSettingError
from ometria_source.shown import shown_value

# In requests a second, minutes or days: beyond it there is no meaning, and infinity breaks the arithmetic of dates.
LARGEST_NUMBER = 36_500

# Where Unix time begins: before it there was nothing to load, and not far from it the arithmetic of dates ends.
EARLIEST_YEAR = 1970

MEMBER_LISTS_FROM = ("auto", "lists", "profiles")
ON_BAD_FILE = ("fail", "skip")
FILE_FORMATS = ("csv", "tsv", "jsonl", "parquet")
DELETES = ("hard", "soft")
COLUMN_TYPES = ("text", "bigint", "double", "decimal", "bool", "timestamp", "date", "time", "json")


# Codecs of Python that are no encodings of a file, or not of one that holds delimiters.
NO_ENCODINGS = ("idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined")

# dlt's words.
MODES = ("evolve", "freeze", "discard_row", "discard_value")
ENTITIES = ("tables", "columns", "data_type")


def read_contract(setting: object) -> TSchemaContractDict:
    """The contract of each table of the source.

    Args:
        setting: One of dlt's words for everything, or such words by `tables`, `columns` and `data_type`; that also as
            JSON text.

    Returns:
        A word for each of the three: dlt keeps the contract of a table with it, so what is not named must be lifted.

    Raises:
        InvalidSettingError: It is none of these.
    """
    words = setting
    if isinstance(words, str) and words.lstrip().startswith("{"):
        try:
            words = json.loads(words)
        except ValueError:
            words = None
    if isinstance(words, str):
        words = dict.fromkeys(ENTITIES, words)
    if (
        not isinstance(words, Mapping)
        or not words.keys() <= set(ENTITIES)
        or not all(word in MODES for word in words.values())
    ):
        raise InvalidSettingError(
            "schema_contract",
            f"must be one of {', '.join(MODES)}, or give such words to some of {', '.join(ENTITIES)}, as in "
            '{"columns": "freeze"}.',
            value=setting,
        )
    contract: TSchemaContractDict = {"tables": "evolve", "columns": "evolve", "data_type": "evolve", **words}
    # the tables of this source are what is agreed on: frozen, dlt would refuse their first load
    contract["tables"] = "evolve"
    return contract


def keeping_rows(contract: TSchemaContractDict) -> TSchemaContractDict:
    """The contract of a table that mirrors the account: values are discarded, not rows.

    A complete scan removes the rows that it does not bring. So a field that is added to each of them would empty the
    table.

    Args:
        contract: As `read_contract` gave it.
    """
    kept = {entity: "discard_value" if word == "discard_row" else word for entity, word in contract.items()}
    return cast(TSchemaContractDict, kept)


def parse_date(setting: str, value: TAnyDateTime | None) -> datetime | None:
    """A date setting as an instant in UTC.

    Raises:
        InvalidSettingError: The value is not a date, or lies before 1970.
    """
    if value is None:
        return None
    try:
        instant = ensure_pendulum_datetime(value, timezone.utc)
        if instant.year < EARLIEST_YEAR:
            raise InvalidSettingError(setting, f"must not lie before {EARLIEST_YEAR}.", value=value)
        return instant
    except (ValueError, TypeError, OverflowError):
        raise InvalidSettingError(
            setting, "must be a date, such as 2024-01-31 or 2024-01-31T12:00:00Z.", value=value
        ) from None


def check_window(start: datetime | None, end: datetime | None) -> None:
    """Refuse a window that ends before it starts."""
    if start is not None and end is not None and start >= end:
        raise InvalidSettingError("end_date", "must be later than `start_date`.")


def check_positive(setting: str, number: float) -> None:
    """Refuse a number that is not positive, or too large."""
    if not 0 < number < LARGEST_NUMBER:
        raise InvalidSettingError(setting, f"must be greater than 0 and less than {LARGEST_NUMBER:,}.", value=number)


def check_not_negative(setting: str, number: float) -> None:
    """Refuse a number that is negative, or too large."""
    if not 0 <= number < LARGEST_NUMBER:
        raise InvalidSettingError(setting, f"must not be negative, and less than {LARGEST_NUMBER:,}.", value=number)


def check_choice(setting: str, value: str, choices: tuple[str, ...], *, key: str | None = None) -> None:
    """Refuse a word that is none of the choices.

    Args:
        setting: The name of the setting.
        value: The word.
        choices: Those that there are.
        key: Of the word, where the setting is a mapping.
    """
    if value not in choices:
        where = "" if key is None else f" for `{shown_value(key)}`"
        raise InvalidSettingError(setting, f"must be one of {', '.join(choices)}{where}.", value=value)


def check_delimiter(setting: str, value: str) -> None:
    """Refuse what cannot stand between two cells: a letter or digit would be taken for one in them."""
    if len(value) != 1 or not value.isascii() or value.isalnum() or value in "\"'_\r\n\0":
        raise InvalidSettingError(
            setting,
            'must be one ASCII character, such as ";", but no letter, digit, underscore, quote or end of line.',
            value=value,
        )


def check_encoding(setting: str, value: str) -> None:
    """Refuse what Python has no codec for that reads text a piece at a time."""
    sample = "a,b\n"
    try:
        codec = codecs.lookup(value)
        is_encoding = codec.incrementaldecoder is not None and sample.encode(value).decode(value) == sample
    except (LookupError, ValueError):
        is_encoding = False
    if not is_encoding or codec.name.replace("_", "-") in NO_ENCODINGS:
        raise InvalidSettingError(
            setting, 'must be the name of an encoding, such as "cp1252", "latin-1" or "utf-16".', value=value
        )
