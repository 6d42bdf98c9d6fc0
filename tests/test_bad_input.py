"""Bad input: one sentence that says what to do, the right exit status, nothing half loaded, and the next run works."""

from __future__ import annotations

import pytest
import truth
from examples import few

from ometria_source.simulator import Behaviour


def assert_one_sentence(text: str) -> None:
    assert "Traceback" not in text
    assert "exception" not in text.lower()


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (["--tables", "profile"], "profile"),
        (["--tables", ","], "--tables"),
        (["--destination", "duckduckdb"], "duckduckdb"),
        (["--start-date", "soon"], "start_date"),
        (["--start-date", "2024-02-30"], "start_date"),
        (["--start-date", "0001-01-01"], "start_date"),
        (["--start-date", "2024-02-02", "--end-date", "2024-02-01"], "end_date"),
        (["--start-date", "2024-02-02", "--end-date", "2024-02-02"], "end_date"),
        (["--full-refresh", "--end-date", "2024-02-01"], "--full-refresh"),
        (["--demo", "--dataset", "mine"], "--demo"),
        (["--dataset", "ometria_pipeline"], "--dataset"),
        (["--dataset", ""], "--dataset"),
        (["--unknown"], "--unknown"),
    ],
)
def test_a_bad_flag_is_found_before_anything_is_read(ometria, run, workspace, flags, names):
    result = run(*flags)
    assert result.status == 2
    assert names in result.err
    assert_one_sentence(result.err)
    assert not ometria.requests
    assert not list(workspace.iterdir())


@pytest.mark.parametrize("flags", [["--api-key", "a-key-1234"], ["--api-key=a-key-1234"], ["a-key-1234"]])
def test_a_key_that_is_given_as_a_flag_is_not_repeated(run, flags):
    result = run(*flags)
    assert result.status == 2
    assert "a-key-1234" not in result.out + result.err


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("requests_per_second", "0"),
        ("requests_per_second", "fast"),
        ("patience_minutes", "-1"),
        ("full_scan_days", "-1"),
        ("full_scan_days", "inf"),
        ("requests_per_second", "inf"),
        ("start_date", "2024-02-30"),
        ("file_lag_days", "-0.5"),
        ("member_lists_from", "somewhere"),
        ("file_format", "xlsx"),
        ("email_events_columns", '{"at": "datetime"}'),
        ("email_events_columns", '{"_file_modified_at": "text"}'),
        ("email_events_columns", '{"Event Key": "bigint"}'),
        ("base_url", "http://api.shop.test/v2"),
        ("base_url", "api.ometria.com"),
        ("end_date", "1999-01-01T00:00:00Z"),
        ("allow_deletes", "perhaps"),
    ],
)
def test_a_bad_value_of_a_setting_is_found_before_anything_is_read(ometria, run, monkeypatch, setting, value):
    monkeypatch.setenv("SOURCES__OMETRIA__START_DATE", "2024-01-01")
    monkeypatch.setenv(f"SOURCES__OMETRIA__{setting.upper()}", value)
    result = run()
    assert result.status == 2, result
    assert setting in result.err
    assert_one_sentence(result.err)
    assert not ometria.requests


def test_a_full_refresh_never_replaces_a_table_with_a_piece_of_it(ometria, run, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__END_DATE", "2015-01-01")
    result = run("--full-refresh", "--tables", "unsubscribes")
    assert result.status == 2
    assert "end_date" in result.err
    assert not ometria.requests


def test_with_nothing_configured_the_program_says_what_to_set(run):
    result = run()
    assert result.status == 2
    assert "api_key" in result.err
    assert "bucket_url" in result.err


def test_with_a_bucket_but_no_key_only_the_export_is_loaded_and_it_says_so(account, export, load, warehouse):
    result = load()
    assert "only `email_events`" in result.out
    truth.assert_events(warehouse, account)


@pytest.mark.parametrize(("table", "setting"), [("profiles", "api_key"), ("email_events", "bucket_url")])
def test_a_table_named_without_its_setting_fails_and_names_the_setting(run, table, setting):
    result = run("--tables", table)
    assert result.status == 1
    assert f"SOURCES__OMETRIA__{setting.upper()}" in result.out
    assert_one_sentence(result.out)


@pytest.mark.parametrize("status", [401, pytest.param(403, marks=pytest.mark.slow)])
def test_a_refused_key_fails_the_api_tables_at_once_and_loads_the_export(
    account, ometria, export, run, load, warehouse, monkeypatch, status
):
    ometria.behaviour = Behaviour(refused_status=status)
    key = ometria.api_key
    monkeypatch.setenv("SOURCES__OMETRIA__API_KEY", "not-the-key-1234")

    result = run()

    assert result.status == 1
    assert "api_key" in result.out
    assert str(status) in result.out
    assert "not-the-key-1234" not in result.out + result.err
    assert len(ometria.requests) == 4
    assert warehouse.tables() == {"email_events"}
    monkeypatch.setenv("SOURCES__OMETRIA__API_KEY", key)
    load()
    truth.assert_equal(warehouse, account)


# the others are in the fault matrix, too
@pytest.mark.parametrize(
    "fault", ["bad-json", *(pytest.param(fault, marks=pytest.mark.slow) for fault in ("object", "null", "html", 500))]
)
def test_an_answer_that_is_no_list_fails_its_table_only_and_the_next_run_heals(
    account, ometria, export, run, load, warehouse, fault
):
    tables = ("--tables", "lists,unsubscribes,email_events")
    ometria.fail("/unsubscribes", fault, times=None)
    result = run(*tables)
    assert result.status == 1
    assert "unsubscribes was not loaded. No usable answer from /unsubscribes" in result.out
    assert warehouse.tables() == {"lists", "email_events"}
    ometria.heal()
    load(*tables)
    for check in (truth.assert_lists, truth.assert_unsubscribes, truth.assert_events):
        check(warehouse, account)


def test_a_scan_that_breaks_in_the_middle_loads_nothing_and_keeps_what_was_there(
    account, ometria, run, load, warehouse, monkeypatch
):
    load("--tables", "profiles")
    before = warehouse.rows("profiles")
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")
    account.update_profile(list(account.profiles)[0], name="Changed Name")
    ometria.after_request(1, lambda: ometria.fail("/profiles", 503, times=None))

    result = run("--tables", "profiles")

    assert result.status == 1
    assert sorted(map(str, warehouse.rows("profiles"))) == sorted(map(str, before))
    ometria.heal()
    load("--tables", "profiles")
    truth.assert_profiles(warehouse, account)


def test_a_server_that_ignores_offset_is_found_out(ometria, run, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__REQUESTS_PER_SECOND", "20")
    ometria.behaviour = Behaviour(profiles_paged=False)
    result = run("--tables", "profiles")
    assert result.status == 1
    assert "offset" in result.out
    assert len(ometria.requests) < 20


def test_a_bucket_that_does_not_exist_is_named_by_its_setting(ometria, run, warehouse, monkeypatch, tmp_path):
    monkeypatch.setenv("SOURCES__OMETRIA__BUCKET_URL", (tmp_path / "nowhere").as_uri())
    result = run()
    assert result.status == 1
    assert "bucket_url" in result.out
    assert_one_sentence(result.out)
    assert warehouse.tables() == {"profiles", "lists", "member_lists", "unsubscribes"}


def test_a_glob_that_matches_nothing_is_an_error_on_the_first_run(export, run, load, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__FILE_GLOB", "nothing/*.csv")
    result = run()
    assert result.status == 1
    assert "file_glob" in result.out
    monkeypatch.delenv("SOURCES__OMETRIA__FILE_GLOB")
    load()


@pytest.mark.parametrize(
    ("name", "content", "where"),
    few(
        [
            ("a.csv", b"\x1f\x8b\x08\x00not really", "a.csv"),
            ("a.csv.gz", b"id,name\n1,ada\n", "a.csv.gz"),
            ("a.parquet", b"id,name\n1,ada\n", "a.parquet"),
            ("a.jsonl", b'{"id": 1}\n{"id": 2, "email": "ada@shop.test"', "a.jsonl, line 2"),
            ("a.csv", b"id,name\n1,ada@shop.test,x\n", "a.csv, line 2"),
            ("a.csv", b"id,id\n1,2\n", "a.csv, line 1"),
            ("a", b"id,name\n1,2\n", "file_format"),
        ],
        keep=2,
    ),
)
def test_a_file_that_is_not_what_its_name_says_is_named_and_nothing_of_it_is_shown(
    tmp_path, ometria, run, load, warehouse, monkeypatch, name, content, where
):
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    (bucket / name).write_bytes(content)
    (bucket / "good.csv").write_text("id,name\n9,nine\n")
    monkeypatch.setenv("SOURCES__OMETRIA__BUCKET_URL", bucket.as_uri())

    result = run("--tables", "lists,email_events")

    assert result.status == 1
    assert where in result.out
    assert "ada" not in result.out + result.err
    assert warehouse.tables() == {"lists"}
    (bucket / name).unlink()
    load("--tables", "lists,email_events")
    assert [row["id"] for row in warehouse.rows("email_events")] == ["9"]


def test_the_wrong_account_is_refused_until_it_is_allowed(account, ometria, run, load, warehouse, monkeypatch):
    from ometria_source.simulator import SimulatedAccount, SimulatedOmetria  # noqa: PLC0415

    load("--tables", "profiles")
    other = SimulatedAccount.invent(seed=99)
    with SimulatedOmetria(other) as server:
        monkeypatch.setenv("SOURCES__OMETRIA__BASE_URL", server.base_url)
        monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")
        result = run("--tables", "profiles")
        assert result.status == 1
        assert "allow_deletes" in result.out
        truth.assert_profiles(warehouse, account)

        monkeypatch.setenv("SOURCES__OMETRIA__ALLOW_DELETES", "true")
        load("--tables", "profiles")
        truth.assert_profiles(warehouse, other)


def test_verbose_shows_where_it_happened(run):
    result = run("--verbose", "--start-date", "soon")
    assert result.status == 2
    assert "Traceback" in result.err
