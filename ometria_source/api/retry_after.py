"""The `Retry-After` header: seconds, or a date (RFC 9110, section 10.2.3)."""

from __future__ import annotations

from datetime import datetime, timezone
from email.utils import parsedate_to_datetime


def seconds_to_wait(header: str | None) -> float | None:
    """How long the server asks to wait.

    Args:
        header: The value of `Retry-After`, if there was one.

    Returns:
        Seconds, zero for a date that is past; None where the header is absent or unreadable.
    """
    if header is None:
        return None
    try:
        return max(0.0, float(header)) if float(header) < float("inf") else None
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=timezone.utc)
    return max(0.0, (until - datetime.now(timezone.utc)).total_seconds())
