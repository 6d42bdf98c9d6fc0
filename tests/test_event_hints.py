"""What names may mean for `email_events`: a key that is sure, the likeliest time, joins to the API's tables."""

from __future__ import annotations

import pytest

from ometria_source.describe.column_profile import CandidateKeys, Column
from ometria_source.describe.hints import declarable_types, event_times, key_advice, likely_joins
from ometria_source.tables import lists, profiles, unsubscribes

TABLES = {"profiles": profiles.COLUMNS, "lists": lists.COLUMNS, "unsubscribes": unsubscribes.COLUMNS}


def column(
    name: str, guess: str | None = "text", kinds: tuple[str, ...] = ("text",), shape: str | None = None
) -> Column:
    return Column(
        name=name, place=1, files=1, rows=200, nulls=0, empties=0, distinct=200, kinds=kinds, guess=guess, shape=shape,
        has_personal_name=False, values=(), other_values=0, span=None, lacks_zone=False, is_everywhere=True,
        name_is_data=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("names", "rows", "best", "is_sure"),
    [
        # a row's own id
        (["note", "profile_id", "eventId"], 2, "eventId", True),
        (["batch_id", "id"], 500, "id", True),
        # an id of something unknown, with rows enough and without
        (["hit_id"], 500, "hit_id", True),
        (["hit_id"], 50, "hit_id", False),
        # what has many events, or is named like no id
        (["profile_id"], 500, "profile_id", False),
        (["mass_campaign_id"], 500, "mass_campaign_id", False),
        (["send_id"], 500, "send_id", False),
        (["note"], 500, "note", False),
    ],
)
def test_a_key_is_sure_only_where_its_name_says_that_it_is_the_rows_own(names, rows, best, is_sure):
    advice = key_advice(CandidateKeys(rows, 0, unique=tuple(names)), [column(name) for name in names])
    assert (advice[0].columns, advice[0].is_sure) == ((best,), is_sure)
    assert bool(advice[0].doubt) != is_sure


def test_the_id_of_an_email_is_sure_where_a_row_sums_up_its_opens_and_clicks():
    columns = [column(name) for name in ("email_id", "email_opened", "number_of_clicks")]
    for keys in (CandidateKeys(9, 0, unique=("email_id",)), CandidateKeys(9, 0, renewed=("email_id",))):
        assert key_advice(keys, columns)[0].is_sure
        assert not key_advice(keys, columns[:1])[0].is_sure


def test_the_likeliest_time_is_that_of_the_event():
    names = ["updated_at", "created_at", "x", "sent_at", "event_time", "dob"]
    times = event_times([column(name, "timestamp") for name in names] + [column("day", "date")])
    assert [time.name for time in times] == ["event_time", "sent_at", "created_at", "x", "updated_at"]


def test_every_join_leads_to_a_declared_column():
    names = ["profileId", "@profile_id", "Email", "to_address", "customer_id", "list_id", "send_id", "campaign_id",
             "mass_campaign_id", "trigger_campaign_id", "unsubscribe_id", "type", "timestamp"]  # fmt: skip
    joins = likely_joins([column(name) for name in names])
    assert [(join.column, join.targets) for join in joins] == [
        ("profileId", ("profiles.profile_id",)),
        ("@profile_id", ("profiles.profile_id",)),
        ("Email", ("profiles.email",)),
        ("to_address", ("profiles.email",)),
        ("customer_id", ("profiles.customer_id",)),
        ("list_id", ("lists.list_id",)),
        ("send_id", ("unsubscribes.send_id",)),
        ("campaign_id", ("unsubscribes.mass_campaign_id", "unsubscribes.trigger_campaign_id")),
        ("mass_campaign_id", ("unsubscribes.mass_campaign_id",)),
        ("trigger_campaign_id", ("unsubscribes.trigger_campaign_id",)),
    ]
    for join in joins:
        for target in join.targets:
            table, name = target.split(".")
            assert name in TABLES[table]


def test_a_join_says_whether_name_or_shape_tells_it():
    shape = "e-mail addresses"
    joins = likely_joins([column("email"), column("email", shape=shape), column("x", shape=shape), column("y")])
    assert [join.reason for join in joins] == ["by name", "by name and by shape", "by shape"]


def test_types_are_declared_where_files_do_not_give_them_and_ids_that_join_become_text():
    columns = [
        column("at", "timestamp"),
        column("native", "timestamp", ("timestamp",)),
        column("profile_id", "bigint", ("bigint",)),
        column("count", "double", ("bigint", "double")),
        column("mixed", "text", ("bigint", "text")),
        column("bytes", "binary", ("binary", "text")),
        column("nothing", None, ()),
        # two columns that are one in the destination, and one that is ours there
        column("Sent At", "timestamp"),
        column("sent_at", "timestamp"),
        column("Event Key", "bigint"),
        column("_row_number", "bigint"),
    ]
    assert declarable_types(columns) == {"at": "timestamp", "profile_id": "text", "count": "double", "mixed": "text"}
