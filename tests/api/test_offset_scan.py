"""An offset scan reads a collection to its end under every behaviour that is not documented, or says that it cannot."""

from __future__ import annotations

import pytest

from ometria_source.api.client import Account, OmetriaClient
from ometria_source.api.offset_scan import scan
from ometria_source.exceptions import IncompleteScanError, UnavailableError, UnprovenScanError
from ometria_source.simulator import Behaviour, SimulatedOmetria


@pytest.fixture
def client(ometria) -> OmetriaClient:
    return Account(ometria.base_url, ometria.api_key, 1000, 0.01).client("profiles")


def offsets(ometria: SimulatedOmetria) -> list[int]:
    return [int(request.query["offset"]) for request in ometria.requests]


def ids(pages) -> list[str]:
    return [row["id"] for page in pages for row in page]


def test_a_scan_ends_at_the_empty_page_once_the_last_row_is_found_in_its_old_place(account, ometria, client):
    assert ids(scan(client, "/profiles")) == account.profiles.ids()
    # whether a page past the end is asked for ahead depends on how soon the short one comes
    assert [offset for offset in offsets(ometria) if offset <= 300] == [0, 249, 300, 299]


def test_an_empty_collection_takes_one_request(account, ometria, client):
    for identifier in account.profiles.ids():
        account.erase_profile(identifier)

    assert list(scan(client, "/profiles")) == []
    assert offsets(ometria) == [0]


@pytest.mark.parametrize("size", [0, 1, 249, 250, 251, 300])
def test_every_row_arrives_once_whatever_the_size(account, ometria, client, size):
    for identifier in account.profiles.ids()[size:]:
        account.erase_profile(identifier)

    assert ids(scan(client, "/profiles")) == account.profiles.ids()
    assert len(account.profiles) == size


def test_a_scan_advances_by_what_arrived_where_the_server_clamps_the_limit(account, ometria, client):
    ometria.behaviour = Behaviour(max_limit=100)

    assert ids(scan(client, "/profiles")) == account.profiles.ids()
    assert offsets(ometria)[:3] == [0, 100, 99]
    assert {198, 297} <= set(offsets(ometria))


def test_a_short_page_is_not_the_end(account, ometria, client):
    ometria.behaviour = Behaviour(short_pages=True, max_limit=20)

    pages = list(scan(client, "/profiles"))

    assert ids(pages) == account.profiles.ids()
    assert min(map(len, pages[:-1])) < 20
    assert all(pages)


def test_pages_of_a_single_row_are_followed(account, ometria, client):
    ometria.behaviour = Behaviour(max_limit=1)

    assert ids(scan(client, "/profiles")) == account.profiles.ids()


def test_the_callers_limit_and_query_are_sent_with_every_page(ometria, client):
    list(scan(client, "/profiles", {"updateSince": "2013-01-01"}, page_limit=120))

    assert {(request.query["updateSince"], request.query["limit"]) for request in ometria.requests} == {
        ("2013-01-01", "120")
    }


@pytest.mark.parametrize("max_limit", [1, 10, 250])
def test_a_server_that_ignores_the_offset_of_a_paged_path_is_found_out(ometria, client, max_limit):
    ometria.behaviour = Behaviour(profiles_paged=False, max_limit=max_limit)

    with pytest.raises(IncompleteScanError, match="/profiles"):
        list(scan(client, "/profiles"))

    assert len(ometria.requests) < 50


def test_an_unpaged_list_is_whole(account, ometria, client):
    assert ids(scan(client, "/lists", {"mode": "all"}, paged=False)) == list(account.lists)
    assert len(ometria.requests) == 3


def test_a_list_that_is_paged_after_all_is_whole_too(account, ometria, client):
    ometria.behaviour = Behaviour(lists_paged=True, max_limit=3)

    assert ids(scan(client, "/lists", {"mode": "all"}, paged=False)) == list(account.lists)


@pytest.mark.parametrize("total", [9, 11, 30])
def test_an_unpaged_answer_of_another_length_than_a_page_is_whole(account, ometria, client, total):
    while len(account.lists) < total:
        account.add_list("Invented")

    assert ids(scan(client, "/lists", {"mode": "all"}, paged=False)) == list(account.lists)


@pytest.mark.parametrize(("total", "page_limit"), [(10, 250), (30, 30)])
def test_an_unpaged_answer_as_long_as_a_page_is_in_doubt(account, ometria, client, total, page_limit):
    while len(account.lists) < total:
        account.add_list("Invented")
    pages = []

    with pytest.raises(UnprovenScanError, match=f"the same {total} rows"):
        pages.extend(scan(client, "/lists", {"mode": "all"}, paged=False, page_limit=page_limit))
    assert ids(pages) == list(account.lists)


@pytest.mark.parametrize("paged", [True, False])
def test_ten_lists_that_are_paged_are_whole(account, ometria, client, paged):
    ometria.behaviour = Behaviour(lists_paged=True)
    while len(account.lists) < 10:
        account.add_list("Invented")

    assert ids(scan(client, "/lists", {"mode": "all"}, paged=paged)) == list(account.lists)


def test_a_single_list_is_whole(account, ometria, client):
    for list_id in list(account.lists)[1:]:
        account.delete_list(list_id)

    assert ids(scan(client, "/lists", {"mode": "all"}, paged=False)) == list(account.lists)


def test_a_fault_in_the_middle_costs_no_row(account, ometria, client):
    ometria.behaviour = Behaviour(max_limit=100)
    ometria.after_request(2, lambda: ometria.fail("/profiles", "truncated"))
    patient = Account(ometria.base_url, ometria.api_key, 1000, 0.5).client("profiles")

    assert ids(scan(patient, "/profiles")) == account.profiles.ids()
    assert patient.retries == 1


def test_a_scan_that_breaks_in_the_middle_says_so(ometria, client):
    ometria.behaviour = Behaviour(max_limit=100)
    ometria.after_request(2, lambda: ometria.fail("/profiles", 503, times=None))

    with pytest.raises(UnavailableError):
        list(scan(client, "/profiles"))


class OddServer:
    """Stands in for the client: a collection that stands still, and a server that does not honour `offset`."""

    requests_per_second = 0.1
    largest_answer = 0

    def __init__(self, offset=lambda offset: offset, size: int = 250) -> None:
        self.requests = 0
        self._offset = offset
        self._size = size

    def get(self, _path, params, *, handle=None):
        self.requests += 1
        assert self.requests < 500, "the scan does not end"
        if handle is not None:
            handle.mark_sent()
        start = self._offset(params["offset"])
        return [] if start is None else [{"id": number} for number in ROWS[start : start + self._size]]


ROWS = range(600)


@pytest.mark.parametrize("paged", [True, False])
@pytest.mark.parametrize(
    ("offset", "size"),
    [
        (lambda offset: 0 if offset == 0 else None, 250),          # nothing at any other offset
        (lambda offset: 0 if offset == 0 else None, 30),
        (lambda offset: offset * 250, 250),                        # a page's number
        (lambda offset: offset // 250 * 250, 250),                 # rounded down to a page
        (lambda offset: offset // 10 * 10, 10),
        (lambda offset: offset if offset <= 400 else None, 250),   # a largest offset
        (lambda offset: offset if offset <= 350 else None, 250),   # no part of a page
    ],
)  # fmt: skip
def test_a_server_that_does_not_honour_offset_is_refused_or_read_whole_and_never_for_ever(offset, size, paged):
    server = OddServer(offset, size)
    try:
        found = ids(scan(server, "/rows", paged=paged))
    except IncompleteScanError:
        return
    assert sorted(found) == list(ROWS)


def test_rows_without_an_id_are_told_apart_by_all_they_hold(account, ometria, client):
    class Nameless(OddServer):
        def get(self, path, params, *, handle=None):
            return [{"id": None, "number": row["id"]} for row in super().get(path, params, handle=handle)]

    assert [row["number"] for page in scan(Nameless(), "/rows") for row in page] == list(ROWS)
