"""Invents people and lists from a seed. None of them exists.

Everything is a pure function of the seed and a person's index, so a million people need no memory until they are asked
for, and the mailing history (`mailings`) can refer to people without building them. The first dozen indexes are the
awkward ones: what a loader is most likely to get wrong comes even in a small account.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ometria_source.simulator.timestamps import from_epoch, iso

DAY = 86_400  # seconds
HISTORY_DAYS = 60

_MASK = (1 << 64) - 1

FIRST_NAMES = (
    "Ada", "Bruno", "Chloé", "Dilip", "Edda", "Fela", "Gwen", "Hiro", "Ines", "Jasper", "Kemi", "Lars", "Maïa", "Noor",
    "Otis", "Petra", "Quinn", "Rosa", "Søren", "Tamsin", "Uma", "Viggo", "Wren", "Xenia", "Yusuf", "Zadie",
)  # fmt: skip
LAST_NAMES = (
    "Lovelace", "Appleyard", "Bexley", "Castellán", "Dunmore", "Ellwood", "Fairweather", "Grünwald", "Hathersage",
    "Ironbridge", "Jessop", "Kettlewell", "Lindqvist", "Marchbanks", "Nakagawa", "O'Dell", "Pemberley", "Quillfeather",
    "Ravenscar", "Sandalwood", "Thistlethwaite", "Underhill", "Vantongeren",
)  # fmt: skip
MAIL_DOMAINS = ("shop.test", "mail.test", "post.test", "home.test")
COUNTRIES = (("GB", "Europe/London"), ("FR", "Europe/Paris"), ("DE", "Europe/Berlin"), ("US", "America/New_York"))
LIFECYCLE_STATUSES = ("active", "at_risk", "lapsed", "lead", None)
TAGS = ("vip", "gift buyer", "in-store", 'tall; dark, "quoted"', "naïve")

_ASCII = str.maketrans({"é": "e", "ï": "i", "ø": "o", "á": "a", "ü": "u", "'": ""})

SHARED_EMAIL = "shared.household@shop.test"
_SPECIAL_EMAILS: dict[int, str | None] = {2: None, 8: SHARED_EMAIL, 9: SHARED_EMAIL, 10: "ada+news10@shop.test"}
_SPECIAL_FIELDS: dict[int, dict[str, Any]] = {
    0: {"customer_id": "0042"},
    1: {"name": "Zoë 🌻 Grünwald", "firstname": "Zoë 🌻", "lastname": "Grünwald", "middlename": "naïve"},
    2: {"phone_number": "+447700900002", "marketing_optin": None, "is_email_valid": None},
    3: dict.fromkeys(
        (
            "customer_id", "name", "prefix", "firstname", "middlename", "lastname", "suffix", "gender", "date_of_birth",
            "country", "marketing_optin", "seen", "tags", "properties", "dates", "stats", "lifecycle_status",
            "is_email_valid", "timezone", "phone_number",
        )
    ),
    4: {"properties": {"loyalty_points": 120, "shoe size": "7½"}},
    5: {"properties": {"loyalty_points": "many", "Shoe_Size": 40}},
    6: {"properties": {"loyalty_points": {"earned": 5, "spent": {"shop": 1, "web": 0.5}}}},
    7: {"properties": {"loyalty_points": [1, "2", None, {"three": 3}]}},
    11: {"customer_id": "000", "name": 'Wren "the\nbird", Jessop', "tags": [], "properties": {}, "preferred_lang":
        "cy"},
}  # fmt: skip


@dataclass(frozen=True)
class ListPlan:
    """One list of an invented account: whoever's index leaves `remainder` when divided by `divisor` is in it."""

    id: str
    title: str
    description: str | None
    type: str
    divisor: int
    remainders: frozenset[int]
    status: str = "READY"


LIST_PLANS = (
    ListPlan("007", "VIPs", "Top spenders", "DYNAMIC", 10, frozenset({0})),
    ListPlan("12", "Newsletter readers", "Opened something lately", "DYNAMIC", 2, frozenset({0})),
    ListPlan("77", "Café lovers ☕", "", "DYNAMIC", 5, frozenset({1})),
    ListPlan("101", "Stand visitors, spring fair", "Uploaded once", "STATIC", 20, frozenset({3, 8})),
    ListPlan("102", "Nobody yet", None, "DYNAMIC", 1, frozenset()),
    ListPlan("115", 'Paper "catalogue"', None, "STATIC", 12, frozenset({4})),
    ListPlan("230", "Winter coats (archived)", "Not used any more", "DYNAMIC", 7, frozenset({2}), "ARCHIVED"),
    ListPlan("1000", "Lapsed > 30 days", "Quiet for a month", "DYNAMIC", 14, frozenset({5, 6})),
)


def mix(seed: int, number: int) -> int:
    """Scramble a number into 64 bits (splitmix64). For one seed, different numbers never meet."""
    z = (seed * 0xD1342543DE82EF95 + number * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def profile_id(seed: int, index: int) -> str:
    """Return the public id of a person: dash-separated groups of hex digits, as documented."""
    digits = f"{mix(seed, index):016x}"
    return f"{digits[:4]}-{digits[4:10]}-{digits[10:]}"


def names(seed: int, index: int) -> tuple[str, str]:
    """Return a person's first and last name."""
    bits = mix(seed + 1, index)
    return FIRST_NAMES[bits % len(FIRST_NAMES)], LAST_NAMES[(bits >> 8) % len(LAST_NAMES)]


def email(seed: int, index: int) -> str | None:
    """Return a person's address, under `.test`; None for the one person who has none."""
    if index in _SPECIAL_EMAILS:
        return _SPECIAL_EMAILS[index]
    first, last = names(seed, index)
    local = f"{first}.{last}".lower().translate(_ASCII)
    return f"{local}{index}@{MAIL_DOMAINS[index % len(MAIL_DOMAINS)]}"


def _phone(index: int) -> str | dict[str, str] | None:
    """Return a number from Ofcom's range for drama, in one of the three forms that an answer may have."""
    number = f"+447700900{index % 1000:03d}"
    return (number, {"number": number, "country_code": "GB"}, None)[index % 3]


def invent_profile(seed: int, index: int, now: int, *, optin: bool = True, valid: bool = True) -> dict[str, Any]:
    """Invent one profile with every documented field except `lists`, which follows from the memberships.

    Args:
        seed: Of the account.
        index: Position of the person in the account, from 0.
        now: The account's present, in seconds since 1970. All dates lie in the 60 days before it.
        optin: False for somebody who unsubscribed.
        valid: False for somebody whose address bounced.
    """
    bits = mix(seed + 2, index)
    first, last = names(seed, index)
    address = email(seed, index)
    country, zone = COUNTRIES[bits % 4]
    acquired = now - 3_600 - (bits >> 2) % ((HISTORY_DAYS - 1) * DAY)
    last_seen = acquired + (now - acquired) * ((bits >> 24) % 100) // 100
    orders = max(0, (bits >> 32) % 8 - 3)
    revenue = round(orders * (5 + (bits >> 36) % 9_000 / 100), 2)
    optin_known = (bits >> 50) % 10 != 0
    bought = {
        "first_purchase": iso(from_epoch(acquired)) if orders else None,
        "last_purchase": iso(from_epoch(last_seen if orders > 1 else acquired)) if orders else None,
    }
    customer = f"{index:06d}" if index % 4 else f"C-{1000 + index}"
    profile: dict[str, Any] = {
        "@type": "profile",
        "id": profile_id(seed, index),
        "email": address,
        "customer_id": customer if index % 9 else None,
        "name": f"{first} {last}",
        "prefix": "Dr" if index % 17 == 0 else None,
        "firstname": first,
        "middlename": None,
        "lastname": last,
        "suffix": None,
        "gender": ("f", "m", "o", None)[(bits >> 40) % 4],
        "date_of_birth": f"{1945 + (bits >> 44) % 60}-{1 + index % 12:02d}-{1 + index % 28:02d}" if index % 5 else None,
        "country": country,
        "marketing_optin": False if not optin else (True if optin_known else None),
        "seen": (bits >> 52) % 5 != 0,
        "tags": [TAGS[(bits >> 54) % len(TAGS)]] if index % 3 == 0 else [],
        "properties": {"loyalty_tier": ("gold", "silver", "none")[(bits >> 56) % 3], "newsletter": index % 2 == 0},
        "identities": [{"id": address, "type": "email"}] if address else [],
        "dates": {
            "acquired": iso(from_epoch(acquired)),
            "first_seen": iso(from_epoch(acquired)),
            "last_seen": iso(from_epoch(last_seen)),
            **bought,
        },
        "stats": {
            "aov": round(revenue / orders, 2) if orders else 0,
            "orders": orders,
            "orders_attempted": orders + (bits >> 58) % 2,
            "revenue": revenue,
            "total_items": orders * (1 + (bits >> 59) % 3),
            "visits": orders + (bits >> 34) % 40,
        },
        "lifecycle_status": LIFECYCLE_STATUSES[(bits >> 46) % 5],
        "is_email_valid": valid if address else None,
        "timezone": zone,
        "phone_number": _phone(index),
    }
    if index in _SPECIAL_FIELDS:
        profile.update(_SPECIAL_FIELDS[index])
        if not optin:
            profile["marketing_optin"] = False
    return profile


def updated_at(seed: int, index: int, now: int) -> int:
    """Return the hidden update time of an invented profile: spread over the 60 days, more of it lately."""
    return now - 60 - mix(seed + 3, index) % 1000**2 * mix(seed + 4, index) % (HISTORY_DAYS * DAY - 60)


def invent_list(plan: ListPlan, position: int, now: int) -> dict[str, Any]:
    """Invent one list with every documented field; `size` is the account's to compute."""
    created = now - (HISTORY_DAYS - position) * DAY
    refreshed = created if plan.type == "STATIC" else now - 3_600 * (position + 1)
    return {
        "@type": "list",
        "id": plan.id,
        "title": plan.title,
        "description": plan.description,
        "type": plan.type,
        "status": plan.status,
        "size": 0,
        "total_orders": 3 * position,
        "total_revenue": 120.25 * position,
        "timestamp_created": iso(from_epoch(created)),
        "timestamp_last_refreshed": iso(from_epoch(refreshed)),
        "timestamp_stats_updated": iso(from_epoch(refreshed + 1)),
    }
