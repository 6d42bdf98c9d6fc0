"""Personal data that must not reach the warehouse: hashed, dropped, and by the preset. All data is invented."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import os
from pathlib import Path
from unittest.mock import patch

import dlt
import duckdb
import pytest

from ometria_source import InvalidSettingError, ometria_source
from ometria_source.privacy.rules import TablePrivacy

SALT = "an invented salt of the tests"


def hashed(text: str) -> str:
    return hmac.new(SALT.encode(), text.encode(), hashlib.sha256).hexdigest()


def configure(monkeypatch: pytest.MonkeyPatch, **settings: object) -> None:
    """Set these of the settings about privacy, and none of the others."""
    none = dict.fromkeys(("hash_columns", "drop_columns", "privacy"))
    for name, value in {**none, "pii_salt": SALT, **settings}.items():
        key = f"SOURCES__OMETRIA__{name.upper()}"
        if value is None:
            monkeypatch.delenv(key, raising=False)
        else:
            monkeypatch.setenv(key, value if isinstance(value, str) else json.dumps(value))


@pytest.fixture
def events(bucket: Path):
    def write(name: str, text: str) -> None:
        path = bucket / name
        path.write_text(text, encoding="utf-8")
        os.utime(path, (1_790_000_000, 1_790_000_000))

    return write


def test_a_hashed_address_joins_the_tables(ometria, account, bucket, events, load, warehouse, monkeypatch):
    people = {p["id"]: p for p in account.profiles.values() if p["email"]}
    person = next(iter(people.values()))
    events("e.csv", f"event_id,To Address\n1,  {person['email'].upper()} \n2,\n3,no address\n")
    configure(monkeypatch, hash_columns=["*.email", "unsubscribes.email_address", "email_events.to_address"])
    load()
    for row in warehouse.rows("profiles"):
        raw = account.profiles[row["profile_id"]]["email"]
        assert row["email"] == (hashed(raw.strip().lower()) if raw is not None else None)
    opt_outs = {row["email_address"] for row in warehouse.rows("unsubscribes")}
    assert opt_outs <= {None, *(hashed(p["email"].lower()) for p in people.values())}
    assert len(opt_outs) > 1
    events_loaded = {row["event_id"]: row["to_address"] for row in warehouse.rows("email_events")}
    assert events_loaded == {"1": hashed(person["email"].lower()), "2": None, "3": hashed("no address")}


def test_no_value_of_a_strict_load_is_in_the_warehouse_and_keys_and_joins_hold(
    ometria, account, export, load, warehouse, monkeypatch
):
    load()
    raw = {
        table: warehouse.rows(table) for table in ("profiles", "lists", "member_lists", "unsubscribes", "email_events")
    }
    configure(monkeypatch, privacy="strict")
    load("--full-refresh")
    for table, rows in raw.items():
        assert len(warehouse.rows(table)) == len(rows), table
    profiles = {row["profile_id"]: row for row in warehouse.rows("profiles")}
    for row in raw["profiles"]:
        now = profiles[row["profile_id"]]
        assert now["email"] == (hashed(row["email"].lower()) if row["email"] is not None else None)
        assert now["phone_number"] == (hashed(row["phone_number"]) if row["phone_number"] is not None else None)
        for column in ("customer_name", "first_name", "last_name", "date_of_birth", "identities", "properties"):
            assert now.get(column) is None
        assert now["stats__revenue"] == row["stats__revenue"]
    addresses = {row["email"]: profiles[row["profile_id"]]["email"] for row in raw["profiles"]}
    for row in warehouse.rows("unsubscribes"):
        assert row["email_address"] in {None, *addresses.values()}
    # one key each, as without
    assert len({row["event_key"] for row in warehouse.rows("email_events")}) == len(raw["email_events"])


def test_paths_lead_into_json(ometria, account, load, warehouse, monkeypatch):
    ids = list(account.profiles)
    account.update_profile(
        ids[0],
        identities=[{"id": "Ada@Shop.test", "type": "email"}, {"id": 7, "type": "loyalty"}],
        properties={"Shoe Size": 40, "notes": "call me", "who": {"mails": ["a@b.test", "x"]}, "size": {"eu": 40}},
    )
    configure(
        monkeypatch,
        hash_columns=["profiles.identities__id", "profiles.properties__size__eu"],
        drop_columns=["profiles.properties__notes"],
    )
    load("--tables", "profiles")
    row = next(row for row in warehouse.rows("profiles") if row["profile_id"] == ids[0])
    assert row["identities"] == [
        {"id": hashed("ada@shop.test"), "type": "email"},
        {"id": hashed("7"), "type": "loyalty"},
    ]
    assert row["properties"] == {
        "Shoe Size": 40,
        "who": {"mails": [hashed("a@b.test"), "x"]},
        "size": {"eu": hashed("40")},
    }
    assert row["email"] == account.profiles[ids[0]]["email"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"drop_columns": ["*.nothing"]}, "*.nothing"),
        ({"hash_columns": ["email"]}, "table.column"),
        ({"hash_columns": ["people.email"]}, "people"),
        ({"hash_columns": ["*.email"], "pii_salt": None}, "pii_salt"),
        ({"hash_columns": ["*.email"], "pii_salt": "  "}, "pii_salt"),
        ({"hash_columns": ["*.email"], "pii_salt": "short".ljust(15, "!")}, "16 characters or more"),
        ({"hash_columns": ["*.email"], "pii_salt": "a" * 40}, "not all alike"),
        ({"privacy": "lax"}, "privacy"),
        ({"keep_columns": ["profiles.work_email"]}, "strict"),
        ({"privacy": "strict", "keep_columns": ["*.country"], "hash_columns": ["*.country"]}, "one of them"),
        ({"privacy": "strict", "pii_salt": None}, "pii_salt"),
        ({"drop_columns": ["profiles.profile_id"]}, "the key"),
        ({"hash_columns": ["*.list_id"]}, "as it is"),
        ({"hash_columns": ["email_events.event_key"]}, "as it is"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_before_anything_is_read(
    ometria, run, warehouse, monkeypatch, settings, words
):
    configure(monkeypatch, **settings)
    result = run()
    assert result.status == 2, result
    assert words in result.err
    assert SALT not in result.err + result.out
    assert ometria.requests == []


@pytest.mark.parametrize(
    ("table", "rule"),
    [
        ("profiles", "hash_columns"),
        ("profiles", "drop_columns"),
        pytest.param("lists", "drop_columns", marks=pytest.mark.slow),
        pytest.param("member_lists", "drop_columns", marks=pytest.mark.slow),
        ("unsubscribes", "hash_columns"),
        ("orders", "drop_columns"),
        ("order_line_items", "drop_columns"),
        pytest.param("list_changes", "drop_columns", marks=pytest.mark.slow),
        ("push_errors", "drop_columns"),
        ("email_events", "drop_columns"),
    ],
)
def test_a_rule_that_was_applied_to_nothing_fails_its_table_alone(
    ometria, export, run, load, warehouse, monkeypatch, table, rule
):
    own = "orders" if table == "order_line_items" else table
    configure(monkeypatch, **{rule: [f"{table}.emial"]})
    result = run("--tables", f"{own},collections")
    assert result.status == 1, result
    assert f"{table}.emial" in result.out + result.err
    assert own not in warehouse.tables()
    assert warehouse.rows("collections")
    configure(monkeypatch)
    load("--tables", own)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("properties__ntoes", {"notes": "call me"}),
        ("properties__notes__tone", {"notes": "call me"}),
        ("work__mail", {"notes": "call me"}),
    ],
)
def test_a_path_that_leads_to_nothing_is_refused(ometria, account, run, load, warehouse, monkeypatch, path, value):
    first = next(iter(account.profiles))
    account.update_profile(first, properties=value)
    configure(monkeypatch, drop_columns=[f"profiles.{path}"])
    result = run("--tables", "profiles")
    assert result.status == 1, result
    assert f"profiles.{path}" in result.out + result.err
    assert "profiles" not in warehouse.tables()
    # found once, it need not be there in every run
    names = path.split("__")
    account.update_profile(first, **{names[0]: {names[1]: {"tone": 1} if len(names) == 3 else "x"}})
    load("--tables", "profiles")
    account.update_profile(first, **{names[0]: None})
    load("--tables", "profiles")


def test_a_rule_for_all_tables_that_hides_nothing_fails_the_run(ometria, account, bucket, events, run, monkeypatch):
    account.update_profile(next(iter(account.profiles)), properties={"notes": "call me"}, nick="Ada")
    events("e.csv", "id,user\n1,Bo\n")
    rules = ["*.properties__notes", "*.properties__ntoes", "profiles.nick"]
    configure(monkeypatch, drop_columns=rules)
    result = run("--tables", "profiles")
    assert result.status == 1
    assert "`drop_columns` names `*.properties__ntoes`, but nothing that was read has it" in result.out
    assert "*.properties__notes" not in result.out
    # of tables that can have none, nothing can be said
    assert run("--tables", "lists").status == 0
    # what another table had is known, though it is in no schema
    configure(monkeypatch, drop_columns=[rules[0], "*.nick"])
    assert run("--tables", "profiles,email_events", "--full-refresh").status == 0
    assert run("--tables", "profiles,email_events").status == 0


def test_a_flat_column_of_a_file_is_hidden_by_its_name(bucket, events, load, warehouse, monkeypatch):
    """`__` in a rule may be a part of a column's name, or lead into JSON."""
    events("e.csv", "id,user,user__who,User Who\n1,u,Ada,x\n")
    configure(monkeypatch, hash_columns=["email_events.user__who"])
    load("--tables", "email_events")
    (row,) = warehouse.rows("email_events")
    assert (row["user"], row["user__who"], row["user_who"]) == ("u", hashed("Ada"), "x")


def test_a_rule_hides_its_column_whatever_the_order_of_the_fields_is(bucket, events, load, warehouse, monkeypatch):
    """A column that was left out is in no schema, and must not be given to another field."""
    events("a.csv", "id,userId\n1,Ada\n")
    configure(monkeypatch, drop_columns=["email_events.user_id"])
    load("--tables", "email_events")
    events("b.csv", "id,user_id,userId\n2,x,Bo\n")
    load("--tables", "email_events")
    rows = {row["id"]: row for row in warehouse.rows("email_events")}
    assert "user_id" not in rows["2"]
    assert [value for name, value in rows["2"].items() if name.startswith("user_id_")] == ["x"]
    assert "Ada" not in str(rows)
    assert "Bo" not in str(rows)
    load("--tables", "email_events", "--full-refresh")
    rows = {row["id"]: row for row in warehouse.rows("email_events")}
    assert [value for name, value in rows["2"].items() if name.startswith("user_id")] == ["x"]
    assert "Ada" not in str(rows)
    assert "Bo" not in str(rows)


def test_a_name_that_no_file_has_fails_the_events_alone(ometria, bucket, events, run, load, warehouse, monkeypatch):
    events("e.csv", "id,to\n1,a@b.test\n")
    configure(monkeypatch, hash_columns=["email_events.two"])
    result = run()
    assert result.status == 1
    assert "email_events.two" in result.out + result.err
    assert "email_events" not in warehouse.tables()
    configure(monkeypatch, hash_columns=["email_events.to"], drop_columns=["*.id"])
    load("--tables", "email_events")
    assert [(row["to"], row.get("id")) for row in warehouse.rows("email_events")] == [(hashed("a@b.test"), None)]
    # no file is read, so nothing can be said against the names; and one that was dropped stays known
    load("--tables", "email_events")
    events("later.csv", "to\nc@d.test\n")
    load("--tables", "email_events")
    assert len(warehouse.rows("email_events")) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"pii_salt": "another invented salt"},
        {"privacy": "strict"},
        pytest.param({"hash_columns": ["*.email"]}, marks=pytest.mark.slow),
        pytest.param({"drop_columns": ["profiles.tags"]}, marks=pytest.mark.slow),
        pytest.param({"hash_columns": None}, marks=pytest.mark.slow),
    ],
)
def test_other_settings_are_refused_until_a_full_refresh(ometria, run, load, warehouse, monkeypatch, change):
    configure(monkeypatch, hash_columns=["profiles.email"])
    load("--tables", "profiles")
    before = warehouse.rows("profiles")
    configure(monkeypatch, **{"hash_columns": ["profiles.email"], **change})
    ometria.requests.clear()
    result = run("--tables", "profiles")
    assert result.status == 2, result
    assert "--full-refresh" in result.err
    assert ometria.requests == []
    assert warehouse.rows("profiles") == before
    load("--tables", "profiles", "--full-refresh")
    load("--tables", "profiles")
    configure(monkeypatch, hash_columns=["profiles.email"])
    assert run("--tables", "profiles").status == 2


def test_the_salt_is_not_signed_with_itself(ometria, load, run, monkeypatch):
    """The state is stored at the destination: the salt must not be found there by trying."""
    configure(monkeypatch, hash_columns=["profiles.email"])
    load("--tables", "profiles")

    def stored() -> str:
        return dlt.attach("ometria_pipeline").state["sources"]["ometria"]["resources"]["profiles"]["privacy"]["sign"]

    text = json.dumps(["profiles", [["hash", "profiles.email"]], None])
    own, earlier = stored(), hmac.new(SALT.encode(), text.encode(), hashlib.sha256).hexdigest()
    assert own.startswith("scrypt:")
    assert earlier not in own
    with patch.object(TablePrivacy, "signature", lambda _: earlier):
        load("--tables", "profiles", "--full-refresh")
    assert stored() == earlier
    configure(monkeypatch, hash_columns=["profiles.email"], pii_salt="another salt than that one")
    assert run("--tables", "profiles").status == 2
    configure(monkeypatch, hash_columns=["profiles.email"])
    load("--tables", "profiles")
    assert stored() == own


def test_a_column_that_was_dropped_stays_known(ometria, account, load, warehouse, monkeypatch):
    for profile_id in account.profiles:
        account.update_profile(profile_id, work_email="someone@work.test")
    configure(monkeypatch, drop_columns=["profiles.work_email"])
    load("--tables", "profiles")
    account.update_profile(next(iter(account.profiles)), work_email=None)
    load("--tables", "profiles")
    assert "work_email" not in warehouse.types("profiles")


def test_a_notebook_is_held_to_the_same(ometria, load, warehouse, monkeypatch):
    pipeline = dlt.pipeline("ometria_pipeline", destination="duckdb", dataset_name="ometria")
    salt = dlt.TSecretStrValue(SALT)
    with pytest.raises(Exception, match=r"profiles\.emial"):
        pipeline.run(ometria_source(hash_columns=["profiles.emial"], pii_salt=salt).with_resources("profiles"))
    pipeline.run(ometria_source(hash_columns=["profiles.email"], pii_salt=salt).with_resources("profiles").add_limit(1))
    pipeline.run(ometria_source(hash_columns=["profiles.email"], pii_salt=salt).with_resources("profiles"))
    with pytest.raises(Exception, match="full refresh"):
        pipeline.run(ometria_source().with_resources("profiles"))
    pipeline.run(ometria_source().with_resources("profiles"), refresh="drop_resources")
    assert all("@" in row["email"] for row in warehouse.rows("profiles") if row["email"])
    pipeline.run(
        ometria_source(privacy="strict", pii_salt=salt).with_resources("profiles"), write_disposition="replace"
    )
    with pytest.raises(InvalidSettingError, match="pii_salt"):
        ometria_source(privacy="strict")
    with pytest.raises(InvalidSettingError, match="nothing"):
        ometria_source(drop_columns=["*.nothing"])


def test_people_can_be_known_by_a_hash_alone(ometria, account, load, warehouse, monkeypatch):
    configure(monkeypatch, hash_columns=["*.profile_id"])
    load("--tables", "profiles,lists,member_lists,unsubscribes")
    everybody = {hashed(profile_id) for profile_id in account.profiles}
    assert {row["profile_id"] for row in warehouse.rows("profiles")} == everybody
    assert {row["profile_id"] for row in warehouse.rows("member_lists")} <= everybody
    members = len(warehouse.rows("member_lists"))
    gone = next(iter(account.profiles))
    account.erase_profile(gone)
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")
    load("--tables", "profiles,lists,member_lists,unsubscribes")
    assert {row["profile_id"] for row in warehouse.rows("profiles")} == everybody - {hashed(gone)}
    assert hashed(gone) not in {row["profile_id"] for row in warehouse.rows("member_lists")}
    assert len(warehouse.rows("member_lists")) <= members


def test_rows_that_differ_only_in_a_dropped_cell_stay_apart(bucket, events, load, warehouse, monkeypatch):
    events("e.csv", "event,who\nopen,a@b.test\nopen,c@d.test\nopen,a@b.test\n")
    configure(monkeypatch, drop_columns=["email_events.who"])
    load("--tables", "email_events")
    assert len(warehouse.rows("email_events")) == 2
    assert "who" not in warehouse.types("email_events")


def test_a_hash_is_text_whatever_type_is_declared(bucket, events, load, warehouse, monkeypatch):
    events("e.csv", "id,born,at\n1,1990-01-02,2024-02-03T04:05:06Z\n2,,\n")
    configure(
        monkeypatch,
        hash_columns=["email_events.born"],
        email_events_columns={"born": "date", "at": "timestamp"},
        email_events_key=["id", "born"],
    )
    load("--tables", "email_events")
    assert warehouse.types("email_events")["born"] == "VARCHAR"
    assert {row["born"] for row in warehouse.rows("email_events")} == {hashed("1990-01-02"), None}


def test_objects_of_an_export_are_looked_into(bucket, load, warehouse, monkeypatch):
    lines = [
        {"id": 1, "who": {"mail": "A@b.test", "age": 40}, "tags": ["x", "me@c.test"], "n": 12345678901234567890123},
        {"id": 2, "who": "plain", "tags": [], "n": 1},
    ]
    (bucket / "e.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    (bucket / "f.csv").write_text('id,who\n3,"{""mail"": ""A@b.test""}"\n', encoding="utf-8")
    configure(monkeypatch, hash_columns=["email_events.who__mail"])
    load("--tables", "email_events")
    rows = {str(row["id"]): row for row in warehouse.rows("email_events")}
    assert len(rows) == 3
    found = json.dumps(
        [[value for value in row.values() if isinstance(value, str | list | dict)] for row in rows.values()]
    )
    assert "@" not in found
    assert found.count(hashed("a@b.test")) == 2
    assert hashed("me@c.test") in found
    assert "plain" in found


# The column of each table that holds an address.
ADDRESSES = {
    "profiles": "email",
    "contacts": "email",
    "orders": "customer__email",
    "unsubscribes": "email_address",
    "email_events": "email",
}
# Local parts that are one address, whatever their signs do in other texts.
UNUSUAL = ["o'hara@shop.test", "A+b=c@shop.test", '"two words"@shop.test', "d&e@shop.test", "x.y/z@shop.test"]


def in_capitals(header: str, addresses: list[str]) -> str:
    """A csv file of numbers and addresses, which the API has in small letters."""
    lines = (
        f'{number},"{email.upper()}"' for number, email in enumerate(email.replace('"', '""') for email in addresses)
    )
    return "\n".join([header, *lines])


def test_joins_give_the_same_counts_on_hashed_values_as_on_raw_ones(
    account, ometria, export, load, warehouse, monkeypatch
):
    """On addresses, and on each id that two tables have. Raw addresses of one mailbox differ in case and blanks."""
    people = list(account.profiles)[: len(UNUSUAL)]
    for person, address in zip(people, UNUSUAL, strict=True):
        account.update_profile(person, email=address)
        account.unsubscribe(person)
    (export / "unusual.csv").write_text(in_capitals("event_id,email", UNUSUAL), encoding="utf-8")
    account.write_events(export / "more.csv", account.events[:50])
    tables = [*ADDRESSES, "lists", "member_lists", "custom_events", "list_changes", "products"]

    def counts(email: str) -> dict[tuple[str, ...], int]:
        types = {table: warehouse.types(table).keys() for table in (*tables, "order_line_items")}
        pairs = [(a, b, column) for a in types for b in types if a < b for column in types[a] & types[b]]
        joins = [(a, b, f"a.{column} = b.{column}") for a, b, column in pairs if column.endswith("_id")]
        joins += [
            (a, b, f"{email}(a.{ADDRESSES[a]}) = {email}(b.{ADDRESSES[b]})")
            for a, b in itertools.combinations(ADDRESSES, 2)
        ]
        with duckdb.connect(str(warehouse.path), read_only=True) as connection:
            connection.execute("CREATE TEMP MACRO mailbox(address) AS lower(trim(address))")
            connection.execute("CREATE TEMP MACRO as_it_is(address) AS address")
            return {
                (a, b, on.replace(email, "")): connection.execute(
                    f"SELECT count(*) FROM ometria.{a} AS a JOIN ometria.{b} AS b ON {on}"
                ).fetchone()[0]
                for a, b, on in joins
                if "_dlt" not in on
            }

    load("--tables", ",".join(tables))
    raw = counts("mailbox")
    assert all(count for (a, b, on), count in raw.items() if "email" in on)
    assert len(raw) > 25
    configure(monkeypatch, privacy="strict")
    load("--tables", ",".join(tables), "--full-refresh")
    assert counts("as_it_is") == raw
    hashes = {row["email"] for row in warehouse.rows("profiles")}
    assert {hashed(address.lower()) for address in UNUSUAL} <= hashes


@pytest.mark.parametrize("column", ["email", "Send To"])
def test_an_unusual_address_has_one_hash_under_any_name(bucket, events, load, warehouse, monkeypatch, column):
    events("e.csv", in_capitals(f"id,{column}", UNUSUAL))
    name = column.lower().replace(" ", "_")
    configure(monkeypatch, hash_columns=[f"email_events.{name}"])
    load("--tables", "email_events")
    assert {row[name] for row in warehouse.rows("email_events")} == {hashed(email.lower()) for email in UNUSUAL}


def test_columns_that_an_account_makes_are_protected_like_any_other(account, ometria, load, warehouse, monkeypatch):
    """Properties that are spread, and values of another type than their column's."""
    first, second = list(account.profiles)[:2]
    account.update_profile(first, properties={"Nickname": "Ada", "loyalty_tier": "gold"}, contact="ada@shop.test")
    account.update_profile(
        second,
        properties={"nickname": {"short": "Bo"}},
        contact={"mail": "bo@shop.test"},
        email={"home": "bo@shop.test"},
    )
    monkeypatch.setenv("SOURCES__OMETRIA__SPREAD_PROPERTIES", '["loyalty_tier", "nickname"]')
    configure(monkeypatch, privacy="strict", keep_columns=["profiles.properties__loyalty_tier"])
    load("--tables", "profiles")

    rows = {row["profile_id"]: row for row in warehouse.rows("profiles")}
    assert rows[first]["properties__nickname"] == hashed("Ada")
    assert rows[second]["properties__nickname"] == hashed('{"short":"Bo"}')
    assert rows[first]["properties__loyalty_tier"] == "gold"
    assert rows[first]["contact"] == hashed("ada@shop.test")
    assert rows[second]["contact"] == hashed('{"mail":"bo@shop.test"}')
    assert rows[second]["email"] == hashed('{"home":"bo@shop.test"}')
    assert "email__v_json" not in rows[second]


def test_history_and_rows_that_vanish_hold_nothing_that_was_hidden(account, ometria, load, warehouse, monkeypatch):
    first, second = list(account.profiles)[:2]
    address = account.profiles[second]["email"] or "second@shop.test"
    account.update_profile(second, email=address)
    monkeypatch.setenv("SOURCES__OMETRIA__HISTORY", '["profiles"]')
    monkeypatch.setenv("SOURCES__OMETRIA__DELETES", "soft")
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")
    configure(monkeypatch, privacy="strict", hash_columns=["*.profile_id"])
    load("--tables", "profiles,member_lists")
    account.update_profile(first, name="Another Name", country="FR")
    pairs = sum(second in members for members in account.members.values())
    account.erase_profile(second)
    load("--tables", "profiles,member_lists")

    versions = [row for row in warehouse.rows("profiles") if row["profile_id"] == hashed(first)]
    assert len(versions) == 2
    (gone,) = [row for row in warehouse.rows("profiles") if row["profile_id"] == hashed(second)]
    assert gone["_dlt_valid_to"] is not None
    assert gone["email"] == hashed(address.strip().lower())
    kept = [row for row in warehouse.rows("member_lists") if row["deleted_at"] is not None]
    assert [row["profile_id"] for row in kept] == [hashed(second)] * pairs
