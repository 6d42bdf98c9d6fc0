"""Text of others as it is shown: names of files and fields, and the similar names that a user may have meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from hashlib import sha256

from ometria_source.emails import replace_encoded_emails

# Characters of a value; a longer one may be a key or a password in the wrong place.
LONGEST_VALUE = 20

# Characters of a name; a longer one says no more, and would hide the sentence around it.
LONGEST_NAME = 200

# Digits of SHA-256 in the place of an address: a million names have most likely a million of them.
_ADDRESS_DIGITS = 16

_LONG = re.compile(rf"(\S{{{LONGEST_NAME}}})\S+")


def printable(text: str) -> str:
    """A text on one line, without what a terminal would obey, and without endless words.

    Args:
        text: A sentence with names in it, or a name.
    """
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return _LONG.sub(r"\1…", escaped)


def without_addresses(name: str) -> str:
    """The name of a field, a column or a file as it may be stored: `field_` and a hash stand for each e-mail address.

    Args:
        name: As it is there.
    """
    return replace_encoded_emails(name, lambda email: f"field_{digest(email)[:_ADDRESS_DIGITS]}")


def digest(text: str) -> str:
    """The SHA-256 of a text, also of one with half a surrogate pair, in hex digits."""
    return sha256(text.encode(errors="surrogatepass")).hexdigest()


def shown_name(name: str) -> str:
    """The name of a field or a file as it may be shown: without addresses, and on one line of bounded length.

    Args:
        name: As it is there.
    """
    shown = printable(without_addresses(name))
    return shown if len(shown) <= LONGEST_NAME else f"{shown[:LONGEST_NAME]}…"


def shown_value(value: object) -> str:
    """The value of a setting, or `…` where it may be a secret or an address.

    Args:
        value: As it is configured, or the name of a column in it.
    """
    text = str(value)
    return "…" if len(text) > LONGEST_VALUE or "@" in text else printable(text)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The most similar of some names; None: none is similar.

    Args:
        name: As it was typed.
        names: Those that there are.
    """
    lower = {other.lower(): other for other in names}
    matches = get_close_matches(name.lower(), lower, n=1)
    return lower[matches[0]] if matches else None
