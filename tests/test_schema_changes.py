"""An account whose fields change between runs: what the tables become, and what the summary says."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal

import dlt
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import truth
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
from dlt.common.destination.exceptions import DestinationTerminalException
from dlt.destinations.impl.duckdb.duck import DuckDbClient
from dlt.pipeline.exceptions import PipelineStepFailed

from ometria_source import ometria_source

pytestmark = pytest.mark.slow

CONTRACT = "SOURCES__OMETRIA__SCHEMA_CONTRACT"


@pytest.fixture(autouse=True)
def every_scan_is_complete(monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")


def contents(warehouse) -> dict[str, object]:
    """Every table of the dataset, dlt's own included, with its columns and rows."""
    with duckdb.connect(str(warehouse.path), read_only=True) as connection:
        names = connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables ORDER BY ALL"
        ).fetchall()
        return {
            f"{schema}.{name}": (
                connection.execute(f'DESCRIBE "{schema}"."{name}"').fetchall(),
                sorted(map(str, connection.execute(f'SELECT * FROM "{schema}"."{name}"').fetchall())),
            )
            for schema, name in names
        }


def pending() -> bool:
    return bool(dlt.attach("ometria_pipeline").has_pending_data)


def change_fields(account, bucket) -> None:
    """In each table a field is added, one changes its type, one nests deeper, and one is removed."""
    ids = list(account.profiles)
    for identifier in ids:
        stored = account.profiles.stored(identifier)
        stored.pop("lifecycle_status", None)
        account.profiles.put(stored, int(account.now.timestamp()))
    account.update_profile(
        ids[0],
        favourite_shop="Leeds",
        points="none",
        stats={**account.profiles[ids[0]]["stats"], "revenue": {"gross": 12.5, "net": {"eur": 10}}},
    )
    for number, item in enumerate(account.lists.values()):
        item.pop("description", None)
        item["owner"] = f"team {number}"
    account.update_list("12", colour={"r": 1, "g": {"deep": [1, 2]}}, total_orders="many")
    for row in account.unsubscribes:
        row.pop("reason", None)
    account.unsubscribe(ids[1], at=account.now)
    account.unsubscribes[-1].pop("reason")
    account.unsubscribes[-1].update(channel="sms", weight="heavy")
    (bucket / "b.jsonl").write_text(
        '{"event_id": "e2", "count": "many", "device": {"os": "x"}, "client": "mail"}\n', encoding="utf-8"
    )


@pytest.fixture
def first_load(account, ometria, bucket, load):
    """All five tables are loaded, with fields that are not documented."""
    ids = list(account.profiles)
    for identifier in ids:
        account.update_profile(identifier, points=7, lifecycle_status="active")
    for item in account.lists.values():
        item["colour"] = "red"
    for row in account.unsubscribes:
        row["weight"] = 1.5
    (bucket / "a.jsonl").write_text('{"event_id": "e1", "count": 7, "device": "phone", "gone": 1}\n', encoding="utf-8")
    return load()


def test_each_change_is_loaded_and_named(account, bucket, first_load, load, warehouse):
    change_fields(account, bucket)
    out = load().out

    assert "profiles: new columns: favourite_shop\n" in out
    assert "profiles: `points` now also comes as text: see `points__v_text`" in out
    assert "profiles: `stats__revenue` now also comes as json: see `stats__revenue__v_json`" in out
    assert "profiles: not in any row of this run: lifecycle_status" in out
    assert "lists: new columns: owner\n" in out
    assert "lists: `colour` now also comes as json: see `colour__v_json`" in out
    assert "lists: `total_orders` now also comes as text: see `total_orders__v_text`" in out
    assert "lists: not in any row of this run: description" in out
    assert "unsubscribes: new columns: channel\n" in out
    assert "unsubscribes: `weight` now also comes as text: see `weight__v_text`" in out
    assert "email_events: new columns: client\n" in out
    assert "email_events: `count` now also comes as text: see `count__v_text`" in out
    assert "email_events: `device` now also comes as json: see `device__v_json`" in out
    assert "email_events: not in any row of this run: gone" in out

    (changed,) = [row for row in warehouse.rows("profiles") if row["points__v_text"]]
    assert (changed["favourite_shop"], changed["points"], changed["points__v_text"]) == ("Leeds", None, "none")
    assert changed["stats__revenue__v_json"] == {"gross": 12.5, "net": {"eur": 10}}
    found = {row["event_id"]: row for row in warehouse.rows("email_events")}
    assert (found["e2"]["count__v_text"], found["e2"]["device__v_json"]) == ("many", {"os": "x"})
    assert (found["e1"]["count"], found["e1"]["device"]) == (7, "phone")
    assert len(warehouse.rows("profiles")) == len(account.profiles)


def test_a_change_is_named_once(account, bucket, first_load, load):
    change_fields(account, bucket)
    load()
    out = load().out
    assert "now also comes as" not in out
    assert "new columns" not in out
    assert "not in any row" not in out


@pytest.mark.parametrize(
    ("table", "contract"),
    [
        ("profiles", "freeze"),
        ("email_events", '{"columns": "freeze"}'),
        pytest.param("lists", "freeze", marks=pytest.mark.slow),
        pytest.param("unsubscribes", "freeze", marks=pytest.mark.slow),
        pytest.param("email_events", "freeze", marks=pytest.mark.slow),
        pytest.param("profiles", '{"data_type": "freeze"}', marks=pytest.mark.slow),
        pytest.param("email_events", '{"columns": "evolve", "data_type": "freeze"}', marks=pytest.mark.slow),
    ],
)
def test_a_frozen_schema_refuses_its_table_and_lifting_it_loads_everything(
    account, bucket, first_load, run, load, warehouse, monkeypatch, table, contract
):
    change_fields(account, bucket)
    before = contents(warehouse)[f"ometria.{table}"]
    monkeypatch.setenv(CONTRACT, contract)
    for verbose in ((), ("--verbose",)):
        result = run("--tables", f"member_lists,{table}", *verbose)
        assert result.status == 1
        assert f"`{table}` would get the " in result.out
        assert "which `schema_contract` refuses. Nothing of this table was loaded" in result.out
        values = ("many", "Leeds", "heavy", "team 1", *account.profiles)
        assert not [value for value in values if value in result.out + result.err]
        assert contents(warehouse)[f"ometria.{table}"] == before
        assert not pending()
        truth.assert_members(warehouse, account)

    monkeypatch.delenv(CONTRACT)
    load()
    assert_all_loaded(account, warehouse)


def assert_all_loaded(account, warehouse) -> None:
    assert len(warehouse.rows("profiles")) == len(account.profiles)
    assert {row["event_id"] for row in warehouse.rows("email_events")} == {"e1", "e2"}
    assert {row["owner"] for row in warehouse.rows("lists")} == {item["owner"] for item in account.lists.values()}
    assert len(warehouse.rows("unsubscribes")) == len(account.unsubscribes)
    truth.assert_members(warehouse, account)


def test_under_a_frozen_schema_an_account_that_does_not_change_is_loaded(
    account, bucket, first_load, load, monkeypatch
):
    monkeypatch.setenv(CONTRACT, "freeze")
    account.add_profile(points=1)
    (bucket / "b.jsonl").write_text('{"event_id": "e3", "count": 8, "gone": 2}\n', encoding="utf-8")
    assert "1 files read" in load().out


def test_a_first_load_under_a_frozen_schema_takes_what_it_finds_and_the_next_nothing_else(
    account, ometria, bucket, run, load, warehouse, monkeypatch
):
    monkeypatch.setenv(CONTRACT, "freeze")
    (bucket / "a.jsonl").write_text('{"event_id": "e1"}\n', encoding="utf-8")
    account.add_profile(points=1)
    load()
    assert sum(row["points"] or 0 for row in warehouse.rows("profiles")) == 1

    account.add_profile(medals=1)
    result = run()
    assert result.status == 1
    assert "`profiles` would get the new column `medals`" in result.out
    (bucket / "b.csv").write_text("event_id,client\ne2,mail\n", encoding="utf-8")
    result = run()
    assert "`email_events` would get the new column `client`" in result.out


def test_a_first_load_that_is_refused_leaves_nothing_behind(
    account, ometria, bucket, run, load, warehouse, monkeypatch
):
    monkeypatch.setenv(CONTRACT, "freeze")
    (bucket / "a.jsonl").write_text('{"event_id": "e1"}\n', encoding="utf-8")
    account.add_profile(stats={"orders": "many"})
    for _ in range(2):
        assert "`profiles` would get the column `stats__orders__v_text`" in run().out
    assert warehouse.tables() == {"lists", "member_lists", "unsubscribes", "email_events"}
    monkeypatch.delenv(CONTRACT)
    load()
    assert len(warehouse.rows("profiles")) == len(account.profiles)
    truth.assert_lists(warehouse, account)


def test_every_type_of_the_export_passes_a_frozen_schema_once_it_is_there(bucket, load, warehouse, monkeypatch):
    """dlt compares precision, scale and time zone too."""
    moment = datetime(2024, 2, 3, 4, 5, 6, 789, tzinfo=timezone.utc)
    monkeypatch.setenv("SOURCES__OMETRIA__EMAIL_EVENTS_COLUMNS", '{"declared": "decimal", "at": "timestamp"}')

    def write(name: str) -> None:
        columns = {
            "event_id": [name],
            "moment": [moment],
            "naive": pa.array([moment.replace(tzinfo=None)], pa.timestamp("ns")),
            "day": [moment.date()],
            "time": [moment.time()],
            "number": [Decimal("1.5")],
            "flag": [True],
            "real": [1.5],
            "bytes": [b"x"],
            "nested": [{"a": [1]}],
        }
        pq.write_table(pa.table(columns), bucket / f"{name}.parquet")
        (bucket / f"{name}.csv").write_text("event_id,declared,at\nx,1.25,2024-01-01T00:00:00Z\n", encoding="utf-8")

    write("a")
    load()
    monkeypatch.setenv(CONTRACT, "freeze")
    write("b")
    load()
    assert {row["event_id"] for row in warehouse.rows("email_events")} == {"a", "b", "x"}


def test_a_full_refresh_under_a_frozen_schema_takes_what_it_finds(
    account, ometria, bucket, load, warehouse, monkeypatch
):
    (bucket / "a.jsonl").write_text('{"event_id": "e1"}\n', encoding="utf-8")
    load()
    monkeypatch.setenv(CONTRACT, "freeze")
    account.update_list("12", owner="team")
    (bucket / "b.jsonl").write_text('{"event_id": "e2", "client": "mail"}\n', encoding="utf-8")
    load("--tables", "lists,email_events", "--full-refresh")
    assert "owner" in warehouse.types("lists")
    assert {row["client"] for row in warehouse.rows("email_events")} == {None, "mail"}


def test_where_a_refused_package_cannot_be_discarded_the_way_out_is_told(account, ometria, run, load, monkeypatch):
    load("--tables", "lists")
    monkeypatch.setattr(DuckDbClient, "create_load_job", refuse)
    monkeypatch.setattr(dlt.Pipeline, "abort_packages", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    result = run("--tables", "lists")
    assert result.status == 1
    assert "run `dlt -y pipeline ometria_pipeline abort-packages`" in result.out


def refuse(*_: object, **__: object) -> None:
    raise DestinationTerminalException("no")


@pytest.mark.parametrize("mode", ["discard_row", "discard_value"])
def test_what_is_discarded_is_left_out(account, bucket, first_load, load, warehouse, monkeypatch, mode):
    monkeypatch.setenv(CONTRACT, mode)
    types = {table: warehouse.types(table) for table in ("profiles", "lists", "unsubscribes", "email_events")}
    change_fields(account, bucket)
    (bucket / "c.jsonl").write_text('{"event_id": "e3", "count": 8}\n', encoding="utf-8")
    load()
    assert {table: warehouse.types(table) for table in types} == types
    events = {row["event_id"] for row in warehouse.rows("email_events")}
    opt_outs = len(warehouse.rows("unsubscribes"))
    if mode == "discard_row":
        assert (events, opt_outs) == ({"e1", "e3"}, len(account.unsubscribes) - 1)
    else:
        assert (events, opt_outs) == ({"e1", "e2", "e3"}, len(account.unsubscribes))
    # each list has a new field: without its row it would be removed
    assert len(warehouse.rows("lists")) == len(account.lists)
    assert len(warehouse.rows("profiles")) == len(account.profiles)


@pytest.mark.parametrize("word", ["frozen", "", '{"columns": "no"}', '{"rows": "freeze"}', "{", "[]"])
def test_a_contract_of_other_words_is_refused(run, word, monkeypatch):
    monkeypatch.setenv(CONTRACT, word)
    result = run("--tables", "lists")
    assert result.status == 2
    assert "`schema_contract` must be one of evolve, freeze, discard_row, discard_value" in result.err


def test_a_contract_can_be_a_table_of_the_config_file(account, ometria, workspace, load, run):
    load("--tables", "lists")
    account.update_list("12", owner="team")
    config = workspace / ".dlt" / "config.toml"
    config.parent.mkdir()
    config.write_text('[sources.ometria]\nschema_contract = { columns = "freeze" }\n', encoding="utf-8")
    try:
        Container()[PluggableRunContext].reload_providers()
        assert "`lists` would get the new column `owner`" in run("--tables", "lists").out
    finally:
        config.unlink()
        Container()[PluggableRunContext].reload_providers()


def test_a_contract_holds_in_a_notebook_and_is_lifted_by_leaving_it_out(account, ometria, bucket, first_load):
    account.add_profile(medals=1)
    (bucket / "b.jsonl").write_text('{"event_id": "e2", "count": "many"}\n', encoding="utf-8")
    pipeline = dlt.pipeline("ometria_pipeline", destination="duckdb", dataset_name="ometria")
    for table in ("profiles", "email_events"):
        for source, arguments in (
            (ometria_source(schema_contract={"columns": "freeze", "data_type": "freeze"}), {}),
            (ometria_source(), {"schema_contract": "freeze"}),
        ):
            with pytest.raises(PipelineStepFailed):
                pipeline.run(source.with_resources(table), loader_file_format="parquet", **arguments)
            pipeline.abort_packages()
        pipeline.run(ometria_source().with_resources(table), loader_file_format="parquet")
    assert "count__v_text" in pipeline.default_schema.get_table_columns("email_events")


def test_a_pending_package_that_is_refused_blocks_nothing(
    account, bucket, first_load, run, load, warehouse, monkeypatch
):
    change_fields(account, bucket)
    monkeypatch.setenv(CONTRACT, "freeze")
    with monkeypatch.context() as patch:
        # a run that is killed between its two steps
        patch.setattr(dlt.Pipeline, "normalize", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run("--tables", "member_lists,profiles").status == 130
    assert pending()
    assert run("--tables", "member_lists").status == 0
    assert not pending()
    with monkeypatch.context() as patch:
        patch.setattr(dlt.Pipeline, "normalize", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run("--tables", "member_lists,profiles").status == 130
    monkeypatch.delenv(CONTRACT)
    load()
    assert_all_loaded(account, warehouse)


def test_a_field_of_few_rows_of_a_log_is_never_missed(account, ometria, load):
    """A run reads but the newest rows, and many fields are in few."""
    account.unsubscribes[0]["rare"] = "x"
    load("--tables", "unsubscribes")
    assert "not in any row" not in load("--tables", "unsubscribes").out


def test_a_log_of_several_kinds_of_files_misses_no_column(bucket, load):
    (bucket / "opens.csv").write_text("event_id,opened\ne1,x\n", encoding="utf-8")
    (bucket / "clicks.csv").write_text("event_id,clicked\ne2,x\n", encoding="utf-8")
    load()
    (bucket / "opens2.csv").write_text("event_id,opened\ne3,x\n", encoding="utf-8")
    assert "not in any row" not in load().out


def test_an_incremental_scan_misses_no_field(account, ometria, load, monkeypatch):
    account.add_profile(medals=1)
    load("--tables", "profiles")
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "1")
    account.advance(timedelta(days=5))
    assert "not in any row" not in load("--tables", "profiles").out


def test_fields_that_stay_change_no_state(account, bucket, first_load, load):
    def fields():
        resources = dlt.attach("ometria_pipeline").state["sources"]["ometria"]["resources"]
        return {name: state.get("fields") for name, state in resources.items()}

    before = fields()
    assert all(before[table] for table in ("profiles", "lists", "unsubscribes", "email_events"))
    load()
    assert fields() == before


def test_a_limit_and_a_backfill_leave_what_is_expected_alone(account, bucket, first_load, load):
    (bucket / "b.csv").write_text("event_id\ne2\n", encoding="utf-8")
    pipeline = dlt.pipeline("ometria_pipeline", destination="duckdb", dataset_name="ometria")
    pipeline.run(ometria_source().with_resources("email_events").add_limit(1), loader_file_format="parquet")
    assert "not in any row" not in load("--end-date", "2100-01-01").out
    assert "email_events: not in any row of this run: count, device, gone" in load().out
