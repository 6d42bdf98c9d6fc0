"""Read JSON lists from the Ometria Data API: authentication, retries, and what counts as an answer.

The API answers every read with a bare JSON array (Ometria docs: Profiles, Lists and Unsubscribe API). Anything else is
a fault: a transient one is retried until the retry budget (`patience_minutes`) is spent, any other fails at once.

The key travels in one header, only over TLS or loopback, and to no other host: a redirect is never followed. No message
or log line holds the key, a body, or a URL's query.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from dlt.sources.helpers.rest_client.auth import APIKeyAuth
from tenacity import RetryCallState, RetryError, Retrying, retry_if_exception_type
from tenacity.nap import sleep_using_event
from tenacity.wait import wait_base, wait_exponential, wait_random

from ometria_source.api.answer_budget import AnswerBudget
from ometria_source.api.connection import Attempt, PacedAdapter, RequestHandle, keep_queries_out_of_logs
from ometria_source.api.pacing import Pacer, RequestCancelledError, shared_pacer
from ometria_source.constants import ENDPOINT_LIMITS
from ometria_source.exceptions import (
    AccessDeniedError,
    AnswerTooLargeError,
    InvalidSettingError,
    MissingSettingError,
    NotFoundError,
    RequestLimitError,
    UnavailableError,
    UnexpectedAnswerError,
)
from ometria_source.json_values import parse_any_json, text_beyond_64_bits

log = logging.getLogger(__name__)

JsonObject = dict[str, Any]

# Seconds. Connecting takes one round trip; an answer of 250 profiles that takes a minute is not coming. Guesses.
CONNECT_TIMEOUT = 10
READ_TIMEOUT = 60

# Seconds that a whole answer may take, however steadily it drips. A page of 250 profiles is about a quarter of a
# megabyte, which even 50 kbit/s carry in less. A guess.
LONGEST_ANSWER = 120

# Seconds between two attempts, doubled each time and blurred a little, so that parallel runs spread out.
FIRST_WAIT = 0.25
LONGEST_WAIT = 60

# Attempts at a path that is a guess, before what it answers is taken for its answer and not for a fault. A guess.
PROBE_ATTEMPTS = 4

# Connections to keep open, and the most pages of one collection in flight: 32 of profiles, unpacked, take about 30 MB.
CONNECTIONS = 32

# Request Timeout, Too Early, Too Many Requests: like any 5xx, these say "again, later" (RFC 9110, 8470, 6585).
TRANSIENT_STATUSES = frozenset({408, 425, 429})

# Bytes of the longest answer, unpacked, and of all that are read at the same time (see `answer_budget`). 250 profiles
# take about a quarter of a megabyte, and all opt-outs of an account that are not paged some ten megabytes; Python
# objects of it take about five times as much. A guess.
MAX_ANSWER_BYTES = 64 << 20

# Bytes that are read, and at most unpacked, at a time.
PIECE_BYTES = 1 << 16

# What is asked for, and so all that is unpacked. zlib's number for the format (zlib docs: decompressobj).
CONTENT_ENCODING = "gzip"
GZIP = 16 + zlib.MAX_WBITS

# The first bytes of each member (RFC 1952).
GZIP_MAGIC = b"\x1f\x8b"

# One for the process: so many answers have room in its memory, whatever tables they are for.
_budget = AnswerBudget()

# Hosts to which the key may travel without TLS: it never leaves the machine.
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


def parse_retry_after(header: str | None) -> float | None:
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


class _TransientError(Exception):
    """A fault that a later attempt may not meet."""

    def __init__(self, fault: str, wait: float | None = None) -> None:
        super().__init__(fault)
        self.wait = wait


class _NoListError(_TransientError):
    """The answer is not a JSON list of objects."""


class OmetriaClient:
    """Reads lists from the Data API, from as many threads as like. Counts its requests and retries.

    The caller closes it: no request outlives its client.

    Attributes:
        requests_per_second: The pace of all requests to this account.
        requests: Requests sent so far.
        retries: Attempts that repeated a failed one.
        seconds_waited: Between failed attempts, summed over all requests.
        on_request: Called after each request, in whatever thread it was sent from.
        retry_after_headers: The header `Retry-After` of each 429; None: it had none.
        most_requests: How many it may send.
        largest_answer: Bytes of the largest answer so far, unpacked.
    """

    def __init__(self, base_url: str, api_key: str, requests_per_second: float, patience_minutes: float) -> None:
        self.requests_per_second = requests_per_second
        self.requests = 0
        self.retries = 0
        self.seconds_waited = 0.0
        self.on_request: Callable[[], None] = lambda: None
        self.retry_after_headers: list[str | None] = []
        self.most_requests = math.inf
        self.largest_answer = 0
        self._base_url = base_url.rstrip("/")
        self._patience_minutes = patience_minutes
        self._account = hashlib.sha256(f"{self._base_url} {api_key}".encode()).hexdigest()
        self._lock = threading.Lock()
        self._handles: set[RequestHandle] = set()
        self._is_closed = False
        self._session = requests.Session()
        self._session.auth = APIKeyAuth(name="X-Ometria-Auth", api_key=api_key, location="header")
        self._session.headers["Accept"] = "application/json"
        self._session.headers["Accept-Encoding"] = CONTENT_ENCODING
        # to this machine itself, no proxy from the environment leads
        self._session.trust_env = self._base_url.startswith("https:")
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # requests reads it even where it does not follow it, and fails where it is no URL
        self._session.hooks["response"].append(_forget_where_to)
        adapter = PacedAdapter(pool_maxsize=CONNECTIONS)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        keep_queries_out_of_logs()
        self._backoff = wait_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT) + wait_random(0, FIRST_WAIT)

    def get(
        self, path: str, params: dict[str, str | int], *, probe: bool = False, handle: RequestHandle | None = None
    ) -> list[JsonObject]:
        """Get one list.

        Args:
            path: Below `base_url`, beginning with a slash, percent-encoded.
            params: The query.
            probe: Whether the path itself is a guess: it is soon given up when it answers with something else than a
                list.
            handle: By which another thread may cancel the request.

        Returns:
            The objects in the order in which they came.

        Raises:
            AccessDeniedError: Status 401 or 403.
            NotFoundError: Status 404.
            UnexpectedAnswerError: A redirect, another status that no retry can mend, or (`probe`) no list.
            UnavailableError: No usable answer within the retry budget.
            AnswerTooLargeError: The answer is longer than `MAX_ANSWER_BYTES`.
            RequestLimitError: It may send no more.
            RequestCancelledError: The holder of the handle has cancelled it, or the client is closed.
        """
        handle = handle or RequestHandle()
        with self._lock:
            if self._is_closed:
                raise RequestCancelledError
            self._handles.add(handle)
        try:
            return self._get(_Call(path, params, handle, self._pacer(path), self._patience_minutes * 60, probe))
        finally:
            with self._lock:
                self._handles.discard(handle)

    def close(self) -> None:
        """Cancel all requests that are still in flight, in whatever thread; there can be no more."""
        with self._lock:
            self._is_closed = True
            handles = list(self._handles)
        for handle in handles:
            handle.cancel()
        self._session.close()

    def _get(self, call: _Call) -> list[JsonObject]:
        attempts = Retrying(
            retry=retry_if_exception_type(_TransientError),
            stop=call.is_over,
            wait=lambda attempt: call.pause(attempt, self._backoff),
            sleep=sleep_using_event(call.handle.cancelled),
            before_sleep=lambda attempt: self._log_retry(call.path, attempt),
        )
        try:
            return attempts(self._attempt_within_budget, call)
        except RetryError as error:
            fault = error.last_attempt.exception()
            if call.probe and isinstance(fault, _NoListError):
                raise UnexpectedAnswerError(call.path, "something other than a JSON list of objects") from None
            raise UnavailableError(
                call.path, str(fault), error.last_attempt.attempt_number, self._patience_minutes
            ) from None

    def _pacer(self, path: str) -> Pacer:
        for prefix, (requests_allowed, seconds) in ENDPOINT_LIMITS.items():
            if path.startswith(prefix):
                return shared_pacer(f"{self._account} {prefix}", requests_allowed, seconds)
        return shared_pacer(self._account, self.requests_per_second)

    def _log_retry(self, path: str, attempt: RetryCallState) -> None:
        with self._lock:
            self.retries += 1
            self.seconds_waited += attempt.upcoming_sleep
        fault = attempt.outcome.exception() if attempt.outcome else None
        log.info("%s: %s; attempt %d in %.1f s", path, fault, attempt.attempt_number + 1, attempt.upcoming_sleep)

    def _attempt_within_budget(self, call: _Call) -> list[JsonObject]:
        try:
            return self._attempt(call)
        finally:
            _budget.release(call)

    def _attempt(self, call: _Call) -> list[JsonObject]:
        if self.requests >= self.most_requests:
            raise RequestLimitError(call.path)
        with Attempt(call.handle, call.pacer, CONNECT_TIMEOUT, LONGEST_ANSWER) as attempt:
            call.attempt_began = time.monotonic()
            try:
                response = self._session.get(
                    self._base_url + call.path,
                    params=call.params,
                    timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
                    allow_redirects=False,
                    stream=True,
                )
                body = _read(
                    call.path,
                    response,
                    lambda size: _budget.admit(
                        call, size, MAX_ANSWER_BYTES, call.handle.cancelled.is_set, attempt.pause
                    ),
                )
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                if call.handle.cancelled.is_set():
                    raise RequestCancelledError from None
                # the error's own text holds the URL with its query
                what = "it took too long" if attempt.overdue else type(error).__name__
                raise _TransientError(f"no answer: {what}") from None
            finally:
                if attempt.sent_at is not None:
                    call.attempt_began = attempt.sent_at
                    with self._lock:
                        self.requests += 1
                    self.on_request()
        retry_after = parse_retry_after(response.headers.get("Retry-After"))
        if response.status_code == 429:
            self.retry_after_headers.append(response.headers.get("Retry-After"))
            # all readers of this account wait too, but no longer than their retry budget
            call.pacer.slow_down(call.attempt_began, min(retry_after or 0, call.retry_budget))
        _check_status(call.path, response.status_code, retry_after)
        rows = _rows(body)
        self.largest_answer = max(self.largest_answer, len(body))
        call.pacer.recover(call.attempt_began)
        return rows


@dataclass(eq=False)
class _Call:
    """One call of `get`, from its first attempt to its last."""

    path: str
    params: dict[str, str | int]
    handle: RequestHandle
    pacer: Pacer
    retry_budget: float
    probe: bool
    attempt_began: float = 0.0
    began: float = field(default_factory=time.monotonic)

    def is_over(self, attempt: RetryCallState) -> bool:
        """Whether there is no sense in another attempt.

        The last one begins when the budget is spent: one that began before may have hung in an outage that is over.
        A first one that had to wait that long for its turn is followed by another, unless the server asks for a pause.
        """
        fault = attempt.outcome.exception() if attempt.outcome else None
        asked = isinstance(fault, _TransientError) and fault.wait
        if attempt.attempt_number == 1 and self.retry_budget and not asked:
            return False
        if self.probe and isinstance(fault, _NoListError) and attempt.attempt_number >= PROBE_ATTEMPTS:
            return True
        # a pause as long as the budget, caused by another table's 429, began shortly before this call
        tolerance = min(1.0, self.retry_budget / 100)
        return self.attempt_began - self.began >= self.retry_budget - tolerance

    def pause(self, attempt: RetryCallState, backoff: wait_base) -> float:
        """Seconds to wait: as `Retry-After` says, else growing; never past the end of the retry budget."""
        fault = attempt.outcome.exception() if attempt.outcome else None
        asked = fault.wait if isinstance(fault, _TransientError) else None
        # zero, as from a wrong clock, counts as no header
        return min(asked or backoff(attempt), self.budget_left())

    def budget_left(self) -> float:
        """Seconds until the retry budget is spent."""
        return max(0.0, self.began + self.retry_budget - time.monotonic())


def _forget_where_to(response: requests.Response, *_: object, **__: object) -> None:
    response.headers.pop("Location", None)


def _check_status(path: str, status: int, retry_after: float | None) -> None:
    if status in (401, 403):
        raise AccessDeniedError(path, status)
    if status == 404:
        raise NotFoundError(path)
    if status in TRANSIENT_STATUSES or status >= 500:
        raise _TransientError(f"status {status}", retry_after)
    if 300 <= status < 400:
        raise UnexpectedAnswerError(path, f"a redirect (status {status}), which is never followed with the key", status)
    if status >= 400:
        raise UnexpectedAnswerError(path, f"status {status}", status)


def _read(path: str, response: requests.Response, admit: Callable[[int], None]) -> bytes:
    """The body of an answer, which is never in memory further than it may be long; an error's is passed over.

    `admit` is called before it grows to a size, and waits for other answers.
    """
    try:
        if response.status_code >= 300:
            _pass_over(response)
            return b""
        # what `Content-Length` says; packed, it would be longer still
        is_too_large = (response.raw.length_remaining or 0) > MAX_ANSWER_BYTES
        body = bytearray()
        for piece in () if is_too_large else _unpacked(response):
            admit(len(body) + len(piece))
            body += piece
            is_too_large = len(body) > MAX_ANSWER_BYTES
            if is_too_large:
                break
        if is_too_large:
            raise AnswerTooLargeError(path, MAX_ANSWER_BYTES)
        return bytes(body)
    finally:
        # breaks the connection, unless all of the body was read
        response.close()


def _pass_over(response: requests.Response) -> None:
    """Read what comes with an error to its end, where that is near: so the connection can be used again."""
    passed = 0
    # the status is known, however its body ends
    with contextlib.suppress(urllib3.exceptions.HTTPError):
        for piece in response.raw.stream(PIECE_BYTES, decode_content=False):
            passed += len(piece)
            if passed > PIECE_BYTES:
                return


def _unpacked(response: requests.Response) -> Iterator[bytes]:
    """The body in pieces of bounded length, however well it is packed."""
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    pieces = response.raw.stream(PIECE_BYTES, decode_content=False)
    if encoding in ("", "identity"):
        yield from pieces
    elif encoding in (CONTENT_ENCODING, f"x-{CONTENT_ENCODING}"):
        yield from _gunzipped(pieces)
    else:
        raise _TransientError("an answer in an encoding that was not asked for")


def _gunzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Unpack gzip."""
    unpacker = zlib.decompressobj(GZIP)
    for piece in pieces:
        rest, unpacked = piece, b""
        # what is left of a piece, or of what it unpacks to
        while rest or len(unpacked) == PIECE_BYTES:
            try:
                unpacked = unpacker.decompress(rest, PIECE_BYTES)
            except zlib.error:
                raise _TransientError("an answer that cannot be unpacked") from None
            yield unpacked
            rest = unpacker.unconsumed_tail
            if unpacker.eof and unpacker.unused_data:
                # gzip may have several members (RFC 1952); what else lies behind one, such as zeros, is padding
                if not GZIP_MAGIC.startswith(unpacker.unused_data[: len(GZIP_MAGIC)]):
                    return
                rest, unpacker = unpacker.unused_data, zlib.decompressobj(GZIP)
    if not unpacker.eof:
        raise _TransientError("an answer that ends too early")


def _rows(body: bytes) -> list[JsonObject]:
    """The objects of the body. A long integer becomes text; of the rest, see `json_values`."""
    try:
        rows = parse_any_json(body, text_beyond_64_bits)
    except ValueError:
        rows = None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _NoListError("the answer is not a JSON list of objects")
    return rows


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
        # urlsplit drops line breaks and tabs unseen
        is_clean = self.base_url.isprintable() and " " not in self.base_url and "@" not in url.netloc
        if url.scheme not in ("http", "https") or not url.hostname or not is_clean or url.query or url.fragment:
            raise InvalidSettingError(
                "base_url",
                "must be a URL such as https://api.ometria.com/v2, without a user, a password or a line break.",
            )
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
