"""A table is loaded only where it is merged rightly, or where it was said that it shall not be merged."""

from __future__ import annotations

from collections import Counter

import dlt
import pytest
import truth
from dlt.pipeline.exceptions import PipelineStepFailed

from ometria_source import ometria_source
from ometria_source.exceptions import ConfigurationError, InvalidSettingError
from ometria_source.loading.errors import user_message
from ometria_source.sync import destination as strategies

SNAPSHOTS = ("profiles", "lists", "member_lists")
LOGS = ("unsubscribes", "email_events")


@pytest.fixture
def lake(tmp_path, monkeypatch):
    """Where the destination `filesystem` puts its files."""
    folder = tmp_path / "lake"
    monkeypatch.setenv("DESTINATION__FILESYSTEM__BUCKET_URL", folder.as_uri())
    return folder


def rows(pipeline: dlt.Pipeline, table: str) -> list[tuple]:
    return pipeline.dataset()(f"SELECT * FROM {table}").fetchall()


@pytest.mark.parametrize(
    ("flags", "advice"),
    [
        ([], "`--tables unsubscribes,email_events`, with `--table-format delta` or `--table-format iceberg`"),
        (["--table-format", "delta"], "`--tables unsubscribes,email_events`"),
        (["--tables", "lists"], "`lists` must lose the rows that are gone"),
        (["--tables", "unsubscribes,email_events"], "`--table-format delta` or `--table-format iceberg`"),
        (["--tables", "email_events"], "`--append`"),
        (["--tables", "email_events", "--full-refresh"], "`--append`"),
    ],
)
def test_plain_files_are_refused_before_anything_is_read_or_written(
    ometria, export, lake, run, tmp_path, flags, advice
):
    result = run("--destination", "filesystem", *flags)
    assert result.status == 2
    assert advice in result.err
    assert "Nothing was read or loaded" in result.err
    assert not ometria.requests
    assert not lake.exists()
    assert not (tmp_path / "dlt").exists()


def test_a_refused_destination_leaves_the_state_of_the_other_alone(ometria, lake, load, run):
    load("--tables", "unsubscribes")
    assert run("--destination", "filesystem", "--tables", "unsubscribes").status == 2
    assert "is dropped" not in load("--tables", "unsubscribes").out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--table-format", "delta"], "`table_format` is `delta`, which this destination does not have"),
        (["--table-format", "parquet"], "`table_format` must be one of delta, iceberg"),
    ],
)
def test_a_table_format_that_cannot_be_had_is_refused_with_a_sentence(ometria, run, flags, words):
    result = run("--tables", "unsubscribes", *flags)
    assert result.status == 2
    assert words in result.err
    assert not ometria.requests


@pytest.mark.parametrize("table", [*SNAPSHOTS, *LOGS])
def test_in_a_notebook_a_table_that_would_be_appended_reads_nothing(ometria, export, lake, table):
    pipeline = dlt.pipeline("notebook", destination="filesystem", dataset_name="ometria")
    with pytest.raises(PipelineStepFailed) as failed:
        pipeline.run(ometria_source().with_resources(table))
    assert f"`{table}`" in user_message(failed.value)
    assert "append=True" in user_message(failed.value)
    assert not ometria.requests
    assert not pipeline.has_pending_data


@pytest.mark.parametrize("table", SNAPSHOTS)
@pytest.mark.parametrize("strategy", ["upsert", "insert-only"])
def test_a_strategy_that_removes_nothing_is_refused_for_a_table_that_loses_rows(ometria, table, strategy):
    source = ometria_source().with_resources(table)
    source.resources[table].apply_hints(write_disposition={"disposition": "merge", "strategy": strategy})
    pipeline = dlt.pipeline("notebook", destination="duckdb", dataset_name="ometria")
    with pytest.raises(PipelineStepFailed) as failed:
        pipeline.run(source)
    assert f"`{table}` must lose the rows that are gone in Ometria" in user_message(failed.value)
    assert f"with the merge strategy `{strategy}`" in user_message(failed.value)
    assert not ometria.requests


@pytest.mark.parametrize("table", LOGS)
@pytest.mark.parametrize("strategy", ["cdc", "scd2"])
def test_a_merge_that_would_lose_what_was_only_not_read_is_refused(ometria, export, table, strategy):
    """Without a scope, these remove what is not in a batch. Tables that lose rows bring their scope with them."""
    source = ometria_source().with_resources(table)
    source.resources[table].apply_hints(write_disposition={"disposition": "merge", "strategy": strategy})
    pipeline = dlt.pipeline("notebook", destination="duckdb", dataset_name="ometria")
    with pytest.raises(PipelineStepFailed) as failed:
        pipeline.run(source)
    assert f"As the hints of `{table}` are" in user_message(failed.value)
    assert not ometria.requests


def test_a_strategy_that_the_destination_does_not_have_is_refused_with_a_sentence(ometria, lake):
    source = ometria_source(table_format="delta").with_resources("unsubscribes")
    source.resources["unsubscribes"].apply_hints(
        write_disposition={"disposition": "merge", "strategy": "delete-insert"}
    )
    pipeline = dlt.pipeline("notebook", destination="filesystem", dataset_name="ometria")
    with pytest.raises(PipelineStepFailed) as failed:
        pipeline.run(source)
    assert "cannot merge `unsubscribes` with the strategy `delete-insert`" in user_message(failed.value)
    assert not ometria.requests


def test_delta_files_are_refused_for_a_table_that_loses_rows_under_any_strategy(ometria, lake):
    """Delta has `cdc`, but no way to say which rows of a table a scan has covered."""
    source = ometria_source().with_resources("profiles")
    cdc = {"disposition": "merge", "strategy": "cdc"}
    source.resources["profiles"].apply_hints(write_disposition=cdc, table_format="delta")
    pipeline = dlt.pipeline("notebook", destination="filesystem", dataset_name="ometria")
    with pytest.raises(PipelineStepFailed) as failed:
        pipeline.run(source)
    assert "`profiles` must lose the rows that are gone in Ometria" in user_message(failed.value)


def test_rows_can_be_looked_at_while_a_pipeline_is_there_that_could_not_load_them(account, ometria, lake):
    dlt.pipeline("notebook", destination="filesystem", dataset_name="ometria")
    assert {row["list_id"] for row in ometria_source().resources["lists"]} == set(account.lists)


def test_a_table_format_is_a_setting_too_and_of_the_logs_only(monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__TABLE_FORMAT", "iceberg")
    tables = {name: resource.compute_table_schema() for name, resource in ometria_source().resources.items()}
    assert {name for name, table in tables.items() if table.get("table_format") == "iceberg"} == set(strategies.LOGS)
    with pytest.raises(InvalidSettingError, match="table_format"):
        ometria_source(table_format="hudi")
    assert issubclass(InvalidSettingError, ConfigurationError)


@pytest.mark.parametrize(
    ("destination", "way"),
    [
        ("duckdb", "lists"),
        ("filesystem", "profiles"),
        pytest.param("duckdb", "profiles", marks=pytest.mark.slow),
        pytest.param("filesystem", "lists", marks=pytest.mark.slow),
    ],
)
def test_with_append_rows_are_added_and_nothing_else_and_the_summary_says_so(
    account, ometria, export, lake, load, monkeypatch, destination, way
):
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", way)
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")
    result = load("--destination", destination, "--append")
    assert result.out.count("rows are added, not merged") == 5
    # a scan that misses more than a tenth removes nothing here, so that nothing is refused
    gone = list(account.profiles)[:100]
    before = set(account.profiles)
    for profile_id in gone:
        account.erase_profile(profile_id)
    load("--destination", destination, "--append")

    pipeline = dlt.attach("ometria_pipeline")
    found = Counter(key for (key,) in pipeline.dataset()("SELECT profile_id FROM profiles").fetchall())
    assert found == Counter(before) + Counter(set(account.profiles))
    assert len(rows(pipeline, "lists")) == 2 * len(account.lists)
    pairs = pipeline.dataset()("SELECT list_id, profile_id FROM member_lists").fetchall()
    assert "*" not in {name for pair in pairs for name in pair}
    # files that were read are not read again
    assert len(rows(pipeline, "email_events")) == len(account.events)


@pytest.mark.slow
@pytest.mark.parametrize("destination", ["duckdb", "filesystem"])
def test_append_with_a_full_refresh_begins_anew(account, ometria, export, lake, load, destination):
    for _ in range(2):
        load("--destination", destination, "--append")
    load("--destination", destination, "--append", "--full-refresh")
    pipeline = dlt.attach("ometria_pipeline")
    assert len(rows(pipeline, "profiles")) == len(account.profiles)
    assert len(rows(pipeline, "unsubscribes")) == len(account.unsubscribes)
    assert len(rows(pipeline, "email_events")) == len(account.events)


@pytest.mark.slow
def test_a_merge_after_an_append_makes_the_rows_it_reads_single_again(
    account, ometria, export, load, warehouse, monkeypatch
):
    for _ in range(2):
        load("--append")
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")
    load()
    truth.assert_profiles(warehouse, account)
    truth.assert_lists(warehouse, account)
    truth.assert_members(warehouse, account)


@pytest.mark.slow
def test_tables_that_are_replaced_in_code_hold_what_the_account_holds(account, ometria, export, warehouse):
    """The second run too: dlt resets the state of a resource that is replaced."""
    pipeline = dlt.pipeline("ometria_pipeline", destination="duckdb", dataset_name="ometria")
    for _ in range(2):
        pipeline.run(ometria_source(), write_disposition="replace", loader_file_format="parquet")
        truth.assert_equal(warehouse, account)
    account.erase_profile(list(account.profiles)[0])
    pipeline.run(ometria_source(), write_disposition="replace", loader_file_format="parquet")
    truth.assert_equal(warehouse, account)
