"""One GET of the client: what it sends, what it takes for an answer, and what it never says."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from clients import ADDRESS, PASSING_FAULTS, SECRET_QUERY, client_of

from ometria_source.api import client as client_module
from ometria_source.api.client import Account
from ometria_source.exceptions import (
    AccessDeniedError,
    InvalidSettingError,
    MissingSettingError,
    NotFoundError,
    OmetriaError,
    UnavailableError,
    UnexpectedAnswerError,
)
from ometria_source.simulator import Behaviour, SimulatedAccount


@pytest.fixture
def account() -> SimulatedAccount:
    """A small account: what is in it does not matter to the client."""
    return SimulatedAccount.invent(30)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(client_module, "FIRST_WAIT", 0.005)


def test_an_answer_is_the_list_of_objects_in_the_order_in_which_they_came(account, ometria):
    client = client_of(ometria)

    rows = client.get("/profiles", {"limit": 20, "offset": 5})

    assert rows == [account.profiles[identifier] for identifier in account.profiles.ids()[5:25]]
    assert (client.requests, client.retries) == (1, 0)


def test_an_empty_list_is_an_answer(ometria):
    assert client_of(ometria).get("/profiles", {"limit": 250, "offset": 1_000_000}) == []


def test_only_get_is_sent_and_the_key_travels_in_its_header_only(ometria):
    client_of(ometria).get("/profiles", SECRET_QUERY)

    (request,) = ometria.requests
    assert request.method == "GET"
    assert [name for name, value in request.headers.items() if ometria.api_key in value] == ["x-ometria-auth"]
    assert request.query == {name: str(value) for name, value in SECRET_QUERY.items()}
    assert "cookie" not in request.headers
    assert request.headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_fails_at_once(ometria, status):
    ometria.behaviour = Behaviour(refused_status=status)

    with pytest.raises(AccessDeniedError) as refusal:
        client_of(ometria, api_key="another-key-1111").get("/profiles", {})

    assert refusal.value.status == status
    assert len(ometria.requests) == 1


def test_an_endpoint_that_the_key_may_not_use_fails_at_once(ometria):
    ometria.behaviour = Behaviour(forbidden=frozenset({"/unsubscribes"}))

    with pytest.raises(AccessDeniedError, match="/unsubscribes"):
        client_of(ometria).get("/unsubscribes", {})

    assert len(ometria.requests) == 1


def test_an_unknown_path_is_not_found_at_once(ometria):
    with pytest.raises(NotFoundError):
        client_of(ometria).get("/lists/0/contacts", {})

    assert len(ometria.requests) == 1


@pytest.mark.parametrize("status", [400, 405, 410, 422])
def test_a_refused_request_fails_at_once(ometria, status):
    ometria.fail("/profiles", status)

    with pytest.raises(UnexpectedAnswerError) as refusal:
        client_of(ometria).get("/profiles", {})

    assert refusal.value.status == status
    assert not isinstance(refusal.value, NotFoundError)
    assert len(ometria.requests) == 1


def test_a_redirect_is_never_followed(ometria):
    ometria.fail("/profiles", "redirect")

    with pytest.raises(UnexpectedAnswerError, match="redirect"):
        client_of(ometria).get("/profiles", {})

    assert [request.path for request in ometria.requests] == ["/profiles"]


def test_a_session_keeps_no_cookie(canned):
    address, bodies = canned
    bodies.append(b"[]")
    client = Account(address, "key", 1000, 0.01).client("profiles")

    client.get("/profiles", {})
    client.get("/profiles", {})

    assert client.requests == 2  # the server breaks the connection where it is sent one
    assert client.retries == 0


@pytest.mark.parametrize("fault", ["html", "null", "object", "bad-json"])
def test_a_guessed_path_that_answers_no_list_is_soon_given_up(ometria, fault):
    ometria.fail("/lists", fault, times=None)

    with pytest.raises(UnexpectedAnswerError):
        client_of(ometria).get("/lists/12/profiles", {}, probe=True)

    assert len(ometria.requests) == client_module.PROBE_ATTEMPTS


@pytest.mark.parametrize("fault", ["html", "null", "object", "bad-json"])
def test_a_guessed_path_is_tried_again_where_garbage_passes(account, ometria, fault):
    ometria.fail("/lists", fault, times=3)

    assert len(client_of(ometria).get("/lists/12/profiles", {}, probe=True)) == min(10, len(account.members["12"]))


def test_a_guessed_path_is_tried_again_where_the_server_is_only_busy(ometria):
    ometria.fail("/lists", 503, times=2)

    assert client_of(ometria).get("/lists/12/profiles", {"limit": 5}, probe=True)


@pytest.mark.parametrize("fault", [*PASSING_FAULTS, 400, 401, 403, 404, "redirect"])
def test_no_message_and_no_log_line_holds_the_key_the_query_or_the_body(ometria, fault, caplog):
    ometria.fail("/profiles", fault, times=None)
    client = client_of(ometria, patience_minutes=0.001)

    with caplog.at_level(logging.DEBUG, logger="ometria_source"), pytest.raises(OmetriaError) as failure:
        client.get("/profiles", SECRET_QUERY)

    told: list[str] = []
    error: BaseException | None = failure.value
    while error is not None:  # what a traceback would print
        told.append(f"{error!r} {error}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    told += [record.getMessage() for record in caplog.records if record.name.startswith("ometria_source")]
    for secret in (ometria.api_key, ADDRESS, "ada%40shop", "email=", "offset", "doctype", "simulated fault"):
        assert not [text for text in told if secret in text]


def test_an_account_and_a_client_do_not_show_the_key_when_printed(ometria):
    account = Account(ometria.base_url, ometria.api_key, 1000, 1)

    assert ometria.api_key not in repr(account)
    assert ometria.api_key not in repr(account.client("profiles"))


def test_no_proxy_of_the_environment_gets_the_key_of_a_server_on_this_machine(ometria, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    assert client_of(ometria, patience_minutes=0.001).get("/profiles", {"limit": 1})


@pytest.mark.parametrize(
    "base_url",
    [
        "http://api.ometria.com/v2", "http://10.0.0.1/v2", "http://localhost.shop.test/v2", "http://127.0.0.1@shop.test",
        "ftp://api.ometria.com/v2", "api.ometria.com/v2", "https://", "", "https://user@api.ometria.com/v2",
        "https://:secret@api.ometria.com/v2", "https://@api.ometria.com/v2", "https://api.ometria.com/v2\n",
        "https://api.ometria.com\r\n/v2", "https://api.ometria.com/\tv2", " https://api.ometria.com/v2",
        "https://api.ometria.com/v2\x00", "https://api.ometria.com/v2?x=1", "https://api.ometria.com/v2#x", "http://[::1/v2",
    ],
)  # fmt: skip
def test_an_address_to_which_the_key_must_not_travel_is_refused(base_url):
    with pytest.raises(InvalidSettingError, match="base_url") as refusal:
        Account(base_url, "key", 1, 1)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    "base_url",
    ["https://api.ometria.com/v2", "http://localhost:8080/v2", "http://127.0.0.1/v2", "http://[::1]:1/v2"],
)
def test_tls_and_loopback_are_accepted(base_url):
    assert Account(base_url, "key", 1, 1).client("profiles").requests == 0


@pytest.mark.parametrize("api_key", [None, ""])
def test_a_missing_key_is_named_with_the_table_that_needs_it(api_key):
    with pytest.raises(MissingSettingError, match=r"`profiles` needs the setting `api_key`"):
        Account("https://api.ometria.com/v2", api_key, 1, 1).client("profiles")


@pytest.mark.parametrize("api_key", ["simulated-key-0000\n", "simulated\r\nX-Other: 1", "clé-ł"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(ometria, api_key):
    with pytest.raises(OmetriaError) as failure:
        client_of(ometria, api_key=api_key, patience_minutes=0.002).get("/profiles", {})

    assert api_key.strip() not in str(failure.value)
    assert not ometria.requests


def test_a_slash_at_the_end_of_the_address_changes_nothing(ometria):
    assert Account(ometria.base_url + "/", ometria.api_key, 1000, 1).client("lists").get("/lists", {})
    assert ometria.requests[0].path == "/lists"


@pytest.fixture
def canned() -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers one body, whatever it is asked: its address, and a list that holds the body."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert "Cookie" not in self.headers
            self.send_response(200)
            self.send_header("Set-Cookie", "session=1; Path=/")
            self.send_header("Content-Length", str(len(bodies[0])))
            self.end_headers()
            self.wfile.write(bodies[0])

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", bodies
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (rb'[{"id": "Ada \ud83c"}]', "Ada �"),               # the first half alone
        (rb'[{"id": "\uDF3B Ada"}]', "� Ada"),               # the second half alone
        (rb'[{"id": "\ud83cx\udf3b"}]', "�x�"),              # both halves, apart
        (rb'[{"id": "\ud83c\ud83c\udf3b"}]', "�🌻"),         # half a pair before a whole one
        (b'[{"id": "\xed\xa0\xbc!"}]', "�!"),                # half a pair that is not escaped
        (rb'[{"id": "\ud83c\udf3b"}]', "🌻"),                # a whole pair
        ('[{"id": "🌻 한국 Zoë"}]'.encode(), "🌻 한국 Zoë"),  # nothing of the kind
        (rb'[{"id": "C:\\users\\udo"}]', r"C:\users\udo"),   # looks like an escape, and is none
    ],
)  # fmt: skip
def test_half_a_surrogate_pair_becomes_a_replacement_character(canned, body, expected):
    address, bodies = canned
    bodies.append(body)

    (row,) = Account(address, "key", 1000, 0.01).client("profiles").get("/profiles", {})

    assert row == {"id": expected}
    row["id"].encode()


@pytest.mark.parametrize("body", [b'[{"id": "\xff"}]', b"[1, 2]", b'[{"id": "1"}, null]', b"", b"[" * 100_000])
def test_what_is_not_a_list_of_objects_is_never_an_answer(canned, body):
    address, bodies = canned
    bodies.append(body)

    with pytest.raises(UnavailableError, match="not a JSON list"):
        Account(address, "key", 1000, 0.001).client("profiles").get("/profiles", {})


def test_mended_text_leaves_all_other_values_as_they_were(canned):
    address, bodies = canned
    bodies.append(rb'[{"id": "\ud83c", "number": 0.1, "big": 1234567890123456789, "null": null, "list": [1e5, true]}]')

    (row,) = Account(address, "key", 1000, 0.01).client("profiles").get("/profiles", {})

    assert row == {"id": "�", "number": 0.1, "big": 1234567890123456789, "null": None, "list": [1e5, True]}


@pytest.mark.parametrize("location", ["https://[bad/x", "/\xff\xfe", "https://elsewhere.test:notaport/"])
def test_a_redirect_to_nowhere_is_a_redirect_all_the_same(ometria, location):
    ometria.behaviour = Behaviour(redirect_to=location)
    ometria.fail("/profiles", "redirect")

    with pytest.raises(UnexpectedAnswerError, match="redirect"):
        client_of(ometria, patience_minutes=0.002).get("/profiles", SECRET_QUERY)
