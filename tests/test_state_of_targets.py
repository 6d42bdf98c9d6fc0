"""Local state belongs to one destination and dataset, and the newest state and schema are those that count."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from unittest.mock import patch

import dlt
import duckdb
import pytest
import truth
from dlt.destinations.impl.duckdb.duck import DuckDbClient
from dlt.pipeline.exceptions import PipelineStepFailed
from dlt.pipeline.helpers import pipeline_drop
from ways import assert_restored_schema_is_local, at_destination, refusing

from ometria_source import load, ometria_source
from ometria_source.simulator import SimulatedAccount
from ometria_source.sync.destination import TARGET as TARGET_KEY

TABLE = "unsubscribes"


@pytest.fixture
def account() -> SimulatedAccount:
    """Small: what is tested does not depend on numbers."""
    return SimulatedAccount.invent(30, now=datetime.now(timezone.utc) - timedelta(hours=1))


@pytest.fixture
def change(account) -> Callable[[], None]:
    """Let a person unsubscribe, and time pass."""

    def change_account() -> None:
        account.unsubscribe(list(account.profiles)[0])
        account.advance(timedelta(minutes=1))

    return change_account


def test_two_datasets_and_two_destinations_in_turn_each_equal_the_account(
    account, ometria, change, warehouse, go, monkeypatch, tmp_path
):
    monkeypatch.setenv("DESTINATION__ELSEWHERE__DESTINATION_TYPE", "duckdb")
    monkeypatch.setenv("DESTINATION__ELSEWHERE__CREDENTIALS", str(tmp_path / "elsewhere.duckdb"))
    targets = (("duckdb", "first"), ("duckdb", "second"), ("elsewhere", "first"))
    for destination, dataset in (*targets, *targets, targets[1]):
        change()
        assert go(TABLE, destination=destination, dataset=dataset) == {}
        place = warehouse if destination == "duckdb" else type(warehouse)(tmp_path / "elsewhere.duckdb")
        truth.assert_unsubscribes(place, account, dataset)


def test_dlts_own_run_into_two_datasets_in_turn_is_right_or_refused(account, ometria, change, warehouse):
    refused: list[str] = []
    datasets = ("first", "second", "second", "first", "first", "second", "first")
    for dataset in datasets:
        change()
        pipeline = dlt.pipeline("ometria_pipeline", destination="duckdb", dataset_name=dataset)
        try:
            pipeline.run(ometria_source().with_resources(TABLE))
        except PipelineStepFailed as error:
            refused.append(str(error))
            continue
        truth.assert_unsubscribes(warehouse, account, dataset)
    # state that a destination restored, or that is new, is not refused
    assert 0 < len(refused) < len(datasets) - 2
    assert all("which keeps them apart" in text for text in refused)
    load(TABLE, dataset="first").raise_for_failures()
    truth.assert_unsubscribes(warehouse, account, "first")


def test_dlts_own_run_goes_on_from_state_of_an_earlier_version_only_where_the_destination_has_it(
    account, ometria, change, warehouse
):
    """Such state does not say to which dataset it belongs."""

    def run_into(dataset: str) -> None:
        change()
        pipeline = dlt.pipeline("ometria_pipeline", destination="duckdb", dataset_name=dataset)
        with pipeline.managed_state() as state:
            state["_local"].pop(TARGET_KEY, None)
        pipeline.run(ometria_source().with_resources(TABLE))
        truth.assert_unsubscribes(warehouse, account, dataset)

    # dlt itself begins anew where there is no dataset
    for dataset in ("first", "first", "second", "second"):
        run_into(dataset)
    with pytest.raises(PipelineStepFailed, match="is not what the destination holds"):
        run_into("first")
    run_into("second")


def test_the_state_of_the_highest_version_counts_whatever_the_clock_was(account, ometria, change, warehouse, go):
    # Given a load by a machine whose clock was ahead
    assert go(TABLE) == {}
    at_destination(
        warehouse,
        "UPDATE ometria._dlt_loads SET load_id = '9999999999.5'",
        "UPDATE ometria._dlt_pipeline_state SET _dlt_load_id = '9999999999.5'",
    )
    # When the table is dropped and loaded again
    pipeline_drop(dlt.attach("ometria_pipeline"), resources=[TABLE])()
    assert go(TABLE) == {}
    # Then no row is missing, and a lost working folder makes no difference
    truth.assert_unsubscribes(warehouse, account)


def test_a_schema_that_comes_again_is_the_one_that_a_lost_folder_gets_back(account, ometria, warehouse, go, tmp_path):
    for contract in ("evolve", "discard_value", "evolve"):
        assert go(f"{TABLE},lists", schema_contract=contract) == {}
        assert_restored_schema_is_local(tmp_path)
        shutil.rmtree(tmp_path / "fresh")
    # a setting that does not go with the loaded rows is refused then too
    shutil.rmtree(tmp_path / "dlt")
    hashed = {"hash_columns": ["unsubscribes.email_address"], "pii_salt": "another salt that is long enough"}
    assert "pii_salt" in go(TABLE, **hashed)["run"]


@pytest.mark.parametrize(
    "is_folder_lost", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["folder is lost", "folder is there"]
)
def test_a_full_refresh_that_ends_after_its_drop_loses_nothing(
    account, ometria, warehouse, go, tmp_path, is_folder_lost
):
    """Whether its package is refused then, or is no longer there."""
    assert go(TABLE) == {}

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with patch.object(DuckDbClient, "create_load_job", interrupt):
        assert "nterrupted" in go(TABLE, full_refresh=True)["run"]
    with duckdb.connect(str(warehouse.path)) as database:
        assert database.execute(f"SELECT COUNT(*) FROM ometria.{TABLE}").fetchone() == (0,)

    if is_folder_lost:
        shutil.rmtree(tmp_path / "dlt")
    else:
        with refusing("create_load_job", TABLE):
            assert list(go(TABLE)) == [TABLE]
    assert go(TABLE) == {}
    truth.assert_unsubscribes(warehouse, account)
    assert_restored_schema_is_local(tmp_path)
