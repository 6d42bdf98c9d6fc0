"""What the simulated API answers to a GET: the documented endpoints, from the data of a simulated account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from ometria_source.simulator.account import SimulatedAccount
from ometria_source.simulator.behaviour import Behaviour
from ometria_source.simulator.invention import mix
from ometria_source.simulator.people import encode
from ometria_source.simulator.shop import make_contact
from ometria_source.simulator.shop_answers import answers
from ometria_source.simulator.timestamps import parse

DEFAULT_LIMIT = 10  # documented for profiles

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """A status, a body, and headers besides those that every answer has."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class RefusalError(Exception):
    """A request that gets an error; Ometria documents no error body, so this one is a guess."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.answer = Answer(status, encode({"status": status, "message": message}))


def answer(account: SimulatedAccount, behaviour: Behaviour, path: str, query: Mapping[str, str]) -> Answer:
    """Answer an authorised GET.

    Args:
        account: Where the data is; its lock is held by the caller.
        behaviour: The knobs.
        path: Decoded, without the `/v2` prefix; a trailing slash makes no difference.
        query: Decoded.
    """
    api = _Api(account, behaviour, query)
    try:
        if any(path.startswith(prefix) for prefix in behaviour.forbidden):
            raise RefusalError(403, "This key may not access this resource")
        if any(path.startswith(prefix) for prefix in behaviour.missing):
            raise RefusalError(404, "Not found")
        found = _find(api, path.strip("/").split("/"))
    except RefusalError as refusal:
        return refusal.answer
    return found or RefusalError(404, "Not found").answer


def _find(api: _Api, parts: list[str]) -> Answer | None:
    """What a path answers; None: there is no such path."""
    account, behaviour = api.account, api.behaviour
    match parts:
        case ["profiles"]:
            return _array(api.profiles())
        case ["profiles", key] if key in account.profiles:
            return Answer(200, api.profile_rows([key])[0])
        case ["lists"]:
            return _array(api.lists())
        case ["lists", key] if key in account.lists:
            return Answer(200, encode(account.list_answer(key)))
        case ["lists", key, last] if key in account.lists and last == behaviour.members_path:
            return _array(api.members(key))
        case ["lists", key, *_] if key not in account.lists:
            return None
        case ["unsubscribes"]:
            return _array(api.unsubscribes())
    records = answers(account.shop, behaviour, parts, api.query)
    if records is None:
        return None
    rows, is_paged = records
    is_paged = is_paged and not any("/".join(["", *parts]).startswith(prefix) for prefix in behaviour.unpaged)
    return _array([encode(row) for row in api.page(rows, paged=is_paged)])


def _array(rows: Sequence[bytes]) -> Answer:
    return Answer(200, b"[" + b",".join(rows) + b"]")


class _Api:
    """One request's view of the account."""

    def __init__(self, account: SimulatedAccount, behaviour: Behaviour, query: Mapping[str, str]) -> None:
        self.account = account
        self.behaviour = behaviour
        self.query = query

    def profiles(self) -> list[bytes]:
        everyone = self.account.profiles
        ids = everyone.ids()
        since = self.moment("updateSince")
        if since is not None and self.behaviour.update_since_honoured:
            ids = everyone.updated_since(int(since.timestamp()))
        if "email" in self.query:
            ids = everyone.with_email(self.query["email"], ids)
        return self.profile_rows(self.page(ids, offset_honoured=self.behaviour.profiles_paged))

    def profile_rows(self, ids: Sequence[str]) -> list[bytes]:
        return self.account.profiles.answer(ids, carry_lists=self.behaviour.profiles_carry_lists)

    def lists(self) -> list[bytes]:
        mode = self.query.get("mode", "active")
        if mode not in ("active", "all", "archived"):
            raise RefusalError(400, "mode is one of active, all, archived")
        ids = [
            key
            for key, row in self.account.lists.items()
            if mode == "all" or (row["status"] == "ARCHIVED") == (mode == "archived")
        ]
        return [encode(self.account.list_answer(key)) for key in self.page(ids, paged=self.behaviour.lists_paged)]

    def members(self, list_id: str) -> list[bytes]:
        ids = self.page(self.account.members[list_id], paged=self.behaviour.members_paged)
        if self.behaviour.members_item == "profile":
            return self.profile_rows(ids)
        if self.behaviour.members_item == "contact":
            return [
                encode(
                    make_contact(
                        "customers", f"contact-{key[-8:]}", self.account.profiles.stored(key), self.account.now
                    )
                )
                for key in ids
            ]
        return [encode({"profile_id": key}) for key in ids]

    def unsubscribes(self) -> list[bytes]:
        since, before = self.moment("since"), self.moment("before")
        kind = self.query.get("type")
        rows = []
        for position, row in enumerate(self.account.unsubscribes):
            moment = parse(row["timestamp"])
            # A time that nobody can read is in every window: it is the reader's to cope with.
            if moment is not None:
                if since is not None and (moment < since or (moment == since and not self.behaviour.since_inclusive)):
                    continue
                if before is not None and (
                    moment > before or (moment == before and not self.behaviour.before_inclusive)
                ):
                    continue
            if kind is None or row["type"] == kind:
                rows.append((moment.timestamp() if moment else 0.0, position, row))
        if self.behaviour.unsubscribes_order == "shuffled":
            rows.sort(key=lambda item: mix(17, item[1]))
        else:
            rows.sort(key=lambda item: item[:2], reverse=self.behaviour.unsubscribes_order == "descending")
        page = self.page(rows, paged=self.behaviour.unsubscribes_paged)
        return [encode(row) for _, _, row in page[: self.behaviour.unsubscribes_cap]]

    def page(self, items: Sequence[T], *, paged: bool = True, offset_honoured: bool = True) -> Sequence[T]:
        """Cut the page that the query asks for out of a collection."""
        if not paged:
            asked = self.number("limit", DEFAULT_LIMIT, 1) if self.behaviour.unpaged_limit else None
            return items[:asked][: self.behaviour.unpaged_cap]
        limit, offset = self.number("limit", DEFAULT_LIMIT, 1), self.number("offset", 0, 0)
        if limit > self.behaviour.max_limit:
            if self.behaviour.over_limit == "refuse":
                raise RefusalError(400, f"limit is at most {self.behaviour.max_limit}")
            limit = self.behaviour.max_limit
        if not offset_honoured:
            offset = 0
        if self.behaviour.short_pages:
            limit -= mix(23, offset) % (limit // 2 + 1)
        return items[offset : offset + limit]

    def number(self, name: str, default: int, least: int) -> int:
        text = self.query.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit()) or int(text) < least:
            raise RefusalError(400, f"{name} is a whole number from {least}")
        return int(text)

    def moment(self, name: str) -> datetime | None:
        text = self.query.get(name)
        if text is None:
            return None
        moment = parse(text)
        if moment is None:
            raise RefusalError(400, f"{name} is a date or a date-time in UTC")
        return moment
