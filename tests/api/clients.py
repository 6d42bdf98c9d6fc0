"""What the tests of the client share."""

from __future__ import annotations

from ometria_source.api.client import Account, OmetriaClient
from ometria_source.simulator import SimulatedOmetria

ADDRESS = "ada@shop.test"
SECRET_QUERY = {"email": ADDRESS, "limit": 250, "offset": 0}

PASSING_FAULTS = [
    408, 425, 429, 500, 502, 503, "reset", "reset-mid-body", "truncated", "chunked-cut", "html", "null", "object",
    "bad-json",
]  # fmt: skip


def client_of(ometria: SimulatedOmetria, patience_minutes: float = 0.5, api_key: str | None = None) -> OmetriaClient:
    """A client of this server that is in no hurry to give up, and in no need of a pace."""
    return Account(ometria.base_url, api_key or ometria.api_key, 1000, patience_minutes).client("profiles")
