"""`spread_properties`: an account's own fields as columns."""

from __future__ import annotations

import pytest

SPREAD = "SOURCES__OMETRIA__SPREAD_PROPERTIES"


def row(warehouse, identifier):
    (found,) = [row for row in warehouse.rows("profiles") if row["profile_id"] == identifier]
    return found


def test_named_properties_become_columns_of_their_own_type(account, ometria, load, warehouse, monkeypatch):
    monkeypatch.setenv(SPREAD, '["loyalty_tier", "Points", "shops", "address", "since"]')
    first, second, third = list(account.profiles)[:3]
    properties = {
        "loyalty_tier": "007",
        "Points": 7,
        "points": 8,
        "shops": ["Leeds"],
        "address": {"city": "York"},
        "other": 1,
    }
    account.update_profile(first, properties=properties)
    account.update_profile(second, properties={"Loyalty Tier": "gold", "loyaltyTier": "no"})
    account.update_profile(third, properties="none")
    load("--tables", "profiles")

    found = row(warehouse, first)
    assert found["properties"] == properties
    assert found["properties__loyalty_tier"] == "007"
    assert found["properties__points"] == 7
    assert found["properties__shops"] == ["Leeds"]
    assert found["properties__address"] == {"city": "York"}
    assert "properties__other" not in found
    assert row(warehouse, second)["properties__loyalty_tier"] == "gold"
    assert row(warehouse, second)["properties__points"] is None
    assert row(warehouse, third)["properties__loyalty_tier"] is None
    types = warehouse.types("profiles")
    assert (types["properties__loyalty_tier"], types["properties__points"]) == ("VARCHAR", "BIGINT")


def test_a_field_with_the_name_of_such_a_column_is_kept_beside_it(account, ometria, load, warehouse, monkeypatch):
    monkeypatch.setenv(SPREAD, '["tier"]')
    first = next(iter(account.profiles))
    account.update_profile(first, properties={"tier": "gold"}, properties__tier="silver")
    load("--tables", "profiles")
    found = row(warehouse, first)
    assert (found["properties__tier"], found["properties__tier_e5839be1"]) == ("gold", "silver")


def test_a_name_that_is_taken_away_leaves_nulls_where_rows_are_read_again(
    account, ometria, load, warehouse, monkeypatch
):
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")
    monkeypatch.setenv(SPREAD, '["tier"]')
    first = next(iter(account.profiles))
    account.update_profile(first, properties={"tier": "gold"})
    load("--tables", "profiles")
    monkeypatch.delenv(SPREAD)
    load("--tables", "profiles")
    assert row(warehouse, first)["properties__tier"] is None
    assert row(warehouse, first)["properties"] == {"tier": "gold"}


def test_a_name_that_no_profile_has_is_told(account, ometria, load, monkeypatch):
    monkeypatch.setenv(SPREAD, '["teir"]')
    assert (
        "profiles: no profile has `teir` in `properties`; check `spread_properties`" in load("--tables", "profiles").out
    )


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ('[""]', "holds an empty name"),
        ('["a", " "]', "holds an empty name"),
        ('["tier", "Tier"]', "names the column `properties__tier` twice, as `tier` and as `Tier`"),
    ],
)
def test_names_that_cannot_be_columns_are_refused(run, monkeypatch, names, problem):
    monkeypatch.setenv(SPREAD, names)
    result = run("--tables", "profiles")
    assert result.status == 2
    assert f"`spread_properties` {problem}" in result.err
