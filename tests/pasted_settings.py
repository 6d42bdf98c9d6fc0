"""The settings that `--describe` proposes, pasted where dlt looks for them: a plugin of pytest."""

from __future__ import annotations

import sys

import pytest
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture
def paste(workspace):
    """Put the lines that a description ends with into `.dlt/config.toml`."""

    def paste_lines(out: str) -> dict[str, object]:
        lines = settings_in(out)
        (workspace / ".dlt").mkdir(exist_ok=True)
        (workspace / ".dlt" / "config.toml").write_text(lines, encoding="utf-8")
        Container()[PluggableRunContext].reload_providers()
        return tomllib.loads(lines)["sources"]["ometria"]

    yield paste_lines
    (workspace / ".dlt" / "config.toml").unlink(missing_ok=True)
    Container()[PluggableRunContext].reload_providers()


def settings_in(out: str) -> str:
    return "[sources.ometria]" + out.split("\n[sources.ometria]", 1)[1].split("\n\n", 1)[0]
