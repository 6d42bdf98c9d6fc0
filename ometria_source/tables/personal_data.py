"""Which columns hold personal data, and which a table cannot do without.

`privacy = "strict"` goes by this. What is documented is from the columns' own descriptions. The export's columns and
fields that Ometria does not document are told by their names, which is a guess: rather too many are hashed.
"""

from __future__ import annotations

from collections.abc import Mapping

from ometria_source.privacy.policy import Preset
from ometria_source.privacy.rules import DROP, HASH
from ometria_source.tables import event_rows, list_changes, push_errors, unsubscribes
from ometria_source.tables.catalogue import DOCUMENTED

# In these, an address is hashed trimmed and in lower case.
EMAIL_COLUMNS = frozenset(
    {"email", "email_address", "to_address", "customer__email", "identity_email", "source__user__email"}
)

# What `strict` does to documented columns: an address and a number can still join, hashed; of a name, a birthday or a
# free text, a hash is of no use.
STRICT_DOCUMENTED: Mapping[str, Mapping[str, str]] = {
    "profiles": {
        "email": HASH,
        "phone_number": HASH,
        **dict.fromkeys(("customer_name", "prefix", "first_name", "middlename", "last_name", "suffix"), DROP),
        **dict.fromkeys(("date_of_birth", "identities", "properties"), DROP),
    },
    "unsubscribes": {"email_address": HASH, "reason_text": DROP},
    "contacts": {
        "email": HASH,
        "phone_number": HASH,
        **dict.fromkeys(("prefix", "firstname", "middlename", "lastname", "date_of_birth", "properties"), DROP),
    },
    "orders": {
        "customer__email": HASH,
        **dict.fromkeys(("customer__firstname", "customer__lastname", "ip_address", "properties"), DROP),
        **{name: DROP for name in DOCUMENTED["orders"] if "_address__" in name and not name.endswith("country_code")},
    },
    "order_line_items": {"properties": DROP},
    "custom_events": {"identity_email": HASH, "properties": DROP},
    "list_changes": {"email": HASH},
    "push_errors": {"record": DROP, "message__error_message": DROP},
    "data_deletion_requests": {"source__user__email": HASH, "source__user__name": DROP, "comment": DROP},
}

# Parts of a name that says of a person what it holds.
PERSONAL_PARTS = ("phone", "name", "address", "ip", "birth")
# Names with such a part that say nothing of a person.
IMPERSONAL_NAMES = frozenset({"campaign_name"})

# Merge, cursor or lineage need these as they are.
UNTOUCHABLE: Mapping[str, frozenset[str]] = {
    "lists": frozenset({"list_id"}),
    "member_lists": frozenset({"list_id"}),
    "unsubscribes": frozenset({"unsubscribe_id", "timestamp", "_cursor"}),
    "list_changes": frozenset({"list_change_id", "list_id", "timestamp", "_cursor"}),
    "push_errors": frozenset({"push_error_id"}),
    event_rows.TABLE: frozenset(event_rows.COLUMNS),
}
# The tables whose keys a rule for all tables may mean.
PEOPLE = ("profiles", "lists", "member_lists", "unsubscribes", event_rows.TABLE)

# A key can be hashed, the same in every table, but not left out.
KEYS: Mapping[str, frozenset[str]] = {
    "profiles": frozenset({"profile_id"}),
    "member_lists": frozenset({"profile_id"}),
    **{
        name: frozenset(column for column, hints in columns.items() if hints.get("nullable") is False)
        for name, columns in DOCUMENTED.items()
        if name not in PEOPLE
    },
}


# Names of columns in which two spellings are two things, also of what looks like an address.
KEY_COLUMNS = frozenset().union(*KEYS.values())

# Keys that are hashes of these: one that is left out is hashed into the key, or else rows would become one.
HASHED_INTO_KEYS: Mapping[str, frozenset[str]] = {
    "unsubscribes": frozenset(unsubscribes.KEY_FIELDS),
    "list_changes": frozenset(list_changes.KEY_FIELDS),
    "push_errors": frozenset(push_errors.COLUMNS),
}


def is_personal(name: str) -> bool:
    """Whether a name, in dlt's spelling, says that what it names is personal."""
    if name in IMPERSONAL_NAMES:
        return False
    return name in EMAIL_COLUMNS or any(part in name for part in PERSONAL_PARTS)


def strict(table: str) -> Preset:
    """The preset `strict` for a table."""
    return Preset("strict", STRICT_DOCUMENTED.get(table, {}), is_personal)
