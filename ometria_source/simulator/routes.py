"""What the simulated server answers to each path, as Ometria documents it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from ometria_source.simulator.account import SimulatedAccount
from ometria_source.simulator.behaviour import Behaviour
from ometria_source.simulator.invention import mix
from ometria_source.simulator.moments import parse
from ometria_source.simulator.people import encode

DEFAULT_LIMIT = 10

Query = dict[str, str]
Answer = tuple[int, bytes]


def answer(account: SimulatedAccount, behaviour: Behaviour, path: str, query: Query) -> Answer:
    """The status and the JSON for one path.

    Args:
        account: Whose data.
        behaviour: How to answer where it is not documented.
        path: Below `/v2`.
        query: Its parameters.
    """
    parts = [unquote(part) for part in path.strip("/").split("/")]
    with account.lock:
        match parts:
            case ["profiles"]:
                return _profiles(account, behaviour, query)
            case ["profiles", identifier] if identifier in account.profiles:
                return 200, encode(account.profiles[identifier])
            case ["lists"]:
                return _lists(account, behaviour, query)
            case ["lists", list_id] if list_id in account.lists:
                return 200, encode(account.lists[list_id])
            case ["lists", list_id, name] if list_id in account.lists and name == behaviour.members_path:
                return _members(account, behaviour, list_id, query)
            case ["unsubscribes"]:
                return _unsubscribes(account, behaviour, query)
    return 404, encode({"error": "not found"})


def _page(behaviour: Behaviour, items: Sequence[Any], query: Query) -> Sequence[Any] | None:
    """The part that `limit` and `offset` ask for; None where they are refused."""
    limit, offset = int(query.get("limit", DEFAULT_LIMIT)), int(query.get("offset", 0))
    if limit > behaviour.max_limit and behaviour.over_limit == "refuse":
        return None
    limit = min(limit, behaviour.max_limit)
    if behaviour.short_pages:
        limit = max(1, limit - mix(1, offset) % 3)
    return items[offset : offset + limit]


def _array(rows: Sequence[bytes]) -> Answer:
    return 200, b"[" + b",".join(rows) + b"]"


REFUSED: Answer = (400, encode({"error": "limit too large"}))


def _profiles(account: SimulatedAccount, behaviour: Behaviour, query: Query) -> Answer:
    ids: Sequence[str] = account.profiles.ids()
    if "updateSince" in query and behaviour.update_since_honoured:
        since = parse(query["updateSince"])
        if since is None:
            return 400, encode({"error": "updateSince is not a date"})
        ids = account.profiles.updated_since(int(since.timestamp()))
    if "email" in query:
        ids = account.profiles.with_email(query["email"], ids)
    page = _page(behaviour, ids, query if behaviour.profiles_paged else {**query, "offset": "0"})
    if page is None:
        return REFUSED
    return _array(account.profiles.answer(page, carry_lists=behaviour.profiles_carry_lists))


def _lists(account: SimulatedAccount, behaviour: Behaviour, query: Query) -> Answer:
    mode = query.get("mode", "active")
    items: Sequence[dict[str, Any]] = [
        item
        for item in account.lists.values()
        if mode == "all" or (item["status"] == "ARCHIVED") == (mode == "archived")
    ]
    page = _page(behaviour, items, query) if behaviour.lists_paged else items
    return REFUSED if page is None else _array([encode(item) for item in page])


def _members(account: SimulatedAccount, behaviour: Behaviour, list_id: str, query: Query) -> Answer:
    ids: Sequence[str] = account.members[list_id]
    page = _page(behaviour, ids, query) if behaviour.members_paged else ids
    if page is None:
        return REFUSED
    if behaviour.members_item == "profile":
        return _array(account.profiles.answer(page, carry_lists=False))
    if behaviour.members_item == "profile_id":
        return _array([encode({"profile_id": identifier}) for identifier in page])
    return _array(
        [
            encode({"@type": "contact", "@collection": "customers", "id": f"c{number}", "@profile_id": identifier})
            for number, identifier in enumerate(page)
        ]
    )


def _unsubscribes(account: SimulatedAccount, behaviour: Behaviour, query: Query) -> Answer:
    since, before = parse(query.get("since", "")), parse(query.get("before", ""))
    rows = []
    for row in account.unsubscribes:
        instant = parse(row["timestamp"])
        # one that nobody can read is in every answer: a server that cannot place it in time may do either
        if (
            instant is not None
            and since is not None
            and not (instant >= since if behaviour.since_inclusive else instant > since)
        ):
            continue
        if (
            instant is not None
            and before is not None
            and not (instant <= before if behaviour.before_inclusive else instant < before)
        ):
            continue
        if "type" in query and row["type"] != query["type"]:
            continue
        rows.append(row)
    if behaviour.unsubscribes_order == "shuffled":
        rows.sort(key=lambda row: mix(2, hash_of(row)))
    else:
        rows.sort(key=lambda row: str(row["timestamp"]), reverse=behaviour.unsubscribes_order == "descending")
    rows = rows[: behaviour.unsubscribes_cap]
    page = _page(behaviour, rows, query) if behaviour.unsubscribes_paged else rows
    return REFUSED if page is None else _array([encode(row) for row in page])


def hash_of(row: dict[str, Any]) -> int:
    """A number that is the same for the same row in every process."""
    return int.from_bytes(encode(row)[-8:], "big") ^ len(encode(row)) ^ int.from_bytes(encode(row)[15:23], "big")
