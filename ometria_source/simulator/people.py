"""The profiles of a simulated account, kept as JSON so that a million fit in memory and are answered quickly."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode(value: object) -> bytes:
    """Return compact JSON in UTF-8."""
    return _ENCODE(value).encode()


class Profiles(Mapping[str, "dict[str, Any]"]):
    """Profiles by id, in internal-id order, each exactly as the API answers it, `lists` included.

    It reads like a dict. What it gives are copies: changes go through the methods of `SimulatedAccount`.
    """

    def __init__(self, lists_of: Callable[[str], list[dict[str, Any]]]) -> None:
        self._lists_of = lists_of
        self._rows: dict[str, bytes] = {}
        self._updated: dict[str, int] = {}
        self._ids: list[str] | None = None
        self._recent: tuple[int, list[str]] | None = None

    def __getitem__(self, profile_id: str) -> dict[str, Any]:
        profile = self.stored(profile_id)
        profile["lists"] = self._lists_of(profile_id)
        return profile

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids())

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, profile_id: object) -> bool:
        return profile_id in self._rows

    def __repr__(self) -> str:
        return f"<{len(self)} invented profiles>"

    def stored(self, profile_id: str) -> dict[str, Any]:
        """Return a copy of a profile without its `lists`."""
        profile: dict[str, Any] = json.loads(self._rows[profile_id])
        return profile

    def put(self, profile: Mapping[str, Any], updated: int) -> None:
        """Add a profile at the end, or replace it where it is; `updated` is its hidden update time (epoch seconds)."""
        identity = profile["id"]
        self._recent = None
        if identity not in self._rows and self._ids is not None:
            self._ids.append(identity)
        self._rows[identity] = encode(profile)
        self._updated[identity] = updated

    def remove(self, profile_id: str) -> None:
        """Forget a profile."""
        del self._rows[profile_id], self._updated[profile_id]
        self._ids = self._recent = None

    def ids(self) -> list[str]:
        """Return all ids in internal-id order; not to be changed by the caller."""
        if self._ids is None:
            self._ids = list(self._rows)
        return self._ids

    def updated_since(self, since: int) -> list[str]:
        """Return the ids of the profiles whose update time is `since` (epoch seconds) or later."""
        if self._recent is None or self._recent[0] != since:
            self._recent = (since, [key for key, updated in self._updated.items() if updated >= since])
        return self._recent[1]

    def with_email(self, address: str, ids: Sequence[str]) -> list[str]:
        """Return those of `ids` whose e-mail address is exactly this one."""
        needle = b'"email":' + encode(address)
        return [key for key in ids if needle in self._rows[key] and self.stored(key)["email"] == address]

    def answer(self, ids: Sequence[str], *, carry_lists: bool) -> list[bytes]:
        """Return the JSON of some profiles, with or without their `lists`."""
        if not carry_lists:
            return [self._rows[key] for key in ids]
        return [self._rows[key][:-1] + b',"lists":' + encode(self._lists_of(key)) + b"}" for key in ids]
