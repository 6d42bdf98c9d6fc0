"""`pipelines/dagster_definitions.py` in a real Dagster, on a simulated account."""

from __future__ import annotations

import importlib.util
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import truth

from ometria_source.cli.options import TABLES
from ometria_source.loading.pipeline import held, pipeline_folder

pytestmark = pytest.mark.slow

dagster = pytest.importorskip("dagster", reason="pip install -e '.[dagster]'")

DEFINITIONS = Path(__file__).parents[1] / "pipelines" / "dagster_definitions.py"


@pytest.fixture(autouse=True)
def of_its_own(tmp_path, monkeypatch) -> None:
    """Dagster's folder, and no word to its makers."""
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))


@pytest.fixture
def module(ometria, export, monkeypatch):
    """The definitions, imported as Dagster does it: with the settings of the moment."""
    spec = importlib.util.spec_from_file_location("dagster_definitions", DEFINITIONS)
    module = importlib.util.module_from_spec(spec)
    # a test does not wait for minutes
    monkeypatch.setattr(dagster, "RetryPolicy", partial(retry_at_once, dagster.RetryPolicy))
    spec.loader.exec_module(module)
    return module


def retry_at_once(policy, *, max_retries: int, delay: float):
    return policy(max_retries=max_retries)


def materialize(module, *tables: str):
    keys = [dagster.AssetKey(["ometria", name]) for name in tables]
    return dagster.materialize(
        [module.ometria_assets, *module.defs.asset_checks],
        selection=dagster.AssetSelection.assets(*keys) | dagster.AssetSelection.checks_for_assets(*keys),
        raise_on_error=False,
    )


def materialized(result) -> list[str]:
    return [event.asset_key.path[-1] for event in result.get_asset_materialization_events()]


def test_each_table_is_an_asset_that_equals_the_account(account, module, warehouse):
    assert {key.path[-1] for key in module.ometria_assets.keys} == set(TABLES)
    result = materialize(module, *TABLES)
    assert result.success
    assert materialized(result) == list(TABLES)
    truth.assert_equal(warehouse, account)
    account.advance(timedelta(minutes=5))
    account.unsubscribe(next(iter(account.profiles)))
    assert materialized(materialize(module, "unsubscribes")) == ["unsubscribes"]
    truth.assert_unsubscribes(warehouse, account)


@pytest.mark.parametrize(("status", "attempts"), [(503, 3), (403, 1)])
def test_a_table_that_fails_keeps_no_other_from_loading(account, ometria, module, warehouse, status, attempts):
    ometria.fail("/lists", status, times=None)
    result = materialize(module, "profiles", "lists", "unsubscribes")
    assert not result.success
    # only what may pass is tried again
    assert materialized(result) == ["profiles", "unsubscribes"] * attempts
    assert module.RETRIES.max_retries == 2
    truth.assert_profiles(warehouse, account)
    truth.assert_unsubscribes(warehouse, account)
    (failure,) = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    told = str(failure.event_specific_data.error)
    assert "lists was not loaded" in told
    assert ometria.api_key not in told


def test_a_table_or_an_export_that_is_not_fresh_is_told(account, export, module):
    policies = [spec.freshness_policy for spec in module.ometria_assets.specs]
    assert [policy.fail_window.to_timedelta() for policy in policies] == [module.TABLES_ARE_FRESH_FOR] * len(TABLES)
    (check,) = materialize(module, "email_events").get_asset_check_evaluations()
    assert check.passed
    module.EXPORT_IS_FRESH_FOR = timedelta(0)
    (check,) = materialize(module, "email_events").get_asset_check_evaluations()
    assert not check.passed


def test_a_run_beside_another_one_leaves_its_working_folder_alone(account, ometria, module, warehouse):
    assert materialize(module, "lists").success
    with held(pipeline_folder(module.PIPELINE)):
        result = materialize(module, "lists")
    assert not result.success
    assert materialized(result) == []
    assert "Another run" in str([event.event_specific_data for event in result.all_events])
    truth.assert_lists(warehouse, account)
