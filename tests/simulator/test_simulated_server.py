"""The simulated server answers as Ometria documents, and as its knobs say where the documentation is silent."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
import requests
from asking import ask, ids

from ometria_source.simulator import Behaviour, SimulatedAccount

NOW = datetime(2024, 3, 5, 10, 20, 30, tzinfo=timezone.utc)


@pytest.fixture
def account() -> SimulatedAccount:
    return SimulatedAccount.invent(60, now=NOW)


def test_every_answer_says_that_it_is_simulated(ometria):
    for response in (ask(ometria, "/profiles"), ask(ometria, "/nothing"), ask(ometria, "/lists", key="another")):
        assert "simulated" in response.headers["Server"]
        assert "invented" in response.headers["Server"]


@pytest.mark.parametrize("status", [401, 403])
def test_another_key_is_refused(ometria, status):
    ometria.behaviour = Behaviour(refused_status=status)

    assert ask(ometria, "/profiles", key="another-key-1111").status_code == status
    assert requests.get(ometria.base_url + "/profiles", timeout=10).status_code == status


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_but_get_is_served_and_all_of_it_is_noted(ometria, method):
    response = requests.request(
        method, ometria.base_url + "/profiles", headers={"X-Ometria-Auth": ometria.api_key}, json=[{}], timeout=10
    )

    assert response.status_code == 405
    assert [request.method for request in ometria.requests] == [method]


def test_profiles_are_paged_by_ten_unless_asked(account, ometria):
    everyone = account.profiles.ids()

    assert ids(ask(ometria, "/profiles")) == everyone[:10]
    assert ids(ask(ometria, "/profiles", limit=25, offset=50)) == everyone[50:]
    assert ask(ometria, "/profiles", limit=5, offset=60).json() == []


def test_one_profile_and_one_list_are_answered_as_objects(account, ometria):
    identifier = account.profiles.ids()[3]

    assert ask(ometria, f"/profiles/{identifier}").json() == account.profiles[identifier]
    assert ask(ometria, "/lists/007").json() == account.lists["007"]


@pytest.mark.parametrize("path", ["/profiles/0000-000000-000000", "/lists/0", "/lists/007/friends", "/", "/campaigns"])
def test_what_is_not_there_is_not_found(ometria, path):
    assert ask(ometria, path).status_code == (404 if path != "/" else ask(ometria, "/").status_code)


def test_a_profile_is_found_by_its_address(account, ometria):
    account.add_profile(email="ada+1@shop.test")

    (row,) = ask(ometria, "/profiles", email="ada+1@shop.test").json()

    assert row["email"] == "ada+1@shop.test"


def test_update_since_tells_of_new_and_changed_profiles_only(account, ometria):
    account.advance(timedelta(days=3))
    changed = account.profiles.ids()[5]
    account.update_profile(changed, country="IS")
    added = account.add_profile()
    account.join("007", account.profiles.ids()[1])

    assert ids(ask(ometria, "/profiles", updateSince="2024-03-08", limit=250)) == [changed, added]
    ometria.behaviour = Behaviour(update_since_honoured=False)
    assert len(ids(ask(ometria, "/profiles", updateSince="2024-03-08", limit=250))) == 61


def test_an_unreadable_date_is_refused(ometria):
    assert ask(ometria, "/profiles", updateSince="yesterday").status_code == 400


def test_archived_lists_are_answered_only_where_they_are_asked_for(account, ometria):
    archived = [list_id for list_id, item in account.lists.items() if item["status"] == "ARCHIVED"]
    active = [list_id for list_id in account.lists if list_id not in archived]

    assert archived
    assert ids(ask(ometria, "/lists")) == ids(ask(ometria, "/lists", mode="active")) == active
    assert ids(ask(ometria, "/lists", mode="archived")) == archived
    assert ids(ask(ometria, "/lists", mode="all")) == list(account.lists)


def test_unsubscribes_are_bounded_by_since_and_before_and_filtered_by_type(account, ometria):
    account.unsubscribes.clear()
    people = account.profiles.ids()
    for days in (3, 2, 1):
        account.unsubscribe(people[days], "app" if days == 2 else "link_unsubscribe", at=NOW - timedelta(days=days))

    def found(**query: object) -> list[str]:
        return [row["profile_id"] for row in ask(ometria, "/unsubscribes", **query).json()]

    bounds = {"since": "2024-03-02T10:20:30", "before": "2024-03-04T10:20:30"}
    assert found() == [people[3], people[2], people[1]]
    assert found(**bounds) == [people[3], people[2]]
    assert found(type="app") == [people[2]]
    ometria.behaviour = Behaviour(since_inclusive=False, before_inclusive=True)
    assert found(**bounds) == [people[2], people[1]]
    ometria.behaviour = Behaviour(unsubscribes_order="descending", unsubscribes_cap=2)
    assert found() == [people[1], people[2]]
    ometria.behaviour = Behaviour(unsubscribes_order="shuffled")
    assert found() == found()
    ometria.behaviour = Behaviour(unsubscribes_paged=True)
    assert found(limit=1, offset=1) == [people[2]]


@pytest.mark.parametrize("path", ["profiles", "members", "contacts"])
def test_members_are_answered_under_the_name_that_is_set(account, ometria, path):
    ometria.behaviour = Behaviour(members_path=path)

    assert ids(ask(ometria, f"/lists/12/{path}", limit=250)) == account.members["12"]
    others = {"profiles", "members", "contacts"} - {path}
    assert {ask(ometria, f"/lists/12/{other}").status_code for other in others} == {404}


def test_no_members_are_answered_where_no_path_is_set(ometria):
    ometria.behaviour = Behaviour(members_path=None)

    assert ask(ometria, "/lists/12/profiles").status_code == 404


@pytest.mark.parametrize(("item", "key"), [("profile", "id"), ("contact", "@profile_id"), ("profile_id", "profile_id")])
def test_a_member_has_the_shape_that_is_set(account, ometria, item, key):
    ometria.behaviour = Behaviour(members_item=item, members_paged=False)

    assert [row[key] for row in ask(ometria, "/lists/12/profiles").json()] == account.members["12"]


def test_the_knobs_of_paging_do_what_they_say(account, ometria):
    everyone = account.profiles.ids()
    ometria.behaviour = Behaviour(max_limit=20)
    assert ids(ask(ometria, "/profiles", limit=50)) == everyone[:20]
    ometria.behaviour = Behaviour(max_limit=20, over_limit="refuse")
    assert ask(ometria, "/profiles", limit=50).status_code == 400
    ometria.behaviour = Behaviour(profiles_paged=False)
    assert ids(ask(ometria, "/profiles", limit=20, offset=20)) == everyone[:20]
    ometria.behaviour = Behaviour(lists_paged=True)
    assert ids(ask(ometria, "/lists", limit=2, offset=1, mode="all")) == list(account.lists)[1:3]
    ometria.behaviour = Behaviour(short_pages=True)
    pages = [ids(ask(ometria, "/profiles", limit=10, offset=offset)) for offset in range(50)]
    assert all(page == everyone[offset : offset + len(page)] for offset, page in enumerate(pages))
    assert {len(page) for page in pages} > {10}
    assert all(pages)


def test_profiles_can_be_without_lists_and_paths_forbidden(ometria):
    ometria.behaviour = Behaviour(profiles_carry_lists=False, forbidden=frozenset({"/unsubscribes"}))

    assert "lists" not in ask(ometria, "/profiles").json()[0]
    assert ask(ometria, "/unsubscribes").status_code == 403


def test_a_change_happens_between_two_answers(account, ometria):
    ometria.after_request(2, lambda: account.erase_profile(account.profiles.ids()[0]))

    counts = [len(ask(ometria, "/profiles", limit=250).json()) for _ in range(3)]

    assert counts == [60, 60, 59]


def test_a_request_is_noted_with_what_was_asked_and_answered(ometria):
    ask(ometria, "/lists", mode="all")
    ask(ometria, "/profiles/none")

    first, second = ometria.requests
    assert (first.method, first.path, first.query, first.status) == ("GET", "/lists", {"mode": "all"}, 200)
    assert second.status == 404
    assert second.at >= first.at
    assert ometria.requests_to("/profiles") == [second]
