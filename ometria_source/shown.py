"""Text of others as it is shown: names of files and fields, and the similar names that a user may have meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from ometria_source.emails import replace_emails

# Characters of a value; a longer one may be a key or a password in the wrong place.
LONGEST_VALUE = 20

# Characters of a name; a longer one says no more, and would hide the sentence around it.
LONGEST_NAME = 200

_LONG = re.compile(rf"(\S{{{LONGEST_NAME}}})\S+")


def printable(text: str) -> str:
    """A text on one line, without what a terminal would obey, and without endless words.

    Args:
        text: A sentence with names in it, or a name.
    """
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return _LONG.sub(r"\1…", escaped)


def shown_name(name: str) -> str:
    """The name of a field or a file as it may be shown: an account may have addresses, or any text, for names.

    Args:
        name: As it is there.
    """
    shown = printable(replace_emails(name, lambda _: "…"))
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
