"""The account: where its API is, and that the key may travel there."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ometria_source.api.client import OmetriaClient
from ometria_source.exceptions import InvalidSettingError, MissingSettingError

# Hosts to which the key may travel without TLS: it never leaves the machine.
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Account:
    """How to reach one Ometria account.

    Args:
        base_url: Where the Data API is, with its version and without a trailing slash.
        api_key: From Settings > API keys in Ometria; None where only the export is read.
        requests_per_second: The pace of all requests to this account from this process.
        patience_minutes: How long one request is retried before its table fails.

    Raises:
        InvalidSettingError: `base_url` is no URL, or would send the key without TLS to another machine; or no header
            can carry `api_key`.
    """

    base_url: str
    api_key: str | None = field(repr=False)
    requests_per_second: float
    patience_minutes: float

    def __post_init__(self) -> None:
        try:
            url = urlsplit(self.base_url)
        except ValueError:
            url = urlsplit("")
        if url.scheme not in ("http", "https") or not url.hostname or url.username or url.query or url.fragment:
            raise InvalidSettingError("base_url", "must be a URL such as https://api.ometria.com/v2.")
        if url.scheme == "http" and url.hostname not in LOOPBACK_HOSTS:
            raise InvalidSettingError(
                "base_url", "must begin with https://, because the API key travels with each call."
            )
        if self.api_key and not (self.api_key.isascii() and self.api_key.isprintable()):
            # http.client would refuse it too, in a message that holds the key
            raise InvalidSettingError("api_key", "holds a line break or a character that is not ASCII.")

    def client(self, table: str) -> OmetriaClient:
        """A client for one table; all clients of an account share one pace.

        Raises:
            MissingSettingError: `api_key` is not configured.
        """
        if not self.api_key:
            raise MissingSettingError("api_key", table)
        return OmetriaClient(self.base_url, self.api_key, self.requests_per_second, self.patience_minutes)
