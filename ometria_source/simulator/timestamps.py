"""Points in time, in the spellings that Ometria uses (reference, section 1.5)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from functools import lru_cache

_PATTERN = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)(?:[T ](?P<time>\d\d:\d\d:\d\d)(?P<fraction>\.\d{1,6})?(?P<zone>Z|[+-]\d\d(?::?\d\d)?)?)?"
)


@lru_cache(maxsize=100_000)
def parse(text: str) -> datetime | None:
    """Read a date or a date-time in any of the documented spellings.

    Args:
        text: Without a zone it is UTC; without a time it is the start of the day.

    Returns:
        The instant in UTC, or None when the text is neither.
    """
    match = _PATTERN.fullmatch(text)
    if match is None:
        return None
    try:
        moment = datetime.fromisoformat(f"{match['day']}T{match['time'] or '00:00:00'}")
        if match["fraction"]:
            moment = moment.replace(microsecond=int(match["fraction"][1:].ljust(6, "0")))
        zone = match["zone"] or "Z"
        if zone != "Z":
            shift = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:].lstrip(":") or 0))
            moment = moment - shift if zone[0] == "+" else moment + shift
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=timezone.utc)


def iso(moment: datetime) -> str:
    """Spell an instant as profiles, lists and events do: `2024-03-05T10:20:30+00:00`."""
    return moment.astimezone(timezone.utc).isoformat(timespec="seconds")


def spaced(moment: datetime) -> str:
    """Spell an instant as unsubscribes do: `2024-03-05 10:20:30+00`."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S+00")


def from_epoch(seconds: int) -> datetime:
    """Return the instant that is `seconds` after 1970-01-01T00:00:00Z."""
    return datetime.fromtimestamp(seconds, timezone.utc)
