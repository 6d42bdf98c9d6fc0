"""Retry calls to the store of an export: transient errors are retried, others become a sentence.

The stores' own clients retry too, but not for long. botocore gives up after five attempts, which take seconds, and what
s3fs adds to that needs an answer that says "SlowDown" in words: the answer to a HEAD, of which each file takes two, has
none. So each call is repeated here, on top of what the client does: the listing until its first file (dlt lists
everything before that), the opening of a file, and each read in its middle, which requests the same bytes again, of the
same version.

A third-party library that reads a file neither reports whose fault an error is nor keeps data out of it: so the stream
records the store's own error.
"""

from __future__ import annotations

import errno
import io
import logging
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, BinaryIO, TypeVar

from botocore import exceptions as botocore
from dlt.common.configuration.exceptions import ConfigurationException
from s3fs.core import S3_RETRYABLE_ERRORS
from s3fs.utils import FileExpired
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, stop_when_event_set
from tenacity.nap import sleep_using_event
from tenacity.wait import wait_exponential, wait_random

from ometria_source.exceptions import BucketError, OmetriaError, UnreadableFileError


class WatchedStream(io.RawIOBase):
    """Passes reads on and keeps the error of one that failed.

    Args:
        stream: A file of a bucket, seekable.

    Attributes:
        failure: The bucket's error, if there was one.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.failure: Exception | None = None

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always, as what it watches."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """As the stream's."""
        data: bytes = self._watch(self._stream.read, -1 if size is None else size)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As the stream's.

        A place before the beginning is the mistake of who seeks it, who may expect what a file on disk answers; streams
        of buckets do not agree about it.

        Raises:
            OSError: The place is before the beginning.
        """
        start: int = 0 if whence == io.SEEK_SET else self._watch(self._stream.seek, 0, whence)
        if start + offset < 0:
            raise OSError(errno.EINVAL, "a place before the beginning of the file")
        position: int = self._watch(self._stream.seek, start + offset)
        return position

    def tell(self) -> int:
        """As the stream's."""
        position: int = self._watch(self._stream.tell)
        return position

    def _watch(self, call: Callable[..., Any], *args: int) -> Any:
        try:
            return call(*args)
        except Exception as error:
            self.failure = error
            raise


log = logging.getLogger(__name__)

Result = TypeVar("Result")

# Seconds between two attempts, doubled each time and blurred a little, so that parallel reads spread out. Guesses.
FIRST_WAIT = 0.25
LONGEST_WAIT = 15

# What S3 answers, where it says more than that access is denied (S3 docs: List of error codes).
PROBLEMS_BY_CODE = {
    "InvalidAccessKeyId": "its store does not know the access key",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key",
    "ExpiredToken": "the session token has expired",
}

# What S3 answers for an object in one of its archives (S3 docs: Working with archived objects).
ARCHIVED_CODE = "InvalidObjectState"

ARCHIVED = "is archived in its store (S3 Glacier): restore it there first"

DENIED = "access is denied; the credentials need the rights to list the bucket and to get its objects"

# What fsspec and the clouds' clients raise for the usual mistakes.
PROBLEMS: dict[type[BaseException], str] = {
    botocore.NoCredentialsError: "there are no credentials",
    botocore.EndpointConnectionError: "its endpoint is out of reach",
    ConfigurationException: "its configuration is not complete",
}

# What they raise for a mistake in `bucket_url`; of a single file these say something else.
PROBLEMS_OF_URL: dict[type[BaseException], str] = {
    FileNotFoundError: "there is no such bucket or folder",
    ValueError: "this kind of URL is not known",
}

# Where the clients of other stores than S3 keep the status of an answer: azure-core, aiohttp, gcsfs and Google's own.
STATUS_NAMES = ("status_code", "status", "code")

# No answer at all, or half of one: what s3fs takes for that, and connections that do not come about.
CONNECTION_FAULTS = (*S3_RETRYABLE_ERRORS, botocore.ConnectionError, ConnectionError, TimeoutError)


class RetryBudget:
    """Calls a store until it answers or the retry budget is spent. For any number of threads.

    Args:
        minutes: How long one call is repeated.
    """

    def __init__(self, minutes: float) -> None:
        self._is_over = threading.Event()
        self._retrying = Retrying(
            retry=retry_if_exception(is_transient),
            stop=stop_after_delay(minutes * 60) | stop_when_event_set(self._is_over),
            sleep=sleep_using_event(self._is_over),
            wait=wait_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT) + wait_random(0, FIRST_WAIT),
            before_sleep=_log_retry,
            reraise=True,
        )
        _BUDGETS.add(self)

    def __call__(self, call: Callable[..., Result], *arguments: Any, path: str | None = None) -> Result:
        """What a call returns.

        Args:
            call: Asks the store and does nothing else: an error of it that is not one of ours is the store's. May be
                called again when it failed.
            arguments: For the call.
            path: Of the file that is asked for, for the error.

        Raises:
            BucketError: The store refuses, or no usable answer arrived within the budget.
            FileNotFoundError: The file is gone.
            FileExpired: The file was replaced after it was opened.
            UnreadableFileError: The file is archived.
        """
        try:
            return self._retrying(call, *arguments)
        except (FileNotFoundError, FileExpired, OmetriaError, MemoryError):
            raise
        # each store's client has errors of its own, whose text is not for a log
        except Exception as error:
            if path is not None and _code(_chain(error)) == ARCHIVED_CODE:
                # a fault of this file, not of the store: the others can be read
                raise UnreadableFileError(path, ARCHIVED) from None
            raise bucket_error(error, path) from error

    def end(self) -> None:
        """Repeat no call any more, in whatever thread."""
        self._is_over.set()


# All there are in this process: files are read in threads, which are left to themselves when a run is interrupted.
_BUDGETS: weakref.WeakSet[RetryBudget] = weakref.WeakSet()


def cancel_all_retries() -> None:
    """Let every read of this process that waits for a store fail now."""
    for retry in list(_BUDGETS):
        retry.end()


class RetryingStream(WatchedStream):
    """A file of a bucket, whose failed reads are retried.

    Args:
        stream: The file, seekable.
        retry: As for its bucket.
        path: For errors.
    """

    def __init__(self, stream: BinaryIO, retry: RetryBudget, path: str) -> None:
        super().__init__(stream)
        self._retry = retry
        self._path = path

    def _watch(self, call: Callable[..., Any], *args: int) -> Any:
        return self._retry(super()._watch, call, *args, path=self._path)


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed later: the store is busy, ill, or was not reached."""
    for link in _chain(error):
        status = _status(link)
        if status == 429 or status >= 500 or isinstance(link, CONNECTION_FAULTS):
            return True
    return False


def is_denied(error: BaseException) -> bool:
    """Whether the store refuses the call to these credentials."""
    return any(
        isinstance(link, PermissionError) or (not _answer(link) and _status(link) in {401, 403})
        for link in _chain(error)
    )


def bucket_error(error: BaseException, path: str | None = None) -> BucketError:
    """The sentence about an error of a store, without the error's own text, which may hold a URL's query or a key.

    Args:
        error: What the store's client raised.
        path: The file that was asked for; None: the listing.
    """
    links = list(_chain(error))
    code = _code(links)
    status = next((status for link in links if (status := _status(link))), 0)
    said = f"its store answers `{code or status}`" if code or status else type(links[-1]).__name__
    kinds = PROBLEMS if path else PROBLEMS | PROBLEMS_OF_URL
    problems = [text for link in links for kind, text in kinds.items() if isinstance(link, kind)]
    if code in PROBLEMS_BY_CODE:
        return BucketError(PROBLEMS_BY_CODE[code], path)
    if is_denied(error):
        return BucketError(DENIED, path)
    if problems:
        return BucketError(problems[0], path)
    return BucketError(said, path, is_transient=is_transient(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


def _answer(error: BaseException) -> dict[str, Any]:
    """What the store answered, as botocore keeps it; empty: nothing, or the error is not one of botocore."""
    answer = getattr(error, "response", None)
    return answer if isinstance(answer, dict) else {}


def _code(links: Iterable[BaseException]) -> str | None:
    """The code in the answer of a store like S3; None: there is none."""
    return next((code for link in links if (code := _answer(link).get("Error", {}).get("Code"))), None)


def _status(error: BaseException) -> int:
    """The status with which the store refused, as HTTP has them; 0: none is known."""
    of_botocore = _answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode")
    # one after the other: aiohttp warns who asks for its `code`
    statuses = chain([of_botocore], (getattr(error, name, None) for name in STATUS_NAMES))
    return next((status for status in statuses if isinstance(status, int) and 400 <= status < 600), 0)


def _log_retry(attempt: RetryCallState) -> None:
    fault = attempt.outcome.exception() if attempt.outcome else None
    log.info(
        "export: %s; attempt %d in %.1f s", type(fault).__name__, attempt.attempt_number + 1, attempt.upcoming_sleep
    )
