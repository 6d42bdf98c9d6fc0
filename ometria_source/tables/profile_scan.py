"""The scan of the profiles: which profiles to ask for, and who else can use what came back.

`profiles` and `member_lists` may both need it. The one that reads leaves a note of each profile's segments in a
temporary file, so that the other need not ask again; memory stays flat however many profiles there are.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import IO, Any

from ometria_source.api.client import JsonObject, OmetriaClient
from ometria_source.api.scan import scan
from ometria_source.exceptions import UnexpectedAnswerError
from ometria_source.settings import PROFILES_LOOKBACK
from ometria_source.tables.deletions import is_id

PATH = "/profiles"

# A finished scan serves the run that made it. A source object that is used again later reads anew.
SHARED_FOR = timedelta(minutes=10)


def profile_pages(client: OmetriaClient, since: datetime | None) -> Iterator[list[JsonObject]]:
    """All profiles, or those that changed.

    Args:
        client: Reads the API.
        since: The last scan that finished; it is reached back from by `PROFILES_LOOKBACK`. None: read all.

    Yields:
        Pages of profiles, each of which has an id.
    """
    params = {} if since is None else {"updateSince": (since - PROFILES_LOOKBACK).date().isoformat()}
    for page in scan(client, PATH, params):
        if not all(is_id(profile.get("id")) for profile in page):
            raise UnexpectedAnswerError(PATH, "a profile without a usable `id`")
        yield page


@dataclass(frozen=True)
class Memberships:
    """The segments of each profile, as one scan found them.

    Attributes:
        started: When the scan began.
        since: The last scan before it, from which it reached back; None: it read all profiles.
        finished: When it reached its end.
        notes: One JSON list a line: profile id, then its list ids, or null where the profile carries no `lists`.
    """

    started: datetime
    since: datetime | None
    finished: datetime
    notes: IO[str]

    def rows(self) -> Iterator[tuple[str, list[str] | None]]:
        """Profile id and list ids, profile by profile."""
        self.notes.seek(0)
        for line in self.notes:
            profile_id, list_ids = json.loads(line)
            yield profile_id, list_ids


class SharedProfileScan:
    """Passes the memberships of one table's scan on to another's."""

    def __init__(self) -> None:
        self.in_progress = False
        self._finished: Memberships | None = None

    @contextmanager
    def recording(self, started: datetime, since: datetime | None) -> Iterator[Callable[[JsonObject], None]]:
        """Take note of a scan; it can be taken once this context ends without an error.

        Args:
            started: When the scan began.
            since: As in `Memberships`.

        Yields:
            A function to call with each profile.
        """
        self._finished = None
        self.in_progress = True
        # it outlives this context: whoever takes the scan reads it, and the system removes it when it is closed
        notes = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115

        def note(profile: JsonObject) -> None:
            notes.write(json.dumps([str(profile["id"]), list_ids(profile)]) + "\n")

        try:
            yield note
            self._finished = Memberships(started, since, datetime.now(timezone.utc), notes)
        finally:
            self.in_progress = False

    def take(self) -> Memberships | None:
        """The last scan that finished just now, if nobody has taken it yet."""
        scan, self._finished = self._finished, None
        return scan if scan and datetime.now(timezone.utc) - scan.finished < SHARED_FOR else None


def list_ids(profile: JsonObject) -> list[str] | None:
    """The ids in a profile's `lists`; None where it has none (Ometria documents no such field; a client reads it)."""
    lists: Any = profile.get("lists")
    if not isinstance(lists, list):
        return None
    ids = (str(item["id"]) for item in lists if isinstance(item, dict) and item.get("id") is not None)
    return list(dict.fromkeys(ids))
