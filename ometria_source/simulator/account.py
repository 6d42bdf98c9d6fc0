"""The simulated account: what is in it, and how it changes. All of it is invented."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from ometria_source.simulator.export import write_about, write_events
from ometria_source.simulator.invention import (
    LIST_PLANS,
    invent_list,
    invent_profile,
    mix,
    profile_id,
    updated_at,
)
from ometria_source.simulator.mailings import CAMPAIGNS, Event, invent_history, make_event, make_unsubscribe
from ometria_source.simulator.moments import from_epoch, iso, parse, spaced
from ometria_source.simulator.people import Profiles

# Of a large account only so many events are invented: a sample of its people is mailed.
MAX_EVENTS = 200_000


class SimulatedAccount:
    """An Ometria account with invented data. Time in it moves only by `advance`.

    Args:
        now: The account's present, with time zone; None: the real present when the account is made.
        seed: What is invented later on depends on it.

    Attributes:
        profiles: The profiles by id, in Ometria's internal order, as the API answers them.
        lists: The lists by id, as the API answers them.
        members: Profile ids by list id.
        unsubscribes: The opt-outs, as the API answers them.
        events: The e-mail events, as the export holds them; every cell is text or None.
        now: The account's present, to the second.
        lock: Held by whoever reads or changes the account.
    """

    def __init__(self, now: datetime | None = None, seed: int = 1) -> None:
        self.now = (now or datetime.now(timezone.utc)).astimezone(timezone.utc).replace(microsecond=0)
        self.lock = threading.RLock()
        self.lists: dict[str, dict[str, Any]] = {}
        self.members: dict[str, list[str]] = {}
        self.unsubscribes: list[dict[str, Any]] = []
        self.events: list[Event] = []
        self.profiles = Profiles(self._lists_of)
        self._lists_by_profile: dict[str, list[str]] = {}
        self._seed = seed
        self._invented = 0
        self._exported = 0

    @classmethod
    def invent(cls, profiles: int = 300, seed: int = 1, now: datetime | None = None) -> SimulatedAccount:
        """Invent an account whose history lies in the 60 days before `now`.

        Args:
            profiles: How many people there are.
            seed: The same seed and present give the same account.
            now: As for the class.
        """
        account = cls(now, seed)
        present = int(account.now.timestamp())
        history = invent_history(seed, profiles, present, MAX_EVENTS)
        account.events = history.events
        account.unsubscribes = history.unsubscribes
        for index in range(profiles):
            optin, valid = index not in history.opted_out, index not in history.bounced
            profile = invent_profile(seed, index, present, optin=optin, valid=valid)
            account.profiles.put(profile, updated_at(seed, index, present))
        account._invented = profiles
        for position, plan in enumerate(LIST_PLANS):
            members = [profile_id(seed, index) for index in range(profiles) if index % plan.divisor in plan.remainders]
            account.lists[plan.id] = invent_list(plan, position, present)
            account.members[plan.id] = []
            for member in members:
                account._add(plan.id, member)
        return account

    def advance(self, duration: timedelta) -> None:
        """Move the account's present forward."""
        with self.lock:
            self.now += duration

    def add_profile(self, **fields: Any) -> str:
        """Add a person at the end, with invented fields where none are given; return the new id."""
        with self.lock:
            present = int(self.now.timestamp())
            profile = {**invent_profile(self._seed, self._invented, present), **fields}
            self._invented += 1
            self.profiles.put(profile, present)
            return str(profile["id"])

    def update_profile(self, identifier: str, **fields: Any) -> None:
        """Change fields of a profile; it is then reported by `updateSince`."""
        with self.lock:
            self.profiles.put({**self.profiles.stored(identifier), **fields}, int(self.now.timestamp()))

    def erase_profile(self, identifier: str) -> None:
        """Remove a person from the profiles and from all lists, as an erasure or a merge does."""
        with self.lock:
            for list_id in list(self._lists_by_profile.get(identifier, ())):
                self.leave(list_id, identifier)
            self.profiles.remove(identifier)

    def add_list(self, title: str, type: str = "DYNAMIC", members: Iterable[str] = ()) -> str:  # noqa: A002
        """Add a list; return its id."""
        with self.lock:
            list_id = str(max((int(key) for key in self.lists), default=0) + 1)
            created = iso(self.now)
            self.lists[list_id] = {
                "@type": "list", "id": list_id, "title": title, "description": None, "type": type, "status": "READY",
                "size": 0, "total_orders": 0, "total_revenue": 0.0, "timestamp_created": created,
                "timestamp_last_refreshed": created, "timestamp_stats_updated": created,
            }  # fmt: skip
            self.members[list_id] = []
            for member in members:
                self._add(list_id, member)
            return list_id

    def update_list(self, list_id: str, **fields: Any) -> None:
        """Change fields of a list."""
        with self.lock:
            self.lists[list_id].update(fields)

    def delete_list(self, list_id: str) -> None:
        """Remove a list."""
        with self.lock:
            for member in list(self.members[list_id]):
                self._remove(list_id, member)
            del self.lists[list_id], self.members[list_id]

    def empty_list(self, list_id: str) -> None:
        """Let everybody leave a list."""
        with self.lock:
            for member in list(self.members[list_id]):
                self._remove(list_id, member)
            self._refresh(list_id)

    def join(self, list_id: str, identifier: str) -> None:
        """Let a person into a list. `updateSince` does not report it."""
        with self.lock:
            self._add(list_id, identifier)
            self._refresh(list_id)

    def leave(self, list_id: str, identifier: str) -> None:
        """Let a person out of a list. `updateSince` does not report it."""
        with self.lock:
            self._remove(list_id, identifier)
            self._refresh(list_id)

    def unsubscribe(
        self, identifier: str, kind: str = "link_unsubscribe", reason: str | None = None,
        at: datetime | str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Let a person opt out.

        Args:
            identifier: Who.
            kind: Ometria's type of it.
            reason: The reason given.
            at: When; text is answered as it is. None: now.

        Returns:
            The opt-out as the API answers it; a change to it shows in later answers.
        """
        with self.lock:
            time = at if isinstance(at, str) else spaced(at or self.now)
            address = self.profiles.stored(identifier)["email"] if identifier in self.profiles else None
            row = make_unsubscribe(identifier, address, kind, reason, time)
            self.unsubscribes.append(row)
            return row

    def add_events(self, count: int, at: datetime | None = None) -> list[Event]:
        """Add sends, opens and clicks of the latest campaign; they are exported by the next `write_export`."""
        with self.lock:
            people = self.profiles.ids()
            new = []
            for number in range(len(self.events), len(self.events) + count):
                person = people[mix(self._seed + 9, number) % len(people)] if people else None
                address = self.profiles.stored(person)["email"] if person else None
                send_id = f"{mix(self._seed + 10, number // 3):016x}"
                kind = ("send", "open", "click")[number % 3]
                time = iso(at or self.now)
                new.append(make_event(number, self._seed, kind, time, (person, address), send_id, CAMPAIGNS[-1]))
            self.events += new
            return new

    def write_export(self, folder: Path, modified_at: datetime | None = None) -> list[Path]:
        """Write the events that were not written before, one file for each day.

        Args:
            folder: Where to; a note there says that the columns are a guess.
            modified_at: The files' modification time. None: the end of their day, or now if that is earlier.

        Returns:
            The new files.
        """
        with self.lock:
            write_about(folder)
            by_day: dict[str, list[Event]] = {}
            for event in self.events[self._exported :]:
                by_day.setdefault(str(event["event_time"])[:10], []).append(event)
            paths = []
            for day, events in by_day.items():
                path = folder / "email_events" / f"dt={day}" / f"part-{self._exported:06d}.csv.gz"
                end_of_day = (parse(day) or self.now) + timedelta(days=1)
                is_first = self._exported == 0
                when = modified_at or (min(end_of_day, self.now) if is_first else self.now)
                paths.append(write_events(path, events, when))
            self._exported = len(self.events)
            return paths

    def _lists_of(self, identifier: str) -> list[dict[str, Any]]:
        """What a profile says of the lists that it is in."""
        return [
            {"id": list_id, "title": self.lists[list_id]["title"], "type": self.lists[list_id]["type"]}
            for list_id in self._lists_by_profile.get(identifier, ())
        ]

    def _add(self, list_id: str, identifier: str) -> None:
        own = self._lists_by_profile.setdefault(identifier, [])
        if list_id not in own:
            own.append(list_id)
            self.members[list_id].append(identifier)
            self.lists[list_id]["size"] = len(self.members[list_id])

    def _remove(self, list_id: str, identifier: str) -> None:
        if list_id in self._lists_by_profile.get(identifier, ()):
            self._lists_by_profile[identifier].remove(list_id)
            self.members[list_id].remove(identifier)
            self.lists[list_id]["size"] = len(self.members[list_id])

    def _refresh(self, list_id: str) -> None:
        """Move a dynamic list's refresh time; nothing documented tells of changes to a static one."""
        item = self.lists[list_id]
        if item["type"] == "DYNAMIC":
            last = parse(item["timestamp_last_refreshed"]) or from_epoch(0)
            item["timestamp_last_refreshed"] = iso(max(self.now, last + timedelta(seconds=1)))
