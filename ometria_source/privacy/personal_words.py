"""Words by which a column's name shows that it is personal.

One list for the preset `strict` and for `--describe`. Names that Ometria does not document are guesses: rather too many
columns are taken for personal.
"""

from __future__ import annotations

from ometria_source.naming import snake_case

# In these, an address is hashed trimmed and in lower case.
EMAIL_COLUMNS = frozenset(
    {"email", "email_address", "to_address", "customer__email", "identity_email", "source__user__email"}
)

# Parts of a name that says of a person what it holds.
PERSONAL_PARTS = ("phone", "name", "address", "ip", "birth")
# Names with such a part that say nothing of a person.
IMPERSONAL_NAMES = frozenset({"campaign_name"})


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


def is_personal(name: str) -> bool:
    """Whether a name, in dlt's spelling, says that what it names is personal."""
    if name in IMPERSONAL_NAMES:
        return False
    return name in EMAIL_COLUMNS or any(part in name for part in PERSONAL_PARTS)
