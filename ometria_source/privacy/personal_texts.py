"""Personal values within texts, known by what they look like: for `privacy = "strict"`.

E-mail addresses however they are written, telephone numbers, IP addresses, and the queries of URLs, in which shops put
addresses and names. Bare digits are left alone: whether they are a number of a person, a column's name says.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address

from ometria_source.emails import replace_encoded_emails

# Where one of these may be, in the syntax that Python and RE2 share. Most texts hold none.
HINT = "[@%&\uff20\ufe6b]" r"|\\u0040|://|[Ww]{3}\.|[0-9][^A-Za-z]{5,}[0-9]|:[0-9A-Fa-f]*:"
_HINT = re.compile(HINT)

# A URL to the end of its path, and what follows that.
_QUERY = re.compile(r"((?:://|[Ww]{3}\.)[^\s?#\"'<>]*)(?:[?#][^\s\"'<>]*)?")
# Name and password in it.
_USER = re.compile(r"(?<=://)[^\s/?#@\"'<>]{1,200}@")

# An address whose local part ends with what stands between words elsewhere (RFC 5322, 3.2.3).
_BRACED_EMAIL = re.compile(r"[^\s@<>\"]{1,64}@[^\s@<>\"(){}\[\],;:|]+")

_IP_ADDRESS = re.compile(
    r"(?<![0-9A-Za-z.])(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?!\.?[0-9A-Za-z])"
    r"|(?=[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:)[0-9A-Fa-f:]{2,39}(?:\.[0-9]{1,3}){0,3}(?![0-9A-Za-z:]))"
)

# What stands between the digits of a number, also where a text is set with blanks that do not break and with dashes.
_GAP = " ()./\u00a0\u2007\u2009\u202f\u2010-\u2015\u2212-"

# Digits in groups, or behind a `+`. No number is longer (ITU-T E.164: 15 digits).
_PHONE_NUMBER = re.compile(
    rf"(?:(?<![0-9])\+\(?|(?<![0-9A-Za-z+-])(?<![0-9][./:,])\(?)[0-9][0-9{_GAP}]{{5,22}}[0-9](?![0-9A-Za-z])"
)
_DIGITS = range(7, 16)
# Without a prefix: groups of two digits or more, as many as most numbers have; a year is no such group. A guess.
_GROUPS = re.compile(rf"(?!.*\b(?:19|20)[0-9]{{2}}\b)[0-9]{{2,}}(?:[{_GAP}][0-9]{{2,}}){{2,}}")
_DIGITS_IN_GROUPS = 9
_DATE = re.compile(
    r"(?:19|20)[0-9]{2}[-/.][0-9]{1,2}\b|[0-3]?[0-9][-/.][0-3]?[0-9](?:[-/.](?:19|20)?[0-9]{2}\b| [-/] |[-/.]? [12])"
)


def replace_personal_texts(text: str, replace: Callable[[str], str]) -> str:
    """A text with another in the place of each address and number of a person, and URLs without their query.

    Args:
        text: Any; the time that it takes grows with its length and no faster.
        replace: Gives what shall stand there.
    """
    if _HINT.search(text) is None:
        return text
    text = replace_encoded_emails(_USER.sub("", _QUERY.sub(r"\1", text)), replace)
    if "@" in text:
        text = _BRACED_EMAIL.sub(lambda found: replace(found[0]), text)
    text = _IP_ADDRESS.sub(lambda found: replace(found[0]) if _is_ip_address(found[0]) else found[0], text)
    return _PHONE_NUMBER.sub(lambda found: replace(found[0]) if _is_phone_number(found[0]) else found[0], text)


def _is_ip_address(text: str) -> bool:
    parts = text.split(".")
    if len(parts) == 4 and all(part.isdigit() and int(part) <= 255 for part in parts):
        return True
    try:
        ip_address(text)
    except ValueError:
        return False
    # `a::b` is rather code
    return any(map(str.isdigit, text))


def _is_phone_number(text: str) -> bool:
    digits = sum(map(str.isdigit, text))
    if digits not in _DIGITS:
        return False
    if text.startswith(("+", "(+", "00")):
        return True
    if digits == len(text) or _DATE.match(text):
        return False
    return text.startswith(("0", "(")) or (digits >= _DIGITS_IN_GROUPS and _GROUPS.fullmatch(text) is not None)
