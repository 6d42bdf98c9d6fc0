"""What a column's name says: that its values are harmless, as of an event's time, or that they are a person's.

`strict` keeps an undocumented column only if its name is harmless, and the description of an export uses the same list.
All words are guesses: Ometria documents no name of the export.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

from ometria_source.naming import snake_case

# In these, an address is hashed trimmed and in lower case.
EMAIL_COLUMNS = frozenset(
    {"email", "email_address", "to_address", "customer__email", "identity_email", "source__user__email"}
)


def word_set(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


# What a name says of a person, as words of it. Guesses, like all words below.
PERSONAL_WORDS = word_set(
    "email mail address addr name firstname lastname forename surname fullname nickname initials recipient sender "
    "phone telephone tel mobile msisdn cell fax ip postcode postal zip city town street county region geo "
    "location lat latitude lon lng longitude birth birthday birthdate dob born gender sex age agent ua useragent "
    "url uri link href password token cookie"
)
_BIRTH_WORDS = word_set("birth birthday birthdate bday dob born")
# Of these words, those that also say by which way an event came.
CHANNELS = word_set("email mail mobile phone agent")

ID_WORDS = word_set("id ids key uuid guid hash")
TIME_WORDS = word_set("at time timestamp date datetime on ts")
# The last word of a column of few codes.
CODED_WORDS = word_set("type kind event action activity status class channel medium platform os result")
_COUNT_WORDS = word_set(
    "count opens clicks opened clicked bounced delayed delivered sent unsubscribed complained valid"
)
# An e-mail's time, status or id is not the address.
_NEUTRAL_LAST_WORDS = ID_WORDS | TIME_WORDS | CODED_WORDS | _COUNT_WORDS
# What is named is no person.
_NAMED_THINGS = word_set(
    "event campaign template type action activity status device browser os app list segment file table column"
)


def words(name: str) -> list[str]:
    """The words of a column's name, in lower case: `sentAt` and `Sent at` are both `sent`, `at`."""
    return [word for word in snake_case(name.lstrip("@")).split("_") if word]


def last_word(name: str) -> str:
    """The last word of a column's name, which says what it holds: the id of an e-mail is an id."""
    return (words(name) or [""])[-1]


def is_birth(name: str) -> bool:
    """Whether a name is about a person's birth."""
    return bool(_BIRTH_WORDS & set(words(name)))


def has_personal_name(name: str) -> bool:
    """Whether a column is named like something of a person."""
    own = words(name)
    if is_birth(name):
        return True
    if not own or own[-1] in _NEUTRAL_LAST_WORDS or own[:1] in (["is"], ["has"]):
        return False
    is_named_thing = own[-1] == "name" and len(own) > 1 and own[-2] in _NAMED_THINGS
    return bool(PERSONAL_WORDS & set(own)) and not is_named_thing


# What an event of an e-mail is about, and what has a title of its own.
_TITLED_WORDS = word_set("campaign template automation segment list event broadcast")
_SUBJECT_WORDS = _TITLED_WORDS | word_set(
    "mass trigger triggered automated transactional marketing send email mail message delivery batch variant experiment"
)
# What happens to one, in any tense.
_ACTION_WORDS = word_set(
    "sent delivered delayed deferred open opens opened click clicks clicked bounce bounces bounced unsubscribe "
    "unsubscribes unsubscribed complaint complaints complained spam converted forwarded viewed dropped rejected failed "
    "blocked queued scheduled processed received occurred created updated modified exported loaded started ended "
    "finished completed refreshed observed first last hard soft unique valid active"
)
_KIND_WORDS = TIME_WORDS | word_set(
    "id ids uuid guid dt utc type kind status class channel medium result action activity subtype category count "
    "counts total of is has was"
)
_HARMLESS_WORDS = _SUBJECT_WORDS | _ACTION_WORDS | _KIND_WORDS
# These alone, or at the end of a name, may be an address, a text, or a list of people.
_OPEN_ENDED_WORDS = word_set("send email mail message list first last of is has was")
_TITLE_WORDS = word_set("title name")

_CODE = re.compile(r"([a-z]+|[A-Z]+|[0-9]{1,3})([._-]([a-z]+|[A-Z]+|[0-9]{1,3}))*")

# The last words of names whose values are compared, sorted or joined, whatever they look like.
_EXACT_WORDS = ID_WORDS | TIME_WORDS | word_set("sku version currency lists timezone dt utc updated created")

# What `naming` puts behind the name of a column, where several fields have one name in snake case.
_SUFFIX = re.compile(r"_([0-9]{1,2}|[0-9a-f]{8})$")


def without_suffix(column: str) -> str:
    """The name that a column would have if no other field had it."""
    return _SUFFIX.sub("", column)


@lru_cache(maxsize=4096)
def is_harmless(name: str) -> bool:
    """Whether an undocumented column holds nothing of a person, to judge by its name: each word must be known.

    Harmless are ids of campaigns, sends and events, times, types, counts, flags, and titles of campaigns.

    Args:
        name: Of a column, or a key in JSON.
    """
    normal = without_suffix(snake_case(name))
    own = words(normal)
    if "_".join(own) != normal:
        # letters of another script have gone
        return False
    if len(own) > 1 and own[-1] in _TITLE_WORDS and own[-2] in _TITLED_WORDS:
        own = own[:-1]
    elif not own or own[-1] in _OPEN_ENDED_WORDS:
        return False
    return _HARMLESS_WORDS.issuperset(own)


@lru_cache(maxsize=4096)
def is_exact(name: str) -> bool:
    """Whether a name is that of an id or a time, whose values are kept to the letter.

    Counts and flags need not be known by their names: none looks like what is searched for.
    """
    return last_word(name) in _EXACT_WORDS


def is_code(text: str) -> bool:
    """Whether a text is a code, as programs write it: no name and no sentence of a person."""
    return _CODE.fullmatch(text) is not None


def list_digest() -> str:
    """What distinguishes this list of harmless names from that of another version."""
    lists = (_HARMLESS_WORDS, _OPEN_ENDED_WORDS, _TITLED_WORDS, _TITLE_WORDS)
    return hashlib.sha256("\n".join(" ".join(sorted(part)) for part in lists).encode()).hexdigest()
