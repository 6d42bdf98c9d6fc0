"""What a store may answer: what is tried again, and what is said about the rest."""

from __future__ import annotations

import io
import threading

import pytest
from aiohttp import ClientResponseError, RequestInfo
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from multidict import CIMultiDict, CIMultiDictProxy
from s3fs.errors import translate_boto_error
from s3fs.utils import FileExpired
from yarl import URL as YARL

from ometria_source.exceptions import BucketError, UnreadableFileError
from ometria_source.export.retry import RetryBudget, RetryingStream, bucket_error, cancel_all_retries, is_transient

URL = "http://127.0.0.1:9/bucket?list-type=2&prefix=private"


def answered(status: int, code: str) -> Exception:
    """What s3fs raises for an answer."""
    answer = {"Error": {"Code": code, "Message": "private"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return translate_boto_error(ClientError(answer, "GetObject"))


class AzureError(Exception):
    """As azure-core's `HttpResponseError`."""

    def __init__(self, status_code: int | None) -> None:
        self.status_code = status_code
        super().__init__(f"private {URL}&sig=private")


class GoogleError(Exception):
    """As gcsfs's `HttpError`."""

    def __init__(self, code: object) -> None:
        self.code = code
        super().__init__(f"private {URL}&sig=private")


def told_by_aiohttp(status: int) -> Exception:
    request = RequestInfo(YARL(URL), "GET", CIMultiDictProxy(CIMultiDict()), YARL(URL))
    return ClientResponseError(request, (), status=status, message="private")


def caused_by(cause: Exception) -> Exception:
    error = OSError("private")
    error.__cause__ = cause
    return error


PASSING = [
    answered(503, "SlowDown"),
    answered(503, "503"),  # to a HEAD, whose answer has no body
    answered(500, "InternalError"),
    answered(502, "502"),
    answered(429, "TooManyRequests"),
    EndpointConnectionError(endpoint_url=URL),
    ConnectTimeoutError(endpoint_url=URL),
    ReadTimeoutError(endpoint_url=URL),
    ConnectionResetError(),
    TimeoutError(),
    AzureError(503),
    AzureError(429),
    GoogleError(500),
    told_by_aiohttp(502),
    caused_by(AzureError(503)),
]
LASTING = [
    (answered(403, "SignatureDoesNotMatch"), "secret key"),
    (answered(403, "InvalidAccessKeyId"), "access key"),
    (answered(400, "ExpiredToken"), "token has expired"),
    (answered(403, "AccessDenied"), "access is denied"),
    (answered(403, "403"), "access is denied"),
    (answered(404, "NoSuchBucket"), "no such bucket"),
    (answered(301, "PermanentRedirect"), "PermanentRedirect"),
    (answered(400, "AuthorizationHeaderMalformed"), "AuthorizationHeaderMalformed"),
    (PermissionError("private"), "access is denied"),
    (NoCredentialsError(), "no credentials"),
    (IsADirectoryError("private"), "IsADirectoryError"),
    (AzureError(403), "access is denied"),
    (GoogleError(401), "access is denied"),
    (told_by_aiohttp(403), "access is denied"),
    (caused_by(AzureError(403)), "access is denied"),
    (AzureError(409), "its store answers `409`"),
    (AzureError(None), "AzureError"),
    (GoogleError("503"), "GoogleError"),
    (GoogleError(10054), "GoogleError"),  # no status of HTTP
    (RuntimeError("private"), "RuntimeError"),
    (EOFError("private"), "EOFError"),  # paramiko: the server hung up
]


def name(case: object) -> str:
    return type(case).__name__ if isinstance(case, Exception) else str(case)


def failing(*errors: BaseException):
    """A call that fails with these and then succeeds, and how often it was made."""
    left, calls = list(errors), []

    def call(result: str = "done") -> str:
        calls.append(result)
        if left:
            raise left.pop(0)
        return result

    return call, calls


@pytest.mark.parametrize("error", PASSING, ids=name)
def test_what_may_pass_is_tried_again(error):
    call, calls = failing(error)
    assert RetryBudget(1)(call) == "done"
    assert len(calls) == 2


@pytest.mark.parametrize("error", PASSING, ids=name)
def test_what_does_not_pass_while_patience_lasts_becomes_a_sentence(error):
    call, calls = failing(error, error)
    with pytest.raises(BucketError) as raised:
        RetryBudget(0)(call)
    assert len(calls) == 1
    assert "private" not in str(raised.value)
    advice = "bucket_url" if isinstance(error, EndpointConnectionError) else "patience_minutes"
    assert advice in str(raised.value)


@pytest.mark.parametrize(("error", "words"), LASTING, ids=name)
def test_what_cannot_pass_is_said_at_once(error, words):
    assert not is_transient(error)
    said = str(bucket_error(error))
    assert words in said
    assert "sources.ometria.credentials" in said
    assert "private" not in said


@pytest.mark.parametrize("error", [error for error, _ in LASTING if not isinstance(error, FileNotFoundError)], ids=name)
def test_an_error_of_any_client_becomes_a_sentence_after_one_call(error):
    call, calls = failing(error)
    with pytest.raises(BucketError):
        RetryBudget(1)(call)
    assert len(calls) == 1


@pytest.mark.parametrize(
    "error", [FileNotFoundError(), FileExpired("x.csv", "etag"), UnreadableFileError("x.csv", "is bad")], ids=name
)
def test_what_is_no_fault_of_the_store_passes_through(error):
    call, calls = failing(error)
    with pytest.raises(type(error)):
        RetryBudget(1)(call)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (AzureError(403), "access is denied"),
        (answered(503, "SlowDown"), "its store answers `SlowDown`"),
        (ValueError("private"), "ValueError"),  # of a listing it says that the URL's scheme is not known
    ],
    ids=name,
)
def test_what_a_bucket_says_of_one_file_names_the_file(error, words):
    class Refused(io.BytesIO):
        def read(self, *_):
            raise error

    with pytest.raises(BucketError) as raised:
        RetryingStream(Refused(), RetryBudget(0), "2024/x.csv").read()
    assert raised.value.path == "2024/x.csv"
    assert str(raised.value).startswith(f"2024/x.csv of the export at `bucket_url` cannot be read: {words}")
    assert "private" not in str(raised.value)


def test_a_read_in_the_middle_of_a_file_is_repeated_from_where_it_was():
    faults = [answered(503, "SlowDown"), answered(500, "InternalError")]

    class Interrupted(io.BytesIO):
        def read(self, size=-1):
            if self.tell() and faults:
                raise faults.pop()
            return super().read(size)

    stream = RetryingStream(Interrupted(b"0123456789"), RetryBudget(1), "x.csv")
    assert [stream.read(4), stream.read(4), stream.read(4), stream.read(4)] == [b"0123", b"4567", b"89", b""]


def test_all_who_wait_are_let_go_when_a_run_is_interrupted():
    waits, said = threading.Event(), []

    def busy():
        waits.set()
        raise answered(503, "SlowDown")

    def read():
        try:
            RetryBudget(10)(busy)
        except BucketError as error:
            said.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    assert waits.wait(10)
    cancel_all_retries()
    thread.join(10)
    assert len(said) == 1


def test_a_lack_of_memory_is_not_the_stores_fault():
    with pytest.raises(MemoryError):
        RetryBudget(0)(failing(MemoryError())[0])
