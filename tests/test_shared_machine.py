"""A run among other users of its machine: what they can read, and what they could make it do. All data is invented."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dlt
import pytest
from dlt.common.runtime import run_context, telemetry

import ometria_source
from ometria_source import InvalidSettingError

ANOTHER_USER = 12345


def open_to_others(folder: Path) -> list[str]:
    return [str(path) for path in (folder, *folder.rglob("*")) if path.stat().st_mode & 0o077]


def test_what_a_run_of_the_program_leaves_is_its_users_own(ometria, export, load, workspace, tmp_path):
    mask = os.umask(0o022)
    try:
        load("--report", "report.json")
        load("--full-refresh", "--tables", "lists")
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(mask)
    pipeline = tmp_path / "dlt" / "pipelines" / "ometria_pipeline"
    assert open_to_others(pipeline) == []
    for name in ("ometria_pipeline.duckdb", "report.json"):
        assert (workspace / name).stat().st_mode & 0o777 == 0o600


def test_what_load_leaves_in_the_working_folder_is_its_users_own(ometria, tmp_path):
    ometria_source.load("lists").raise_for_failures()
    assert (tmp_path / "dlt" / "pipelines" / "ometria_pipeline").stat().st_mode & 0o777 == 0o700


@pytest.fixture
def no_home(monkeypatch, tmp_path) -> Path:
    """The folder that dlt takes where there is no home: in one for temporary files, which all users can write to."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "shared"))
    folder = tmp_path / "shared" / "dlt"
    folder.mkdir(parents=True)
    monkeypatch.delenv("DLT_DATA_DIR")
    for module in (run_context, ometria_source.loading.shared_machine):
        monkeypatch.setattr(module, "global_dir", lambda: str(folder))
    return folder


def test_a_shared_folder_of_settings_is_refused(ometria, run, workspace, no_home):
    (no_home / "config.toml").write_text('[sources.ometria]\nbase_url = "https://attacker.test"\n')
    result = run("--tables", "lists", "--report", "report.json")
    assert result.status == 2
    assert "`DLT_DATA_DIR` is not set" in result.err
    assert (workspace / "report.json").exists()
    with pytest.raises(InvalidSettingError, match="DLT_DATA_DIR"):
        ometria_source.load("lists")
    assert not ometria.requests


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file or folder belong to another user than the running one."""
    if os.geteuid() == 0:
        os.chown(path, ANOTHER_USER, ANOTHER_USER)
    else:
        # only root can give files away: then the running user is the other one
        monkeypatch.setattr(os, "geteuid", lambda: ANOTHER_USER)


@pytest.mark.parametrize(
    "given",
    ["dlt/config.toml", "dlt/secrets.toml", "dlt/pipelines/ometria_pipeline"]
    + ["workspace/.dlt/config.toml", "workspace/.dlt/secrets.toml"],
)
def test_what_belongs_to_another_user_is_refused(ometria, run, tmp_path, monkeypatch, given):
    monkeypatch.setattr(ometria_source.loading.shared_machine, "global_dir", lambda: str(tmp_path / "dlt"))
    planted = tmp_path / given
    planted.parent.mkdir(parents=True, exist_ok=True)
    if planted.suffix:
        planted.write_text("")
    else:
        planted.mkdir()
    give_away(planted, monkeypatch)
    result = run("--tables", "lists")
    assert result.status == 2
    assert "belongs to another user" in result.err
    assert not ometria.requests


def test_a_shared_folder_of_another_user_is_refused_whatever_is_in_it(ometria, run, monkeypatch, no_home, tmp_path):
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "own"))
    give_away(no_home, monkeypatch)
    result = run("--tables", "lists")
    assert result.status == 2
    assert "Set `XDG_DATA_HOME`" in result.err
    assert not ometria.requests


def test_the_host_that_gets_the_key_is_named_where_it_is_not_ometrias(ometria, run, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__BASE_URL", "https://proxy.shop.test/v2")
    monkeypatch.setenv("SOURCES__OMETRIA__PATIENCE_MINUTES", "0")
    note = "Ometria is asked at `proxy.shop.test`, which is none of its own addresses."
    assert note in run("--tables", "lists").out
    assert note in run("--tables", "lists", "--check").out
    monkeypatch.delenv("SOURCES__OMETRIA__BASE_URL")
    assert ometria_source.loading.plan.make_plan("lists", "duckdb", settings={}).notes == ()


@pytest.fixture
def telemetry_server() -> Iterator[tuple[str, list[str]]]:
    """The address of a server on loopback, and the paths to which something was sent."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            paths.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/events", paths
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("configured", [None, "true", "false"])
def test_dlt_reports_nothing_unless_it_is_configured(ometria, monkeypatch, telemetry_server, configured):
    monkeypatch.delenv("RUNTIME__DLTHUB_TELEMETRY")
    if configured:
        monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", configured)
    address, paths = telemetry_server
    telemetry.stop_telemetry()
    configuration = dlt.current.run_context().runtime_config
    monkeypatch.setattr(configuration, "dlthub_telemetry", configured != "false")
    monkeypatch.setattr(configuration, "dlthub_telemetry_endpoint", address)
    telemetry.start_telemetry(configuration)
    ometria_source.load("lists").raise_for_failures()
    assert telemetry.is_telemetry_started()
    assert configuration.dlthub_telemetry == (configured != "false")
    # what waits to be sent is sent first
    telemetry.stop_telemetry()
    assert bool(paths) == (configured == "true")
