"""What the columns of an export may mean for `email_events`: its key, its time, its joins to the other tables.

The export's columns are not public, so all of this is guessed, from names and from what a sample holds. A wrong key
overwrites rows; so a key is given as sure only where its name says that it is the row's own, or that the row is an
e-mail which is updated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dlt.common.normalizers.naming.snake_case import NamingConvention as SnakeCase

from ometria_source.describe.column_profile import CandidateKeys, Column
from ometria_source.describe.shapes import EMAIL_ADDRESSES
from ometria_source.naming import ColumnNames, Field
from ometria_source.privacy.words import ID_WORDS, is_birth, last_word, word_set, words
from ometria_source.tables import lists, profiles, strict, unsubscribes
from ometria_source.tables.email_events.rows import COLUMNS, TABLE

# With fewer rows, too much is unique by chance. A guess.
ENOUGH_ROWS = 100

BY_NAME = "by name"
BY_SHAPE = "by shape"
BY_BOTH = "by name and by shape"

# The id that each table is joined by, from its declared columns; the first table that has it owns it.
_TABLES = (("profiles", profiles.COLUMNS), ("lists", lists.COLUMNS), ("unsubscribes", unsubscribes.COLUMNS))
_OWN_HASHES = ("unsubscribe_id",)

# Names of what the API calls otherwise: those of a public model of an older export (`to_address`), and likely ones.
_ALIASES = {
    "email_address": ("profiles.email",),
    "to_address": ("profiles.email",),
    "recipient": ("profiles.email",),
    "recipient_email": ("profiles.email",),
    "recipient_address": ("profiles.email",),
    "campaign_id": ("unsubscribes.mass_campaign_id", "unsubscribes.trigger_campaign_id"),
}

# A row's own id, and the ids of what several rows speak of. Guesses.
_OWN_IDS = word_set("id uuid guid event_id event_uuid event_guid event_key row_id record_id unique_id log_id")
_MESSAGE_IDS = word_set("send_id email_id message_id mail_id delivery_id sent_id")
_SHARED = word_set(
    "profile customer contact user person subscriber recipient campaign list segment template link device account "
    "store shop product order automation variant session"
)

# Two columns named so are what a row has that sums up one e-mail.
_SUMMARY_WORDS = word_set("opened opens clicked clicks bounced delayed unsubscribed complained")

# Words of a name, and how likely it is then the moment of the event. Guesses.
_TIME_HINTS = {
    "event": 8, "occurred": 8, "happened": 8, "timestamp": 3, "time": 2, "at": 1, "sent": 4, "send": 4, "created": 2,
    "updated": -4, "modified": -4, "loaded": -6, "processed": -4, "exported": -6, "delivered": 1, "first": -1,
    "last": -2, "signup": -4, "registered": -4, "expires": -6,
}  # fmt: skip


@dataclass(frozen=True)
class KeyAdvice:
    """A key that may identify an event.

    Attributes:
        columns: Its columns.
        is_sure: Whether it may be declared without a second look.
        doubt: What speaks against it, to follow its name; empty where nothing does.
    """

    columns: tuple[str, ...]
    is_sure: bool
    doubt: str = ""


@dataclass(frozen=True)
class Join:
    """A column that may join to a table of the API.

    Attributes:
        column: The export's.
        targets: `table.column`; several where it may be either.
        reason: Why: by name, by shape.
        is_number: It comes as a number, and the ids of the API tables are text.
    """

    column: str
    targets: tuple[str, ...]
    reason: str
    is_number: bool


def snake_case(name: str) -> str:
    """A column's name as dlt will write it, without the `@` that Ometria puts before some."""
    return "_".join(words(name))


def is_one_row_an_email(columns: Sequence[Column]) -> bool:
    """Whether a row seems to sum up an e-mail, with its opens and clicks in columns, rather than be an event."""
    return sum(bool(_SUMMARY_WORDS & set(words(column.name))) for column in columns) >= 2


def key_advice(keys: CandidateKeys, columns: Sequence[Column]) -> list[KeyAdvice]:
    """The keys that a sample allows, the likeliest first.

    Args:
        keys: What is unique in it.
        columns: Its columns.
    """
    named = {column.name for column in columns if not column.name_is_data}
    is_summary = is_one_row_an_email(columns)
    advice = [_single(name, keys.rows, is_summary) for name in keys.unique if name in named]
    if not advice:
        renewed = [name for name in keys.renewed if name in named and _kind(name) in ("own", "message", "other id")]
        advice = [_renewed(name, is_summary) for name in renewed]
    if not any(key.is_sure for key in advice):
        chance = "two columns are often unique together by chance"
        advice += [KeyAdvice(pair, False, chance) for pair in keys.pairs if set(pair) <= named]
    order = ["own", "message", "other id", "other", "shared"]
    return sorted(advice, key=lambda a: (not a.is_sure, len(a.columns), min(order.index(_kind(c)) for c in a.columns)))


def _single(name: str, rows: int, is_summary: bool) -> KeyAdvice:
    kind = _kind(name)
    if kind == "own" or (kind == "message" and is_summary):
        return KeyAdvice((name,), True)
    if kind == "shared":
        return KeyAdvice((name,), False, "it seems to name something that has many events")
    if kind == "message":
        return KeyAdvice((name,), False, "an e-mail can have many events: is every row here another e-mail?")
    if rows < ENOUGH_ROWS:
        return KeyAdvice((name,), False, f"with fewer than {ENOUGH_ROWS} rows it may be by chance")
    return KeyAdvice((name,), kind == "other id", "" if kind == "other id" else "it is not named like an id")


def _renewed(name: str, is_summary: bool) -> KeyAdvice:
    is_sure = is_summary and _kind(name) == "message"
    doubt = (
        "" if is_sure else "several files have the same value with other cells: is it a row that is delivered again?"
    )
    return KeyAdvice((name,), is_sure, doubt)


def _kind(name: str) -> str:
    own = words(name)
    joined = "_".join(own)
    if joined in _OWN_IDS:
        return "own"
    if joined in _MESSAGE_IDS:
        return "message"
    if _SHARED & set(own):
        return "shared"
    return "other id" if last_word(name) in ID_WORDS else "other"


def event_times(columns: Sequence[Column]) -> list[Column]:
    """The columns that may be the moment of the event, the likeliest by its name first."""
    times = [column for column in columns if column.guess == "timestamp" and not is_birth(column.name)]
    return sorted(times, key=lambda column: (-_time_score(column.name), column.nulls / max(column.rows, 1)))


def _time_score(name: str) -> int:
    return sum(_TIME_HINTS.get(word, 0) for word in words(name))


def likely_joins(columns: Sequence[Column]) -> list[Join]:
    """The columns that may join to the tables of the API.

    Args:
        columns: Of the export.
    """
    targets = _targets()
    joins = []
    for column in columns:
        named = targets.get(snake_case(column.name), ())
        shaped = column.shape == EMAIL_ADDRESSES
        if column.name_is_data or not column.kinds or not (named or shaped):
            continue
        reason = BY_NAME if not shaped else BY_BOTH if "profiles.email" in named else BY_SHAPE
        is_number = bool(set(column.kinds) & {"bigint", "double", "decimal"})
        joins.append(Join(column.name, ("profiles.email",) if shaped else named, reason, is_number))
    return joins


def _targets() -> Mapping[str, tuple[str, ...]]:
    return {**_ALIASES, **dict(_declared())}


def _declared() -> Iterator[tuple[str, tuple[str, ...]]]:
    seen = set(_OWN_HASHES)
    for table, declared in _TABLES:
        for name in declared:
            if name not in seen and (name.endswith("_id") or name == "email"):
                seen.add(name)
                # the address of an opt-out is that of a person
                yield name, (f"{table}.{name}",)


def declarable_types(columns: Sequence[Column]) -> dict[str, str]:
    """The types to declare in `email_events_columns`: those of columns whose files do not give them.

    Args:
        columns: Of the export.

    Returns:
        Data type by column name. Not those whose name another column, or one of `email_events`' own, has in the
        destination too: they are loaded under a name that depends on their order.
    """
    numbers = {join.column for join in likely_joins(columns) if join.is_number}
    names = [snake_case(column.name) for column in columns]
    types = {}
    for column, name in zip(columns, names, strict=True):
        if column.name_is_data or names.count(name) > 1 or column.name.lower() in COLUMNS or name in _own_names():
            continue
        if column.name in numbers or (len(column.kinds) > 1 and column.guess == "text"):
            types[column.name] = "text"
        elif column.guess not in (None, "text", "binary") and (column.kinds == ("text",) or len(column.kinds) > 1):
            types[column.name] = str(column.guess)
    return types


def unknown_to_strict(columns: Sequence[Column]) -> dict[Field, str]:
    """The columns that `privacy = "strict"` hashes, because they are not known to be harmless.

    Args:
        columns: Of the export.

    Returns:
        Their names in the destination by their own.
    """
    is_harmless = strict(TABLE).is_harmless
    names = ColumnNames({}, SnakeCase(), COLUMNS).columns([column.name for column in columns])
    return {field: name for field, name in names.items() if not is_harmless(name)}


def _own_names() -> set[str]:
    return {snake_case(name) for name in COLUMNS}
