"""The knobs of the simulated server: what the reference marks as unknown, and the faults that a network can have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

NamedFault = Literal[
    "reset",
    "reset-mid-body",
    "truncated",
    "chunked-cut",
    "html",
    "null",
    "object",
    "bad-json",
    "hang",
    "drip",
    "drip-headers",
    "redirect",
]
NAMED_FAULTS: tuple[str, ...] = get_args(NamedFault)


@dataclass(frozen=True)
class Behaviour:
    """How the server behaves where Ometria's documentation leaves it open.

    The defaults are what is documented, else what is most plausible.

    Attributes:
        max_limit: The largest page (documented: 250).
        over_limit: A larger `limit` is clamped to `max_limit`, or refused with 400.
        requests_per_second: Over it, in a sliding second over all arrivals (refused ones count too), 429 is answered.
            None: no limit.
        retry_after: The `Retry-After` header on 429; None: no such header.
        refused_status: The answer to a missing or wrong key: 401 or 403.
        redirect_to: Where the fault "redirect" leads; None: to a path of this server that answers `[]`.
        forbidden: Prefixes of paths, like "/unsubscribes", that answer 403.
        latency: Seconds that the network takes: half of them before a request arrives, half after it is answered.
        jitter: A request takes up to so many seconds more to arrive, at random: requests can overtake each other.
        lists_paged: Whether `/lists` honours `limit` (default 10) and `offset`; else it answers everything.
        unsubscribes_paged: The same for `/unsubscribes`.
        unsubscribes_cap: The most rows that `/unsubscribes` answers, silently.
        unsubscribes_order: By `timestamp`; "shuffled" is stable across requests.
        since_inclusive: Whether an event at `since` itself is answered.
        before_inclusive: Whether an event at `before` itself is answered.
        members_path: The last part of `/lists/{id}/...` that answers with members; None: none does (404).
        members_item: A member is a full profile, a contact (own id, `@profile_id`), or `{"profile_id": ...}`.
        members_paged: Whether members honour `limit` and `offset`.
        unpaged: Prefixes of further paths, like "/custom-events", that ignore `limit` and `offset`.
        unpaged_cap: The most rows that a path answers, silently, which does not honour `offset`.
        unpaged_limit: Whether such a path honours `limit` (default 10) all the same.
        profiles_carry_lists: Whether a profile has the `lists` array.
        profiles_paged: False: `offset` is ignored, so that every page is the first.
        update_since_honoured: False: `updateSince` is ignored.
        missing: Prefixes of paths, like "/orders", that answer 404.
        metadata_prefix: What stands before the metadata of a contact, such as `dt_object_created`.
        collection_field: What a collection's name is called in `/contacts`.
        optin_is_bool: Whether a contact's `marketing_optin` is true, false or null, rather than a word.
        order_discount: What an order's discount is called.
        orders_have_totals: Whether orders and their line items have `totals`.
        custom_events: Whether `/custom-events` is there.
        changes_parameter: The query parameter of list changes that is honoured; None: none is.
        changes_paged: Whether list changes honour `limit` and `offset`; else everything is answered.
        changes_cap: The most rows that list changes answer, silently.
        changes_profile_field: What a list change calls the profile's id.
        push_errors_paged: Whether push errors honour `limit` and `offset`.
        push_errors_are_flat: Whether `error_message` and `error_path` stand beside the other fields.
        short_pages: Pages are shorter than asked for, by an amount that depends on `offset` only; none is empty
            before the end.
    """

    max_limit: int = 250
    over_limit: Literal["clamp", "refuse"] = "clamp"
    requests_per_second: float | None = None
    retry_after: str | None = None
    refused_status: int = 401
    redirect_to: str | None = None
    forbidden: frozenset[str] = frozenset()
    latency: float = 0.0
    jitter: float = 0.0
    lists_paged: bool = False
    unsubscribes_paged: bool = False
    unsubscribes_cap: int | None = None
    unsubscribes_order: Literal["ascending", "descending", "shuffled"] = "ascending"
    since_inclusive: bool = True
    before_inclusive: bool = False
    members_path: Literal["profiles", "members", "contacts"] | None = "profiles"
    members_item: Literal["profile", "contact", "profile_id"] = "profile"
    members_paged: bool = True
    unpaged: frozenset[str] = frozenset()
    unpaged_cap: int | None = None
    unpaged_limit: bool = False
    profiles_carry_lists: bool = True
    profiles_paged: bool = True
    update_since_honoured: bool = True
    short_pages: bool = False
    missing: frozenset[str] = frozenset()
    metadata_prefix: Literal["", "@", "_"] = "@"
    collection_field: Literal["collection", "id"] = "collection"
    optin_is_bool: bool = False
    order_discount: Literal["discount", "@discount"] = "discount"
    orders_have_totals: bool = True
    custom_events: bool = True
    changes_parameter: str | None = "since"
    changes_paged: bool = False
    changes_cap: int | None = None
    changes_profile_field: str = "profile_id"
    push_errors_paged: bool = False
    push_errors_are_flat: bool = False


@dataclass(frozen=True)
class Request:
    """A request as it arrived, and how it was answered.

    Attributes:
        method: `GET`, or what should not have been sent.
        path: Decoded, without the `/v2` prefix.
        query: Decoded; of a repeated name the last value.
        headers: As sent; names in lower case.
        at: Arrival, in seconds of the monotonic clock, after the way there; never earlier than the one before.
        status: As answered; 0 when the connection was broken or held before a status was sent.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    at: float
    status: int


@dataclass
class PlannedFault:
    """A fault that waits for requests under a path prefix.

    Attributes:
        path_prefix: E.g. "/profiles"; "" or "/" is every path.
        fault: A status, or a name.
        times: How many requests are left to fail; None: all.
        retry_after: The `Retry-After` header that goes with a status; None: as `Behaviour.retry_after` says.
    """

    path_prefix: str
    fault: int | str
    times: int | None
    retry_after: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.fault, str) and self.fault not in NAMED_FAULTS:
            raise ValueError(f"no such fault: {self.fault!r}; known: {', '.join(NAMED_FAULTS)}")
