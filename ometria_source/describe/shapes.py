"""What values look like: personal, like data where a name should be, or fit to be shown.

An export's columns are not known, and a description of it goes to a terminal, a ticket, a chat. So a value is shown
only for a reason: it is made of the words of e-mail events, or it is a code that comes often in a column that is named
like a type. What looks personal is a label for the reader; what is hidden does not depend on it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from ometria_source.privacy.words import (
    CHANNELS,
    CODED_WORDS,
    PERSONAL_WORDS,
    has_personal_name,
    is_code,
    last_word,
    word_set,
    words,
)
from ometria_source.shown import without_addresses

EMAIL_ADDRESSES = "e-mail addresses"
PHONE_NUMBERS = "phone numbers"
IP_ADDRESSES = "IP addresses"
LONG_TEXT = "long text"

# Share of a column's different values that must look alike before it is called so. A guess.
MOST = 0.5


# How many values of a column are looked at for that. A guess: all of them would take longest of all that is done here.
_VALUES_LOOKED_AT = 2_000

# In RE2's syntax, which Arrow speaks.
_SHAPES = {
    EMAIL_ADDRESSES: r"^\s*[^\s@]+@[^\s@]+\.[^\s@]+\s*$",
    IP_ADDRESSES: r"(?i)^\s*([0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9a-f:]*::[0-9a-f:.]*|([0-9a-f]{1,4}:){7}[0-9a-f]{1,4})\s*$",
    # with a plus, or as many digits as numbers have with their area
    PHONE_NUMBERS: r"^\s*(\+[0-9 ()./-]{7,20}|0[0-9 ()./-]{8,16}[0-9]|[0-9]{10,15})\s*$",
    LONG_TEXT: r"(?s)^.{80,}$|(\S+\s+){8}",
}
# What is no phone number, though it has as many digits.
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"

# One value of these shapes is enough to show none of its column.
_NEVER_SHOWN = r"(?s)@|[0-9][0-9 ()./-]{4,}[0-9]|[0-9]+\.[0-9]+\.[0-9]+\.|::|(:[0-9A-Fa-f]+){2}|//|^.{60,}$"

# The words of e-mail events (SparkPost's, SendGrid's and Mailchimp's public event types, and what they
# run on): a value that is made of nothing else describes no person.
_EVENT_WORDS = word_set(
    "send sends sent sending inject injected injection reception process processed schedule scheduled queue "
    "queued deliver delivered delivery delay delayed defer deferred open opens opened opening initial amp click "
    "clicks clicked clicking bounce bounces bounced hard soft block blocked drop dropped reject rejected "
    "rejection fail failed failure generation policy spam complaint complaints complained report reported abuse "
    "unsubscribe unsubscribes unsubscribed subscribe subscribed resubscribe resubscribed optin optout opt in out "
    "of band relay view viewed read forward forwarded convert converted conversion link list group email emails e "
    "mail sms push message messages web app mobile desktop tablet phone ios android windows mac macos linux true "
    "false yes no y n t f mass automation automated trigger triggered transactional marketing campaign broadcast "
    "bulk single event first unique total success succeeded error ok ready pending active inactive invalid valid "
    "none null unknown undetermined other html text static dynamic"
)

# A column with more different values is no list of types. A guess.
MOST_VALUES = 20
# How often a code must come that is no word of e-mail events. A guess: what comes seldom may be one person's.
OFTEN = 5

# What no name has in it, or is: an address, a URL, a date, nothing but digits and what stands between them.
_DATA = r".@|://|::|\d{4}-\d\d-\d\d|^[\s\d.,:()/+-]*$"
_IS_DATA = re.compile(_DATA)
# And what a name has seldom, as one that holds a person's number.
_DATA_IN_NAME = re.compile(
    rf"(?is){_DATA}|\d{{5,}}|\d[\d ()./-]{{5,}}\d|\d+\.\d+|^.{{120,}}$|[\da-f]{{8}}-[\da-f]{{4}}-"
)


def shape_of(values: pa.StringArray) -> str | None:
    """What most of a column's different values look like, of the shapes that may be personal; None: of none.

    Args:
        values: Without nulls.
    """
    values = values.slice(0, _VALUES_LOOKED_AT)
    for shape, pattern in _SHAPES.items():
        alike = pc.match_substring_regex(values, pattern)
        if shape == PHONE_NUMBERS:
            alike = pc.and_(alike, pc.invert(pc.match_substring_regex(values, _DATE)))
        if len(values) and pc.sum(alike).as_py() >= MOST * len(values):
            return shape
    return None


def showable(name: str, counts: Mapping[str, int]) -> list[str]:
    """The values of a column that may be shown.

    Args:
        name: The column's.
        counts: How often each of its values comes; all of them but the empty text.

    Returns:
        In alphabetical order; none of a column that may be personal, and all or none unless it is named like a type.
    """
    if len(counts) > MOST_VALUES or has_personal_name(name) or (PERSONAL_WORDS - CHANNELS) & set(words(name)):
        return []
    if pc.any(pc.match_substring_regex(pa.array(counts, pa.string()), _NEVER_SHOWN)).as_py():
        return []
    is_coded = last_word(name) in CODED_WORDS or words(name)[-2:] == ["event", "name"]
    shown = sorted(
        value
        for value, count in counts.items()
        if _is_of_event_words(value) or (is_coded and count >= OFTEN and is_code(value))
    )
    return shown if is_coded or len(shown) == len(counts) else []


def _is_of_event_words(value: str) -> bool:
    own = [word.lower() for word in re.findall(r"[A-Z]*[a-z]+|[A-Z]+|[^A-Za-z\s._-]+", value)]
    return bool(own) and _EVENT_WORDS.issuperset(own)


def name_is_data(name: str) -> bool:
    """Whether a column's name looks like a value: an address, a number, a date, a URL."""
    return bool(_DATA_IN_NAME.search(name.strip())) or without_addresses(name) != name


def looks_headerless(table: pa.Table) -> bool:
    """Whether the names of a delimited file's columns, its first line, are rather a row of it.

    Args:
        table: Its first rows, all text.
    """
    names = table.column_names
    if any(_IS_DATA.search(name.strip()) for name in names):
        return True
    # as data, the first line repeats itself below: an event's type, a campaign, a person
    repeated = sum(
        bool(pa.types.is_string(column.type) and pc.any(pc.equal(column, name)).as_py())
        for name, column in zip(names, table.columns, strict=True)
    )
    # one may be chance, as `open` in a column of that name
    return repeated > 1 or 4 * repeated > len(names)
