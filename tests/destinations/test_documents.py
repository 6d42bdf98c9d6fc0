"""Every block of code in the documents is run, or held against the code, in the order of its page.

A simulated account stands in for Ometria, DuckDB for Snowflake, an empty folder for `/srv/ometria`; what would serve
until it is stopped is asked only whether it would start, and `pip` only whether what it would install exists.
A block of a kind that nobody runs fails. What CI runs by itself is not run again: README's first two blocks in .ci/run,
the SQL on history in test_history.py, that of the other pages in test_docs.py.
"""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlglot
import yaml
from dlt.destinations.impl.snowflake.configuration import SnowflakeClientConfiguration, SnowflakeCredentials
from warm_python import warm_python

from ometria_source import ometria_source
from ometria_source.simulator import SimulatedAccount

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
# but the site's list of pages
DOCUMENTS = [ROOT / "README.md", *sorted(set((ROOT / "docs").glob("*.md")) - {ROOT / "docs" / "index.md"})]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What stands in for what a document names.
STAND_INS = {
    "--destination snowflake": "--destination duckdb",
    "OMETRIA_DESTINATION=snowflake": "OMETRIA_DESTINATION=duckdb",
    "dagster dev": "dagster definitions validate",
    "marimo run": "python",
    # openssl asks whoever sits there
    "-v2 aes256 -out": "-v2 aes256 -passout pass:invented -out",
    "openssl rsa": "openssl rsa -passin pass:invented",
}

# The `pip` of these tests.
PIP = """#!{python}
import re, sys
from pathlib import Path

try:
    import tomllib
except ImportError:
    import tomli as tomllib

project = tomllib.loads(Path("{root}/pyproject.toml").read_text())["project"]
assert sys.argv[1] == "install", sys.argv
for wanted in sys.argv[2:]:
    name, extra = re.fullmatch(r"-e|(\\.|ometria-source)(?:\\[(\\w+)\\])?", wanted).groups()
    assert not extra or extra in project["optional-dependencies"], wanted
"""


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        document: Where it stands.
        line: The line on which it begins.
        language: As its fence says.
        text: What is in it.
    """

    document: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document.name}:{self.line}"


def blocks(document: Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    return [
        Block(document, text[: found.start()].count("\n") + 1, found[1], found[2]) for found in FENCE.finditer(text)
    ]


@pytest.fixture
def account(account) -> SimulatedAccount:
    """One that the pages' windows of time find something in."""
    for number, person in enumerate(list(account.profiles)[:12]):
        account.unsubscribe(person, at=account.now.replace(year=2024, month=1 + number % 4, day=2))
    return account


@pytest.fixture
def computer(workspace, tmp_path, ometria, export, postgres_server, monkeypatch) -> Path:
    """A clone in the current folder, and the programs that the documents call."""
    for name in ("pipelines", "notebooks", "docs", "pyproject.toml", "ometria_source"):
        (workspace / name).symlink_to(ROOT / name)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "pip").write_text(PIP.format(python=sys.executable, root=ROOT))
    (programs / "pip").chmod(0o755)
    # as an installation would put it there
    warm = shlex.join(warm_python())
    pipeline = f'#!/bin/sh\nexec {warm} {ROOT}/pipelines/ometria_pipeline.py "$@"\n'
    python = (
        f'#!/bin/sh\ncase "$1" in *ometria_pipeline.py) exec {warm} "$@" ;; *) exec {sys.executable} "$@" ;; esac\n'
    )
    for name, text in {"ometria-pipeline": pipeline, "python": python}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", postgres_server)
    monkeypatch.setenv("DAGSTER_HOME", str(programs))
    (programs / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    # what cron and the loop over brands find there
    server = tmp_path / "srv" / "ometria"
    for folder in (server, server / "north", server / "south"):
        folder.mkdir(parents=True)
        (folder / "pipelines").symlink_to(ROOT / "pipelines")
        (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
    return tmp_path


def run_sh(text: str, computer: Path) -> str:
    for said, done in STAND_INS.items():
        text = text.replace(said, done)
    text = text.replace("/srv/", f"{computer}/srv/")
    result = subprocess.run(["bash", "-euo", "pipefail", "-c", text], capture_output=True, text=True, check=False)
    told = result.stdout + result.stderr
    assert result.returncode == 0, told
    # of what ran in the background, `wait` tells no status
    for sign in ("Traceback", "FAILED", "NOT LOADED", "was not loaded", "Error"):
        assert sign not in told, told
    return told


def check_toml(text: str) -> None:
    content = tomllib.loads(text)
    settings = inspect.signature(ometria_source).parameters
    for name, value in content.get("sources", {}).get("ometria", {}).items():
        # a resource's own: dlt's lister of files
        assert name in settings or (name, list(value)) == ("filesystem", ["kwargs"]), name
    snowflake = content.get("destination", {}).get("snowflake", {})
    for name in snowflake.get("credentials", {}):
        assert name in SnowflakeCredentials.get_resolvable_fields(), name
    for name in snowflake:
        assert name in SnowflakeClientConfiguration.get_resolvable_fields(), name
    assert content


def check_yaml(text: str, computer: Path) -> None:
    (job,) = yaml.safe_load(text)["jobs"].values()
    for step in job["steps"]:
        for name in step.get("env", {}):
            *_, last = parts = name.lower().split("__")
            if parts[:2] == ["sources", "ometria"] and len(parts) == 3:
                assert last in inspect.signature(ometria_source).parameters, name
            elif parts[:3] == ["destination", "snowflake", "credentials"]:
                assert last in SnowflakeCredentials.get_resolvable_fields(), name
            else:
                assert parts[:3] == ["sources", "ometria", "credentials"], name
        if "run" in step:
            run_sh(step["run"], computer)


def run_block(block: Block, computer: Path) -> None:  # noqa: C901  a kind of block each
    match block.language:
        case "sh":
            run_sh(block.text, computer)
        case "crontab":
            *when, command = block.text.strip().split(" ", 5)
            assert len(when) == 5
            assert all(re.fullmatch(r"\*|\d+", field) for field in when)
            run_sh(command, computer)
        case "python":
            code = compile(block.text.replace("/srv/", f"{computer}/srv/"), str(block), "exec")
            # Airflow is tried by hand: the page says with which version, and when
            if "airflow" not in block.text:
                exec(code, {})
        case "toml":
            check_toml(block.text)
        case "yaml":
            check_yaml(block.text, computer)
        case "ini":
            assert re.match(r"# ~/.aws/config\n\[profile ", block.text)
        case "sql":
            # read by Snowflake; what is for any database is run elsewhere
            assert all(sqlglot.parse(block.text, read="snowflake"))
        case "mermaid":
            # written by docs/write_tables.py
            assert block.text.startswith("erDiagram\n")
        case "text":
            # what is printed: no command hides in it
            assert not re.search(r"^\$? *(python|pip|ometria-pipeline|dlt|marimo|dagster) ", block.text, re.MULTILINE)
        case language:
            pytest.fail(f"{block}: nobody runs `{language}`")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_block_of_a_document_runs(document, computer):
    found = blocks(document)
    assert document.read_text(encoding="utf-8").count("```") == 2 * len(found)
    # what CI does with the first two
    for block in found[2 if document.name == "README.md" else 0 :]:
        print(block)
        run_block(block, computer)
