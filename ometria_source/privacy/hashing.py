"""The hash that replaces a personal value in a table."""

from __future__ import annotations

import hmac
from array import array
from datetime import datetime, timezone
from functools import lru_cache
from hashlib import scrypt
from typing import Any

import pyarrow as pa

from ometria_source.emails import looks_like_email, replace_emails
from ometria_source.export.canonical import canonical_text, one_array
from ometria_source.json_values import json_text
from ometria_source.privacy.personal_texts import replace_personal_texts

HASH_HEX_DIGITS = 64

# The cost of scrypt: 64 MiB and some tenths of a second, once in a run. Half of what is proposed for passwords (OWASP:
# Password Storage Cheat Sheet), which are shorter than a salt may be.
_SCRYPT_COST = {"n": 2**16, "r": 8, "p": 1}
_SCRYPT_MEMORY = 2**27


@lru_cache
def derived_key(salt: str) -> bytes:
    """A key of 32 bytes that takes long to make, so that the salt cannot be found by trying.

    Args:
        salt: The user's secret.
    """
    return scrypt(salt.encode(), salt=b"ometria_source", maxmem=_SCRYPT_MEMORY, dklen=32, **_SCRYPT_COST)


class Hasher:
    """Hashes values with one salt.

    Args:
        salt: The user's secret.
    """

    def __init__(self, salt: str) -> None:
        self._keyed = hmac.new(salt.encode(), digestmod="sha256")

    def value(self, value: Any, is_email: bool = False) -> str | None:
        """The hash of a value of JSON, a date or an instant.

        Args:
            value: An object or a list is hashed as its JSON, with sorted keys and without spaces.
            is_email: Whether it stands where an e-mail address is expected.

        Returns:
            64 hex digits; None for None.
        """
        if value is None:
            return None
        return self._digest(_normal(value_text(value), is_email).encode(errors="surrogatepass")).hex()

    def without_emails(self, text: str, as_written: bool = False) -> str:
        """A text in which the hash of each e-mail address stands in its place.

        Args:
            text: Any.
            as_written: Whether two spellings of an address have two hashes: a text that is an id.
        """
        return replace_emails(text, self._as_written if as_written else self._hash)

    def without_personal_texts(self, text: str) -> str:
        """A text in which hashes stand in the place of addresses and numbers, and URLs have no query."""
        return replace_personal_texts(text, self._hash)

    def _hash(self, text: str) -> str:
        return str(self.value(text))

    def _as_written(self, text: str) -> str:
        return self._digest(text.encode(errors="surrogatepass")).hex()

    def column(self, column: pa.ChunkedArray, is_email: bool = False) -> pa.StringArray:
        """The hashes of the cells of a column, as `value` gives them.

        Args:
            column: Of a type that the readers of the export yield.
            is_email: As for `value`.

        Returns:
            A text column; null stays null.
        """
        cells = canonical_text(one_array(column)).cast(pa.binary()).dictionary_encode()
        digests = b"".join([self._digest(_normal_bytes(text, is_email)) for text in cells.dictionary.to_pylist()])
        return _hex(digests).take(cells.indices)

    def _digest(self, text: bytes) -> bytes:
        keyed = self._keyed.copy()
        keyed.update(text)
        return keyed.digest()


def value_text(value: Any) -> str:
    """The canonical text of a value."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        return json_text(value)
    if isinstance(value, datetime):
        value = value.astimezone(timezone.utc)
    try:
        return str(canonical_text(pa.array([value]))[0].as_py())
    except (OverflowError, pa.ArrowInvalid):
        # an integer of more than 64 bits
        return str(value)


def _normal(text: str, is_email: bool) -> str:
    """The text that is hashed: an e-mail address is trimmed and in lower case."""
    return text.strip().lower() if is_email or looks_like_email(text) else text


def _normal_bytes(text: bytes, is_email: bool) -> bytes:
    if not is_email and b"@" not in text:
        return text
    try:
        return _normal(text.decode(), is_email).encode()
    except UnicodeDecodeError:
        # bytes of a parquet file that are no text
        return text


def _hex(digests: bytes) -> pa.StringArray:
    """A text for each digest."""
    digits = digests.hex().encode()
    ends = array("i", range(0, len(digits) + 1, HASH_HEX_DIGITS))
    return pa.StringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), pa.py_buffer(digits))
