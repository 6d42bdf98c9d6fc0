"""How a simulated server behaves where Ometria's documentation leaves it open, and what it does when it misbehaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# An int is a status; the others break an answer in the way that they are called.
Fault = (
    int
    | Literal[
        "reset", "reset-mid-body", "truncated", "chunked-cut", "html", "null", "object", "bad-json", "hang", "redirect"
    ]
)


@dataclass(frozen=True)
class Behaviour:
    """What the server does. The defaults are what is documented, else what is most plausible.

    Attributes:
        max_limit: The largest page.
        over_limit: Whether a larger `limit` is clamped or refused (400).
        requests_per_second: The account's limit, over a strict sliding window of one second; None: no limit.
        retry_after: Value of the header `Retry-After` of a 429.
        refused_status: The status for a missing or wrong key.
        forbidden: Path prefixes that answer 403.
        latency: Seconds before each answer.
        profiles_paged: Whether `/profiles` honours `offset`.
        update_since_honoured: Whether `/profiles` honours `updateSince`.
        profiles_carry_lists: Whether profiles have the field `lists`.
        lists_paged: Whether `/lists` honours `limit` and `offset`.
        unsubscribes_paged: Whether `/unsubscribes` honours `limit` and `offset`.
        unsubscribes_cap: Rows that it answers at most; None: all.
        unsubscribes_order: In which order.
        since_inclusive: Whether an event at `since` is part of the answer.
        before_inclusive: Whether an event at `before` is.
        members_path: Under which name a list's members are; None: under none.
        members_item: What the items there are.
        members_paged: Whether they honour `limit` and `offset`.
        short_pages: Whether pages have fewer rows than were asked for.
    """

    max_limit: int = 250
    over_limit: Literal["clamp", "refuse"] = "clamp"
    requests_per_second: float | None = None
    retry_after: str | None = None
    refused_status: int = 401
    forbidden: frozenset[str] = frozenset()
    latency: float = 0.0
    profiles_paged: bool = True
    update_since_honoured: bool = True
    profiles_carry_lists: bool = True
    lists_paged: bool = False
    unsubscribes_paged: bool = False
    unsubscribes_cap: int | None = None
    unsubscribes_order: Literal["ascending", "descending", "shuffled"] = "ascending"
    since_inclusive: bool = True
    before_inclusive: bool = False
    members_path: Literal["profiles", "members", "contacts"] | None = "profiles"
    members_item: Literal["profile", "contact", "profile_id"] = "profile"
    members_paged: bool = True
    short_pages: bool = False
