"""A simulated Ometria account: its data, and the changes that tests and the demo make to it.

The data is invented. Time stands still in it: `now` moves only with `advance`, and every change is stamped with it.

What the account knows and the API does not tell is hidden here too: when a profile was last updated (`updateSince` goes
by it, and moves of dynamic lists do not touch it, as documented), and which lists a profile is in.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal

from ometria_source.simulator import export, invention, mailings
from ometria_source.simulator.people import Profiles
from ometria_source.simulator.shop import Shop
from ometria_source.simulator.timestamps import iso, parse, spaced

ListType = Literal["DYNAMIC", "STATIC"]

# Of a large account only a sample is mailed: a quarter of a million events are about 200 MB of text cells.
MAX_INVENTED_EVENTS = 250_000


class SimulatedAccount:
    """One account: profiles, lists, memberships, unsubscribes and e-mail events.

    `SimulatedAccount()` is empty; `SimulatedAccount.invent()` has people in it. Change it through its methods: they
    keep the data coherent, stamp the change, and are safe beside a server that answers from it.

    Attributes:
        lock: Held by every method that changes something and by the server while it computes an answer.
        profiles: By id, in internal-id order, as the API answers them. Reads like a dict, and gives copies.
        lists: By id, as the API answers them; `status` is `ARCHIVED` for those outside `mode=active`.
        members: List id to profile ids, in the order of joining.
        reported_sizes: The `size` that the API answers for a list where that is wrong, as before a refresh; None: it
            answers no `size`.
        unsubscribes: In the order of recording.
        events: The e-mail events, every cell a text or None.
    """

    def __init__(self, seed: int = 1, now: datetime | None = None) -> None:
        if now is not None and now.tzinfo is None:
            raise ValueError("`now` needs a time zone")
        present = now or datetime.now(timezone.utc)
        self.now = present.astimezone(timezone.utc).replace(microsecond=0)
        self.seed = seed
        self.lock = threading.RLock()
        self.lists: dict[str, dict[str, Any]] = {}
        self.members: dict[str, list[str]] = {}
        self.reported_sizes: dict[str, int | None] = {}
        self.unsubscribes: list[dict[str, Any]] = []
        self.events: list[mailings.Event] = []
        self.profiles = Profiles(self._lists_of)
        self._member_of: dict[str, tuple[str, ...]] = {}
        self._shop: Shop | None = None
        self._people = 0
        self._last_list_id = 0
        self._exports: dict[Path, tuple[int, int]] = {}

    @classmethod
    def invent(cls, profiles: int = 300, seed: int = 1, now: datetime | None = None) -> SimulatedAccount:
        """Invent an account whose people, lists, opt-outs and e-mail events hang together.

        Args:
            profiles: How many people. The first dozen carry the awkward values.
            seed: The same seed and `now` make the same account.
            now: The account's present, with a time zone; None: the real time. All history lies in the 60 days before.
        """
        account = cls(seed, now)
        present = account._epoch()
        history = mailings.invent_history(seed, profiles, present, MAX_INVENTED_EVENTS)
        account.events = history.events
        account.unsubscribes = history.unsubscribes
        for index in range(profiles):
            optin = index not in history.opted_out
            valid = index not in history.bounced
            profile = invention.invent_profile(seed, index, present, optin=optin, valid=valid)
            account.profiles.put(profile, invention.updated_at(seed, index, present))
        account._people = profiles
        ids = account.profiles.ids()
        combinations: dict[tuple[str, ...], tuple[str, ...]] = {}
        for position, plan in enumerate(invention.LIST_PLANS):
            account.lists[plan.id] = invention.invent_list(plan, position, present)
            account.members[plan.id] = chosen = [
                key for remainder in sorted(plan.remainders) for key in ids[remainder :: plan.divisor]
            ]
            account.lists[plan.id]["size"] = len(chosen)
            account._last_list_id = max(account._last_list_id, int(plan.id))
            for key in chosen:
                combination = (*account._member_of.get(key, ()), plan.id)
                # A million people share few combinations: keep each combination once.
                account._member_of[key] = combinations.setdefault(combination, combination)
        return account

    def __repr__(self) -> str:
        return f"<SimulatedAccount, invented: {len(self.profiles)} profiles, {len(self.lists)} lists, now {self.now}>"

    @property
    def shop(self) -> Shop:
        """The retailer's own records; invented from the account as it is when they are first asked for."""
        with self.lock:
            if self._shop is None:
                self._shop = Shop(map(self.profiles.stored, self.profiles.ids()), self.members, self.now)
            return self._shop

    # Time

    def advance(self, time: timedelta) -> None:
        """Move the account's present forward."""
        if time < timedelta(0):
            raise ValueError("time does not run backwards")
        with self.lock:
            self.now += time

    # Profiles

    def add_profile(self, **fields: object) -> str:
        """Add a person at the end of the internal order, and return the new profile's id.

        Args:
            **fields: Replace the invented ones; unknown fields are answered too. `lists` follow from `join`.
        """
        _refuse(fields, "lists")
        with self.lock:
            profile = invention.invent_profile(self.seed, self._people, self._epoch())
            stamp = iso(self.now)
            profile["dates"] = {**dict.fromkeys(("acquired", "first_seen", "last_seen"), stamp),
                                "first_purchase": None, "last_purchase": None}  # fmt: skip
            profile["stats"] = dict.fromkeys(("aov", "orders", "orders_attempted", "revenue", "total_items"), 0)
            profile["stats"]["visits"] = 1
            profile.update(fields)
            if profile["id"] in self.profiles:
                raise ValueError(f"profile {profile['id']} exists already")
            self._people += 1
            self.profiles.put(profile, self._epoch())
            return str(profile["id"])

    def update_profile(self, profile_id: str, **fields: object) -> None:
        """Replace fields of a profile; its hidden update time becomes `now`, its place in the order stays."""
        _refuse(fields, "lists", "id")
        with self.lock:
            self.profiles.put({**self.profiles.stored(profile_id), **fields}, self._epoch())

    def erase_profile(self, profile_id: str) -> None:
        """Erase a person: gone from profiles, contacts and lists. Unsubscribes and events stay: they are logs."""
        with self.lock:
            if profile_id not in self.profiles:
                raise KeyError(profile_id)
            for list_id in self._member_of.get(profile_id, ()):
                self.leave(list_id, profile_id)
            self._member_of.pop(profile_id, None)
            self.profiles.remove(profile_id)
            if self._shop is not None:
                self._shop.forget(profile_id)

    # Lists

    def add_list(self, title: str, type: ListType = "DYNAMIC", members: Iterable[str] = ()) -> str:
        """Add a list, and return its id: a numeric text that was never used before."""
        with self.lock:
            self._last_list_id += 1
            list_id = str(self._last_list_id)
            plan = invention.ListPlan(list_id, title, None, type, 1, frozenset())
            row = invention.invent_list(plan, 0, self._epoch())
            stamps = ("timestamp_created", "timestamp_last_refreshed", "timestamp_stats_updated")
            self.lists[list_id] = {**row, **dict.fromkeys(stamps, iso(self.now))}
            self.members[list_id] = []
            for profile_id in members:
                self.join(list_id, profile_id)
            return list_id

    def update_list(self, list_id: str, **fields: object) -> None:
        """Replace fields of a list, e.g. `status="ARCHIVED"`; no time stamp moves by itself."""
        _refuse(fields, "size", "id")
        with self.lock:
            self.lists[list_id].update(fields)

    def delete_list(self, list_id: str) -> None:
        """Delete a list: its path answers 404 from now on."""
        with self.lock:
            for profile_id in self.members[list_id]:
                self._forget(list_id, profile_id)
            del self.lists[list_id], self.members[list_id]

    def empty_list(self, list_id: str) -> None:
        """Let every member leave."""
        with self.lock:
            for profile_id in self.members[list_id]:
                self._forget(list_id, profile_id)
            if self.members[list_id]:
                self.members[list_id].clear()
                self._members_changed(list_id)

    def join(self, list_id: str, profile_id: str) -> None:
        """Make a profile a member of a list; nothing happens when it is one already."""
        with self.lock:
            if profile_id not in self.profiles:
                raise KeyError(profile_id)
            joined = self._member_of.get(profile_id, ())
            if list_id in joined:
                return
            self.members[list_id].append(profile_id)
            order = {key: position for position, key in enumerate(self.lists)}
            self._member_of[profile_id] = tuple(sorted((*joined, list_id), key=order.__getitem__))
            self._members_changed(list_id)

    def leave(self, list_id: str, profile_id: str) -> None:
        """Take a profile out of a list; nothing happens when it is not in it."""
        with self.lock:
            if profile_id in self.members[list_id]:
                self.members[list_id].remove(profile_id)
                self._forget(list_id, profile_id)
                self._members_changed(list_id)

    # Logs

    def unsubscribe(
        self,
        profile_id: str,
        type: str = "link_unsubscribe",
        reason: str | None = None,
        at: datetime | str | None = None,
    ) -> dict[str, Any]:
        """Record an opt-out, and return its row. The profile, if it is there, loses `marketing_optin` and is updated.

        Args:
            profile_id: Somebody's; of an erased profile the row has no address.
            type: An open enum: any text.
            reason: Free text.
            at: None is `now`; a text is answered as it is, however odd.
        """
        with self.lock:
            known = profile_id in self.profiles
            address = self.profiles.stored(profile_id)["email"] if known else None
            row = mailings.make_unsubscribe(
                profile_id, address, type, reason, at if isinstance(at, str) else spaced(at or self.now)
            )
            self.unsubscribes.append(row)
            if known:
                self.update_profile(profile_id, marketing_optin=False)
            return row

    def add_events(self, n: int, at: datetime | str | None = None) -> list[mailings.Event]:
        """Record `n` e-mail events of people in the account, and return them.

        Args:
            n: They come in fours: a send, its open, its click, and a bounce of another send.
            at: Their event time. None is `now`; a text is written as it is.
        """
        with self.lock:
            ids = self.profiles.ids()
            time = at if isinstance(at, str) else iso(at or self.now)
            added = []
            for number in range(len(self.events), len(self.events) + n):
                step = number % 4
                send = number - step if step < 3 else number
                person = ids[invention.mix(self.seed + 9, send) % len(ids)] if ids else None
                who = (person, self.profiles.stored(person)["email"] if person else None)
                campaign = mailings.CAMPAIGNS[send % len(mailings.CAMPAIGNS)]
                kind = ("send", "open", "click", "bounce")[step]
                send_id = f"{invention.mix(self.seed + 10, send):016x}"
                added.append(mailings.make_event(number, self.seed, kind, time, who, send_id, campaign))
            self.events.extend(added)
            return added

    # Export

    def write_export(self, folder: Path, modified_at: datetime | None = None) -> list[Path]:
        """Write the events that were not yet written to this folder, one csv.gz file a day of event time.

        File names and columns are a GUESS: Ometria publishes neither. A text in the folder says so.

        Args:
            folder: Stands for the bucket; made if it is not there.
            modified_at: The files' modification time. None: for the first delivery to a folder the end of the events'
                day, but never later than `now`; for later ones `now`.

        Returns:
            The new files, oldest day first. Files of earlier deliveries are left alone.
        """
        with self.lock:
            place = Path(folder).resolve()
            written, delivery = self._exports.get(place, (0, 0))
            export.write_about(place)
            days: dict[str, list[mailings.Event]] = {}
            for event in self.events[written:]:
                moment = parse(event["event_time"] or "") or self.now
                days.setdefault(moment.strftime("%Y-%m-%d"), []).append(event)
            self._exports[place] = (len(self.events), delivery + 1)
            paths = []
            for day, events in sorted(days.items()):
                path = Path(folder) / "email_events" / f"dt={day}" / f"email_events_{delivery + 1:04d}.csv.gz"
                end = (parse(day) or self.now) + timedelta(days=1)
                stamp = modified_at or (self.now if delivery else min(self.now, end))
                paths.append(export.write_events(path, events, stamp))
            return paths

    def write_events(self, path: str | Path, events: Iterable[export.Row], modified_at: datetime | None = None) -> Path:
        """Write some events to one file (csv, tsv, jsonl, each with or without .gz, or parquet, by its name).

        The columns are a guess, see `export.write_events`. The modification time is `now` unless one is given.
        """
        return export.write_events(path, events, modified_at or self.now)

    # For the server

    def list_answer(self, list_id: str) -> dict[str, Any]:
        """Return a list as the API answers it, with its `size` computed, unless another one is reported."""
        row = {**self.lists[list_id], "size": self.reported_sizes.get(list_id, len(self.members[list_id]))}
        return {name: value for name, value in row.items() if name != "size" or value is not None}

    def _lists_of(self, profile_id: str) -> list[dict[str, Any]]:
        lists: Sequence[Mapping[str, Any]] = [self.lists[key] for key in self._member_of.get(profile_id, ())]
        return [{"id": row["id"], "title": row["title"], "type": row["type"]} for row in lists]

    def _epoch(self) -> int:
        return int(self.now.timestamp())

    def _forget(self, list_id: str, profile_id: str) -> None:
        self._member_of[profile_id] = tuple(key for key in self._member_of[profile_id] if key != list_id)

    def _members_changed(self, list_id: str) -> None:
        """Recompute the size; a dynamic list also shows that it was refreshed, strictly later than the last time."""
        row = self.lists[list_id]
        row["size"] = len(self.members[list_id])
        if row["type"] == "DYNAMIC":
            last = parse(row["timestamp_last_refreshed"] or "")
            refreshed = max(self.now, last + timedelta(seconds=1)) if last else self.now
            row["timestamp_last_refreshed"] = row["timestamp_stats_updated"] = iso(refreshed)


def _refuse(fields: Mapping[str, object], *names: str) -> None:
    """Raise when somebody sets what follows from something else."""
    for name in names:
        if name in fields:
            raise ValueError(f"`{name}` can't be set: it follows from the account's other data")
