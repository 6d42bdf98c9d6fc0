"""Where a run loads to: datasets, destinations, working folders, and packages that were left pending."""

from __future__ import annotations

import os
import signal
import subprocess
from datetime import timedelta
from pathlib import Path

import dlt
import duckdb
import pytest
import truth
from conftest import Warehouse
from warm_python import warm_python

from ometria_source import ometria_source
from ometria_source.loading.pipeline import open_pipeline, pipeline_folder

PROGRAM = Path(__file__).parents[1] / "pipelines" / "ometria_pipeline.py"


@pytest.mark.slow
def test_no_dataset_inherits_the_watermark_of_another(account, ometria, export, load, warehouse):
    load("--dataset", "first")
    account.unsubscribe(list(account.profiles)[0])
    load("--dataset", "second")
    truth.assert_equal(warehouse, account, "second")
    account.update_profile(list(account.profiles)[1], name="Changed Name")
    account.advance(timedelta(minutes=1))
    account.add_events(3)
    account.write_export(export)
    load("--dataset", "second")
    load("--dataset", "first")
    truth.assert_equal(warehouse, account, "first")
    truth.assert_equal(warehouse, account, "second")


@pytest.mark.slow
def test_no_database_inherits_the_watermark_of_another(
    account, ometria, export, load, warehouse, monkeypatch, tmp_path
):
    other = tmp_path / "other.duckdb"
    load()
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(other))
    load()
    truth.assert_equal(Warehouse(other), account)
    account.add_events(3)
    account.write_export(export)
    load()
    monkeypatch.delenv("DESTINATION__DUCKDB__CREDENTIALS")
    load()
    truth.assert_equal(warehouse, account)


@pytest.mark.slow
def test_no_destination_inherits_the_watermark_of_another(
    account, ometria, export, load, warehouse, monkeypatch, tmp_path
):
    monkeypatch.setenv("DESTINATION__ELSEWHERE__DESTINATION_TYPE", "duckdb")
    monkeypatch.setenv("DESTINATION__ELSEWHERE__CREDENTIALS", str(tmp_path / "elsewhere.duckdb"))
    load()
    load("--destination", "elsewhere")
    truth.assert_equal(Warehouse(tmp_path / "elsewhere.duckdb"), account)
    account.unsubscribe(list(account.profiles)[0])
    account.add_events(3)
    account.write_export(export)
    load("--destination", "elsewhere")
    load()
    truth.assert_equal(warehouse, account)
    truth.assert_equal(Warehouse(tmp_path / "elsewhere.duckdb"), account)


@pytest.mark.slow
def test_a_run_in_another_folder_loads_into_that_folder(account, ometria, export, load, tmp_path, monkeypatch):
    load()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    load()
    truth.assert_equal(Warehouse(elsewhere / "ometria_pipeline.duckdb"), account)


def test_a_working_folder_that_is_configured_is_the_one_that_is_locked_and_watched(
    account, ometria, load, warehouse, monkeypatch, tmp_path
):
    monkeypatch.setenv("PIPELINES_DIR", str(tmp_path / "configured"))
    load("--dataset", "first", "--tables", "unsubscribes")
    account.unsubscribe(list(account.profiles)[0])
    load("--dataset", "second", "--tables", "unsubscribes")
    assert "belongs to another" in load("--dataset", "first", "--tables", "unsubscribes").err
    truth.assert_unsubscribes(warehouse, account, "first")
    assert {path.name for path in (tmp_path / "configured").iterdir()} == {"ometria_pipeline", "ometria_pipeline.lock"}
    assert not (tmp_path / "dlt" / "pipelines").exists()


def test_a_load_from_a_notebook_leaves_the_next_run_nothing_to_put_right(account, ometria, load, warehouse):
    load("--tables", "unsubscribes")
    account.unsubscribe(list(account.profiles)[0])
    dlt.attach("ometria_pipeline").run(ometria_source().with_resources("unsubscribes"))
    assert "local state" not in load("--tables", "unsubscribes").err
    truth.assert_unsubscribes(warehouse, account)


def test_what_a_notebook_loaded_first_is_gone_on_from(account, ometria, load, warehouse):
    pipeline = dlt.pipeline("ometria_pipeline", destination="duckdb", dataset_name="ometria")
    pipeline.run(ometria_source().with_resources("profiles"))
    result = load("--tables", "profiles")
    # not the whole account again
    assert f" {len(account.profiles)} " not in result.out.split("profiles", 1)[1][:20]
    assert "belongs to another" not in result.err
    # dlt's own run keeps the target too
    assert "made by another program" not in result.err
    truth.assert_profiles(warehouse, account)


def test_a_lost_working_folder_is_restored_and_nothing_is_read_again(
    account, ometria, export, load, warehouse, monkeypatch, tmp_path
):
    load()
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "new_machine"))
    result = load()
    truth.assert_equal(warehouse, account)
    assert "files read" not in result.out
    assert "updateSince" in ometria.requests_to("/profiles")[-1].query


@pytest.mark.slow
def test_a_lost_database_is_loaded_anew(account, ometria, export, load, warehouse):
    load()
    warehouse.path.unlink()
    load()
    truth.assert_equal(warehouse, account)


@pytest.mark.slow
def test_a_full_refresh_touches_no_table_but_its_own(account, ometria, export, load, warehouse):
    load()
    for number, table in enumerate(("profiles", "lists", "member_lists", "unsubscribes", "email_events")):
        others = truth_of_others(warehouse, table)
        account.unsubscribe(list(account.profiles)[number])
        account.update_profile(list(account.profiles)[1], name=f"Changed before {table}")
        account.join("101", next(person for person in account.profiles if person not in account.members["101"]))
        account.update_list("77", title=f"Changed before {table}")
        account.add_events(3)
        account.write_export(export)

        load("--full-refresh", "--tables", table)

        assert truth_of_others(warehouse, table) == others
        check = "members" if table == "member_lists" else table.removeprefix("email_")
        getattr(truth, f"assert_{check}")(warehouse, account)


def truth_of_others(warehouse: Warehouse, table: str) -> dict[str, list[str]]:
    return {name: sorted(map(str, warehouse.rows(name))) for name in warehouse.tables() - {table}}


def test_a_full_refresh_that_fails_keeps_the_old_rows(account, ometria, run, load, warehouse):
    load("--tables", "profiles")
    ometria.after_request(1, lambda: ometria.fail("/profiles", 500, times=None))
    assert run("--tables", "profiles", "--full-refresh").status == 1
    truth.assert_profiles(warehouse, account)


def test_a_pending_package_is_finished_first_and_new_data_is_loaded_in_the_same_call(account, ometria, load, warehouse):
    load("--tables", "profiles,unsubscribes")
    account.update_profile(list(account.profiles)[0], name="Changed Name")
    dlt.attach("ometria_pipeline").extract(ometria_source().with_resources("profiles"))
    account.unsubscribe(list(account.profiles)[1])

    load("--tables", "unsubscribes")

    truth.assert_profiles(warehouse, account)
    truth.assert_unsubscribes(warehouse, account)
    assert not dlt.attach("ometria_pipeline").has_pending_data


def test_the_package_of_a_first_run_does_not_undo_what_another_machine_has_loaded_since(
    account, ometria, load, warehouse, monkeypatch, tmp_path
):
    open_pipeline(pipeline_folder("ometria_pipeline"), "duckdb", "ometria").extract(
        ometria_source().with_resources("profiles")
    )
    account.update_profile(list(account.profiles)[0], name="Changed Name")
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "another_machine"))
    load("--tables", "profiles")
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))

    assert "does not follow" in load("--tables", "lists").err

    truth.assert_profiles(warehouse, account)


def test_a_state_that_is_not_kept_at_the_destination_is_trusted(account, ometria, load, warehouse, monkeypatch):
    monkeypatch.setenv("RESTORE_FROM_DESTINATION", "false")
    load("--tables", "profiles")
    account.update_profile(list(account.profiles)[0], name="Changed Name")

    assert "does not follow" not in load("--tables", "profiles").err

    assert "updateSince" in ometria.requests_to("/profiles")[-1].query
    truth.assert_profiles(warehouse, account)


def test_pending_packages_are_finished_where_the_destination_keeps_no_state(ometria, load, monkeypatch):
    monkeypatch.setenv("DESTINATION__DUMMY__COMPLETED_PROB", "1")
    load("--destination", "dummy", "--tables", "lists")
    pipeline = dlt.attach("ometria_pipeline")
    for table in ("profiles", "unsubscribes"):
        pipeline.extract(ometria_source().with_resources(table))
    seen = len(ometria.requests)

    result = load("--destination", "dummy", "--tables", "lists")

    assert "is finished first" in result.err
    assert "does not follow" not in result.err
    assert {request.path for request in ometria.requests[seen:]} == {"/lists"}
    assert not dlt.attach("ometria_pipeline").has_pending_data


def leave_package_that_is_refused(account) -> None:
    """Leave a package of `lists` pending that no destination takes."""
    pipeline = dlt.attach("ometria_pipeline")
    pipeline.extract([{"list_id": "x", "size": "1"}], table_name="lists", loader_file_format="parquet")
    pipeline.normalize()
    (job,) = Path(pipeline.working_dir).glob("load/normalized/*/new_jobs/lists.*")
    job.write_bytes(b"this is no parquet")


def test_a_pending_package_that_is_refused_is_discarded_and_blocks_nothing(
    account, ometria, load, warehouse, monkeypatch
):
    load("--tables", "lists")
    leave_package_that_is_refused(account)
    monkeypatch.setenv("LOAD__RAISE_ON_MAX_RETRIES", "1")

    result = load("--tables", "unsubscribes")

    assert "`lists`" in result.out
    assert "was discarded" in result.out
    truth.assert_unsubscribes(warehouse, account)
    truth.assert_lists(warehouse, account)
    assert not dlt.attach("ometria_pipeline").has_pending_data


def test_where_the_destination_does_not_answer_a_package_stays_and_no_table_is_read(
    account, ometria, run, load, warehouse
):
    load("--tables", "lists,unsubscribes")
    account.update_list("77", title="Changed title")
    dlt.attach("ometria_pipeline").extract(ometria_source().with_resources("lists"))
    account.unsubscribe(list(account.profiles)[0])
    requests = len(ometria.requests)

    # DuckDB lets no two connections of a process be of different kinds
    with duckdb.connect(str(warehouse.path), read_only=True):
        result = run("--tables", "profiles,unsubscribes")

    assert result.status == 1
    assert result.out.count("NOT LOADED") == 2
    assert "does not answer" in result.out
    assert "No table was read." in result.out
    assert len(ometria.requests) == requests
    load("--tables", "unsubscribes")
    truth.assert_lists(warehouse, account)
    truth.assert_unsubscribes(warehouse, account)


@pytest.mark.slow
def test_a_database_that_was_lost_once_is_not_taken_for_another(account, ometria, load, warehouse):
    """dlt wipes the working folder for it, and the place that the folder belongs to is noted again."""
    load("--tables", "lists")
    warehouse.path.unlink()
    load("--tables", "lists")
    assert "local state" not in load("--tables", "lists").err


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("--dataset", "another")], ids=["same dataset", "another dataset"])
def test_a_second_run_on_the_same_working_folder_is_refused(ometria, workspace, flags):
    """The lock is the system's: the file that a killed run leaves behind holds nothing."""
    ometria.fail("/profiles", "hang", times=None)
    command = [*warm_python(), str(PROGRAM), "--tables", "profiles"]
    first = subprocess.Popen(command, cwd=workspace, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not ometria.requests:
            assert first.poll() is None
        second = subprocess.run([*command, *flags], cwd=workspace, capture_output=True, text=True, check=False)
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert second.returncode == 2
    assert "Another run" in second.stderr
    assert "Traceback" not in second.stderr
    ometria.heal()
    assert list(Path(os.environ["DLT_DATA_DIR"]).glob("pipelines/*.lock"))
    third = subprocess.run(
        [*command, *flags], cwd=workspace, capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert third.returncode == 0, third.stderr


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["hang", "drip", 503])
def test_an_interrupted_run_ends_at_once_and_the_next_one_goes_on(
    account, ometria, load, warehouse, workspace, monkeypatch, fault
):
    """Also while pages are in flight, or wait to be tried again."""
    monkeypatch.setenv("SOURCES__OMETRIA__PATIENCE_MINUTES", "10")
    load("--tables", "profiles")
    ometria.after_request(1, lambda: ometria.fail("/", fault, times=None))
    seen = len(ometria.requests)
    command = [*warm_python(), str(PROGRAM), "--tables", "profiles,lists,unsubscribes"]
    program = subprocess.Popen(command, cwd=workspace, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while len(ometria.requests) < seen + 2:
        assert program.poll() is None
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=30)

    assert program.returncode == 130
    assert "Interrupted." in err
    assert "Traceback" not in out + err
    assert {request.path for request in ometria.requests[seen:]} == {"/profiles"}
    ometria.heal()
    load("--tables", "profiles")
    truth.assert_profiles(warehouse, account)
